"""Reads the `.pt` files in which authors of methods publish condensed datasets, without executing their content.

| authors | content of a file | values |
|---|---|---|
| DC, DSA, DM | {"data": [[images, labels], ...], "accs_all_exps": ...}, one pair per run | normalized |
| MTT and its successors | a tensor of images; the labels are in labels_*.pt beside images_*.pt | normalized |
| IDC | [images, labels]; an image is a grid of factor x factor smaller ones | 0 to 1 |

as written by their published code: https://github.com/VICO-UoE/DatasetCondensation,
https://github.com/GeorgeCazenavette/mtt-distillation and https://github.com/snu-mllab/Efficient-Dataset-Condensation.
Images that were learned in a ZCA-whitened space stay in it, because the files do not contain the matrix.

Letters: N stored samples, K classes, C, H, W.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.errors import ArtifactError
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.methods.synthetic import MultiFormation, Pixels
from condensed_data.methods.synthetic.decoding import decode_all
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.hub.third_party import result_from_samples
from condensed_data.storage.result import CondensationResult, with_soft_labels, with_storage_size


def read(
    path: str | Path,
    labels: str | Path | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalized: bool = True,
    factor: int = 1,
    run: int = 0,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> CondensationResult:
    """Read a condensed dataset that its authors stored with `torch.save`.

    Args:
        path: the file.
        labels: file of the labels if they are not in `path`; by default labels_*.pt beside images_*.pt.
        mean, std: one number per channel, in [0, 1], with which the source was normalized. Normalized images are then
            mapped back, so that they fit a test set that is not normalized.
        normalized: whether the stored values are normalized, as all but IDC's are. Without `mean` and `std` they
            stay normalized and fit a test set with the same normalization.
        factor: side of IDC's grids, in images; 1 for none.
        run: index of the run in files of DC, DSA or DM.
        classes: K class names; by default the numbers in the labels.
        name: for titles; by default the name of the file.
        max_bytes: maximum size of the file and of its decoded tensors.

    Raises:
        FileNotFoundError: with the file that does not exist.
        ArtifactError: for a file that contains anything but tensors and numbers, or none of the layouts above.
        ValueError: for an argument out of range.
    """
    path = Path(path)
    space = _space(mean, std, normalized)
    images, targets = _pair(_load(path, max_bytes), path, labels, run, max_bytes)
    if not images.is_floating_point() or images.dim() < 2 or images.numel() * 4 * factor**2 > max_bytes:
        raise ArtifactError(
            f"{path} contains images of shape {tuple(images.shape)} and type {images.dtype}, expected a floating-point "
            f"tensor (N, C, H, W) within max_bytes={max_bytes}."
        )
    images = images.float().contiguous()
    space = _expand_channels(space, images.shape[1])
    kind = SampleKind("tensor:float32", tuple(images.shape[1:]))
    stored = space.standardize(images) if not normalized else images
    title = name or path.stem
    soft, hard = _soft_labels(targets, path), _hard_labels(targets)
    if soft is not None and classes is None:
        classes = [str(number) for number in range(soft.shape[1])]
    if factor == 1:
        result = result_from_samples(title, space.restore(stored), hard, kind, space, classes)
    else:
        result = _decode_grids(title, stored, hard, kind, space, classes, factor)
    if soft is None:
        return result
    if soft.shape[1] != len(result.metadata.classes):
        raise ValueError(
            f"classes= has {len(result.metadata.classes)} names, but the labels have {soft.shape[1]} columns."
        )
    return with_soft_labels(result, soft.repeat_interleave(len(result.labels) // len(soft), 0))


def _space(mean: Sequence[float] | None, std: Sequence[float] | None, normalized: bool) -> ValueSpace:
    if (mean is None) != (std is None):
        raise ValueError("Give both mean= and std=, or neither.")
    if mean is None or std is None:
        if not normalized:
            raise ValueError(
                "normalized=False needs mean= and std= of the source, which the files do not contain. Give both."
            )
        return ValueSpace(torch.zeros(1), torch.ones(1))
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise ValueError(f"mean={list(mean)} and std={list(std)} must have one number per channel, with positive std.")
    return ValueSpace(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))


def _expand_channels(space: ValueSpace, channels: int) -> ValueSpace:
    if len(space.mean) not in (1, channels):
        raise ValueError(f"mean= has {len(space.mean)} numbers, but the images have {channels} channels.")
    return ValueSpace(space.mean.expand(channels).clone(), space.std.expand(channels).clone())


def _decode_grids(
    title: str, stored: Tensor, labels: Tensor, kind: SampleKind, space: ValueSpace, classes: Any, factor: int
) -> CondensationResult:
    """The result for IDC's standardized grids (N, C, H, W): stored as grids, decoded to images."""
    encoding = MultiFormation(Pixels(), factor=factor)
    encoding.check(kind.shape)
    tensors = {"images": stored}
    if any(side % factor for side in kind.shape[1:]):
        tensors["pad"] = space.standardize(torch.full((1, kind.shape[0], 1), 0.5))[0, :, 0]  # as in the authors' code
    labels = labels.repeat_interleave(factor ** (len(kind.shape) - 1))
    synthetic_data = encoding.restore(tensors, labels, kind.shape)
    result = result_from_samples(title, space.restore(decode_all(synthetic_data)), labels, kind, space, classes)
    ipc = result.metadata.ipc * len(stored) // len(labels)
    metadata = replace(result.metadata, encoding=specs.to_json(encoding), ipc=ipc)
    floats = sum(map(Tensor.numel, tensors.values()))
    return with_storage_size(replace(result, metadata=metadata, stored=tensors), floats)


def _pair(content: Any, path: Path, labels: str | Path | None, run: int, max_bytes: int) -> tuple[Tensor, Tensor]:
    """Images and labels in any of the layouts."""
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        runs = content["data"]
        if not 0 <= run < len(runs):
            raise ValueError(f"run={run} is out of range: {path} contains {len(runs)} runs, counted from 0.")
        content = runs[run]
    if isinstance(content, Tensor):
        content = [content, _load(_beside(path, labels), max_bytes)]
    pair = isinstance(content, list | tuple) and len(content) == 2
    if not pair or not all(isinstance(item, Tensor) for item in content):
        raise ArtifactError(
            f"{path} contains a {type(content).__name__}, expected [images, labels] (IDC), a dictionary with such "
            "pairs under 'data' (DC, DSA, DM), or a tensor of images with labels in a separate file (MTT)."
        )
    images, targets = content[0].detach(), content[1].detach()
    for tensor in (images, targets):  # a few bytes can describe a tensor without data, or a huge one
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.numel() * 4 > max_bytes:
            raise ArtifactError(
                f"{path} contains a {tensor.layout} tensor {tuple(tensor.shape)} on {tensor.device}, expected a dense "
                f"CPU tensor within max_bytes={max_bytes}."
            )
    return images, targets


def _beside(path: Path, labels: str | Path | None) -> Path:
    if labels is not None:
        return Path(labels)
    guesses = [path.with_name(path.name.replace(old, "labels")) for old in ("images_zca", "images")]
    for guess in guesses:
        if guess != path and guess.is_file():
            return guess
    raise FileNotFoundError(
        f"{path} contains images without labels, and {guesses[-1]} does not exist. Give labels=, their path."
    )


def _soft_labels(labels: Tensor, path: Path) -> Tensor | None:
    """Class probabilities (N, K), or None for other labels; warns about logits and the like."""
    if labels.dim() != 2 or not labels.is_floating_point():
        return None
    labels = labels.float()
    if bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() < 1e-3).all()):
        return labels
    warnings.warn(
        f"{path} has soft labels {tuple(labels.shape)} that are not probabilities; the argmax of each row is used.",
        stacklevel=5,
    )
    return None


def _hard_labels(labels: Tensor) -> Tensor:
    """Class indices (N,) int64; for soft labels (N, K) the argmax."""
    if labels.is_floating_point():
        return labels.argmax(1) if labels.dim() == 2 else labels
    return labels.long()


def _load(path: Path, max_bytes: int) -> Any:
    """Load what `torch.save` wrote: only tensors, numbers and containers of them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file. Give a file that torch.save wrote.")
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > max_bytes:
        raise ArtifactError(
            f"{path} has {size} bytes, more than max_bytes={max_bytes}. If you trust it, raise max_bytes."
        )
    try:
        with path.open("rb") as file, torch.serialization.safe_globals([*_ACCURACIES]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual layouts; the result is checked
            return torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        reason = str(error).split("\n")[0][:300]
        raise ArtifactError(
            f"{path} contains more than tensors, or is corrupt, and was not loaded ({reason}). Ask its authors for a "
            "file of plain tensors."
        ) from error


class _Accuracy:
    """Placeholder for the NumPy numbers in which DC, DSA and DM store accuracies: accepts anything, keeps nothing."""

    def __init__(self, *ignored: Any) -> None:
        del ignored

    def __setstate__(self, ignored: Any) -> None:
        del ignored


# the placeholder under each name that a file may refer to
_ACCURACIES = [
    type(name, (_Accuracy,), {"__module__": home, "__qualname__": name})
    for home, name in (("numpy", "dtype"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"))
]
