"""Condensed sets on the Hub that this library did not make: pictures in parquet files, or in one folder a class.

What the files say is taken: pictures, labels, the names of classes. What they do not say is told in one warning: how
the source was normalized, which recipe made the set, how to train on it. Letters: N samples, K classes, C, H, W.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.errors import ArtifactError, NotACondensedDatasetError
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.methods.synthetic import Pixels
from condensed_data.storage.hub import third_party_images as foreign_pictures
from condensed_data.storage.hub.third_party_images import Fetch, Pictures
from condensed_data.storage.metadata import Metadata
from condensed_data.storage.result import CondensationResult, with_storage_size
from condensed_data.training.protocol import Training

UNKNOWN = "unknown"  # name of the recipe
_MOST_FILES = 20_000
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TRAIN = re.compile(r"(?<![a-z])train(?![a-z])", re.IGNORECASE)
_OTHER_SPLIT = re.compile(r"(?<![a-z])(test|val|valid|validation)(?![a-z])", re.IGNORECASE)


def read(
    repo_id: str, sizes: Mapping[str, int], fetch: Fetch, *, config_name: str | None = None, max_bytes: int
) -> CondensationResult:
    """Read a condensed set of others from a repository without a manifest.

    Args:
        repo_id: "user/name", for messages and titles.
        sizes: of all files of the commit in bytes, by path.
        fetch: downloads one of them and gives its local path.
        config_name: takes only files below a folder of this name.
        max_bytes: refuse more, of files before they are downloaded and of pictures before they are decoded.

    Raises:
        NotACondensedDatasetError: where there is nothing that can be read, saying what is missing.
        ArtifactError: for files that are too large or damaged.
    """
    wanted = {path: size for path, size in sizes.items() if _below(path, config_name)}
    tables, folders = _tables(repo_id, wanted), _folders(wanted)
    chosen = tables or [path for paths in folders.values() for path in paths]
    if not chosen:
        raise NotACondensedDatasetError(_nothing(repo_id, sizes, config_name))
    total = sum(sizes[path] for path in chosen)
    if total > max_bytes or len(chosen) > _MOST_FILES:
        raise ArtifactError(
            f"{repo_id} holds {len(chosen)} files of {total} bytes together; at most {_MOST_FILES} files and "
            f"max_bytes={max_bytes} are read. If it is a condensed set and you trust it, raise max_bytes."
        )
    found = (
        foreign_pictures.from_tables(repo_id, tables, fetch, max_bytes)
        if tables
        else foreign_pictures.from_folders(repo_id, folders, fetch, max_bytes)
    )
    return _told(repo_id, found)


def made_elsewhere(
    name: str,
    images: Tensor,
    labels: Tensor,
    kind: SampleKind,
    space: ValueSpace,
    names: Sequence[str] | None,
    training: Training | None = None,
) -> CondensationResult:
    """The outcome of a condensation of which nothing else is known.

    Args:
        images: (N, *sample) float32 in the value space of `kind`.
        labels: (N,) non-negative integers.
        space: standardizes the images.
        names: class names by label, or None.

    Raises:
        ArtifactError: for labels that are no class numbers.
    """
    if labels.is_floating_point() or labels.dim() != 1 or len(labels) != len(images) or not len(labels):
        raise ArtifactError(
            f"{name} has labels {tuple(labels.shape)} {labels.dtype} for {len(images)} samples."
        )
    if int(labels.min()) < 0 or (names is not None and int(labels.max()) >= len(names)):
        known = f"{len(names)} classes" if names is not None else "classes"
        raise ArtifactError(
            f"{name} has labels from {int(labels.min())} to {int(labels.max())}, which do not number its {known}."
        )
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
        recipe_name=UNKNOWN,
        ipc=int(index.bincount().max()),
        seed=0,
        encoding=specs.to_json(Pixels()),
        training=training or Training(),
    )
    return with_storage_size(CondensationResult(images, index, metadata, None), images.numel())


def _told(repo_id: str, found: Pictures) -> CondensationResult:
    """The outcome; one warning says what is missing."""
    kind = SampleKind(f"pil:{found.mode}", tuple(found.images.shape[1:]))
    missing = ["the mean and deviation of its source (those of its own pictures are used)"]
    if found.names is None:
        missing.append("class names")
    missing += ["its recipe", "how to train on it (the standard protocol is used)"]
    result = made_elsewhere(repo_id, found.images, found.labels, kind, _space(found.images), found.names)
    unread = f" Its columns {', '.join(found.left_out)} are not read." if found.left_out else ""
    warnings.warn(
        f"{repo_id} was not made by condensed-data, and does not say: {', '.join(missing)}.{unread}",
        stacklevel=2,
    )
    return result


def _space(images: Tensor) -> ValueSpace:
    """The space in which (N, C, H, W) is standardized, channel by channel."""
    values = images.double().transpose(0, 1).flatten(1)
    return ValueSpace.from_sums(values.sum(1), values.square().sum(1), values.shape[1])


def _below(path: str, config_name: str | None) -> bool:
    return config_name is None or config_name in PurePosixPath(path).parts[:-1]


def _tables(repo_id: str, sizes: Mapping[str, int]) -> list[str]:
    """The parquet files of the train split, in order.

    Raises:
        NotACondensedDatasetError: where they lie in several folders, one for each configuration.
    """
    tables = sorted(path for path in sizes if path.endswith(".parquet"))
    train = [path for path in tables if _TRAIN.search(path)]
    chosen = train or [path for path in tables if not _OTHER_SPLIT.search(path)]
    folders = sorted({PurePosixPath(path).parent.as_posix() for path in chosen})
    if len(folders) > 1:
        raise NotACondensedDatasetError(
            f"{repo_id} was not made by condensed-data, and holds tables in {len(folders)} folders. Name one as "
            f"config_name: {', '.join(folders[:20])}."
        )
    return chosen


def _folders(sizes: Mapping[str, int]) -> dict[str, list[str]]:
    """Pictures by the name of their folder, which is their class; those below train/ where there are any."""
    pictures = sorted(path for path in sizes if path.lower().endswith(_SUFFIXES))
    train = [path for path in pictures if "train" in PurePosixPath(path).parts[:-2]]
    other = [path for path in pictures if not _OTHER_SPLIT.search(path.rpartition("/")[0])]
    folders: dict[str, list[str]] = {}
    for path in train or other:
        if len(PurePosixPath(path).parts) > 1:
            folders.setdefault(PurePosixPath(path).parent.name, []).append(path)
    return folders if len(folders) > 1 else {}


def _nothing(repo_id: str, sizes: Mapping[str, int], config_name: str | None) -> str:
    where = repo_id if config_name is None else f"{repo_id}, folder {config_name},"
    pickled = sorted(path for path in sizes if path.endswith((".pt", ".pth")))
    if pickled:
        shown = ", ".join(pickled[:5])
        return (
            f"{where} holds no condensed.json but pickled tensors ({shown}), which are not loaded from the Hub. "
            "If you trust them, download one and read it with CondensedDataset.from_pt(path)."
        )
    return (
        f"{where} holds no condensed set: no condensed.json, and neither parquet files with pictures and labels nor "
        "pictures in one folder for each class. `condensed-data search` lists repositories that do."
    )
