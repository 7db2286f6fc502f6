"""Loads condensed datasets from the Hub that other tools made: images in parquet files or in one folder per class.

Images, labels and class names are read. One warning lists the metadata that is missing: normalization of the source,
recipe, training protocol. Letters: N samples, K classes, C, H, W.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.errors import ArtifactError, NotACondensedDatasetError, shortened_list
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.methods.synthetic import Pixels
from condensed_data.storage.hub import repository_paths, third_party_images
from condensed_data.storage.hub.third_party_images import Fetch, LabeledImages
from condensed_data.storage.metadata import Metadata
from condensed_data.storage.result import CondensationResult, with_storage_size
from condensed_data.training.protocol import Training

UNKNOWN_RECIPE = "unknown"
_MAX_FILES = 20_000
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TRAIN = re.compile(r"(?<![a-z])train(?![a-z])", re.IGNORECASE)
_OTHER_SPLIT = re.compile(r"(?<![a-z])(test|val|valid|validation)(?![a-z])", re.IGNORECASE)


def read(
    repo_id: str, sizes: Mapping[str, int], fetch: Fetch, *, config_name: str | None = None, max_bytes: int
) -> CondensationResult:
    """Read a condensed dataset from a repository without a manifest.

    Args:
        repo_id: "user/name", for messages and titles.
        sizes: size in bytes of every file of the commit, by path.
        fetch: downloads a file and returns its local path.
        config_name: read only files below a folder of this name; None for all.
        max_bytes: maximum size of the files, checked before the download, and of the images, checked before decoding.

    Raises:
        NotACondensedDatasetError: if there is nothing to read, with what is missing.
        ArtifactError: for files that are too large or corrupt.
    """
    wanted = [path for path in sizes if config_name is None or config_name in PurePosixPath(path).parts[:-1]]
    repository_paths.check(repo_id, [path for path in wanted if path.lower().endswith((".parquet", *_SUFFIXES))])
    tables = _tables(repo_id, wanted)
    folders = {} if tables else _folders(repo_id, wanted)
    chosen = tables or [path for paths in folders.values() for path in paths]
    if not chosen:
        raise NotACondensedDatasetError(_nothing_found(repo_id, sizes, config_name))
    total = sum(sizes[path] for path in chosen)
    if len(chosen) > _MAX_FILES:
        raise ArtifactError(
            f"{repo_id} contains {len(chosen):,} files of samples; the limit is {_MAX_FILES:,}. Ask its owner for "
            "parquet files, which hold many samples each."
        )
    if total > max_bytes:
        raise ArtifactError(
            f"{repo_id} contains samples of {total} bytes, more than max_bytes={max_bytes}. If it is a condensed "
            "dataset and you trust it, raise max_bytes."
        )
    if tables:
        return _with_warning(repo_id, third_party_images.from_tables(repo_id, tables, fetch, max_bytes))
    return _with_warning(repo_id, third_party_images.from_folders(repo_id, folders, fetch, max_bytes))


def result_from_samples(
    name: str,
    images: Tensor,
    labels: Tensor,
    kind: SampleKind,
    space: ValueSpace,
    names: Sequence[str] | None,
) -> CondensationResult:
    """A result built from samples alone, without recipe or history.

    Args:
        name: name of the source, for titles.
        images: (N, *sample) float32 in the value space of `kind`; `space` standardizes them.
        labels: (N,) non-negative integers.
        names: class names by label, or None.

    Raises:
        ArtifactError: for invalid labels, or NaN or infinite images.
    """
    if labels.is_floating_point() or labels.dim() != 1 or len(labels) != len(images) or not len(labels):
        raise ArtifactError(
            f"{name} has labels {tuple(labels.shape)} {labels.dtype} for {len(images)} samples, expected one integer "
            "per sample."
        )
    if int(labels.min()) < 0 or (names is not None and int(labels.max()) >= len(names)):
        expected = f"0 to {len(names) - 1}" if names is not None else "non-negative integers"
        raise ArtifactError(f"{name} has labels from {int(labels.min())} to {int(labels.max())}, expected {expected}.")
    if not bool(torch.isfinite(images).all()):
        raise ArtifactError(f"{name} has samples with NaN or infinite values.")
    values = labels.unique().tolist() if names is None else list(range(len(names)))
    index = torch.searchsorted(torch.tensor(values), labels.contiguous())
    metadata = Metadata(
        name=name,
        source_samples=None,
        fingerprint=None,
        kind=kind,
        space=space,
        classes=tuple(map(str, values if names is None else names)),
        class_values=tuple(values),
        recipe=None,
        recipe_name=UNKNOWN_RECIPE,
        ipc=int(index.bincount().max()),
        seed=0,
        encoding=specs.to_json(Pixels()),
        training=Training(),
        whitening="none" if space.whitening is None else "zca",
    )
    return with_storage_size(CondensationResult(images, index, metadata, None), images.numel())


def _with_warning(repo_id: str, found: LabeledImages) -> CondensationResult:
    """Build the result and warn once about missing metadata."""
    kind = SampleKind(found.kind, tuple(found.images.shape[1:]))
    missing = ["mean and standard deviation of its source (those of its own images are used)"]
    if found.names is None:
        missing.append("class names")
    missing += ["recipe", "training protocol (that of DSA is used)"]
    result = result_from_samples(repo_id, found.images, found.labels, kind, _space(found.images), found.names)
    numeric = found.names is not None and all(name.isdecimal() for name in found.names)
    if numeric and found.names and list(found.names) != sorted(found.names, key=int):
        missing.append(f"label values (names are sorted as text, so the label of {found.names[1]!r} is 1)")
    ignored = f" Ignored columns: {', '.join(found.ignored)}." if found.ignored else ""
    lacks = f"{repo_id} was not made by condensed-data and lacks: {', '.join(missing)}.{ignored}"
    warn_caller(lacks)
    return result


def _space(images: Tensor) -> ValueSpace:
    """The value space that standardizes images (N, C, H, W) per channel."""
    values = images.double().transpose(0, 1).flatten(1)
    return ValueSpace.from_sums(values.sum(1), values.square().sum(1), values.shape[1])


def _tables(repo_id: str, paths: Sequence[str]) -> list[str]:
    """The parquet files of the train split, in order and complete, in one folder, because each folder is a config."""
    tables = [path for path in paths if path.endswith(".parquet")]
    train = [path for path in tables if _TRAIN.search(path)]
    chosen = train or [path for path in tables if not _OTHER_SPLIT.search(path)]
    _refuse_several(repo_id, "parquet files", {PurePosixPath(path).parent.as_posix() for path in chosen})
    return repository_paths.in_order(repo_id, chosen)


def _folders(repo_id: str, paths: Sequence[str]) -> dict[str, list[str]]:
    """Image files by the name of their folder, which is their class; only those below train/ if there are any."""
    images = sorted(path for path in paths if path.lower().endswith(_SUFFIXES))
    train = [path for path in images if "train" in PurePosixPath(path).parts[:-2]]
    other = [path for path in images if not _OTHER_SPLIT.search(path.rpartition("/")[0])]
    folders: dict[str, list[str]] = {}
    above = set()
    for path in train or other:
        folder = PurePosixPath(path).parent
        if folder.name:
            folders.setdefault(folder.name, []).append(path)
            above.add(folder.parent.as_posix())
    if len(folders) < 2:
        return {}
    _refuse_several(repo_id, "folders of images", above)
    return folders


def _refuse_several(repo_id: str, what: str, folders: set[str]) -> None:
    """Each folder is a dataset of its own, so the samples of several are not mixed."""
    if len(folders) > 1:
        raise NotACondensedDatasetError(
            f"{repo_id} was not made by condensed-data and has {what} in {len(folders)} folders. Give one as "
            f"config_name: {shortened_list(sorted(folders))}."
        )


def _nothing_found(repo_id: str, sizes: Mapping[str, int], config_name: str | None) -> str:
    where = repo_id if config_name is None else f"{repo_id}, folder {config_name},"
    pickled = sorted(path for path in sizes if path.endswith((".pt", ".pth")))
    if pickled:
        return (
            f"{where} has no condensed.json but pickled tensors ({shortened_list(pickled, 5)}), which are not loaded "
            "from the Hub. If you trust them, download one and read it with CondensedDataset.from_pt(path)."
        )
    return (
        f"{where} contains no condensed dataset: no condensed.json, no parquet files with images and labels, and no "
        "images in one folder per class. Use `condensed-data search` to list repositories that contain one."
    )
