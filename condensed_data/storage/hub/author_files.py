"""The `.pt` files in which authors of methods publish their condensed sets, read without running what is in them.

| who | what a file holds | values |
|---|---|---|
| DC, DSA, DM | {"data": [[images, labels], ...], "accs_all_exps": ...}, one pair a run | normalized |
| MTT and its successors | a tensor of images; labels_*.pt beside images_*.pt holds the labels | normalized |
| IDC | [images, labels]; an image is a grid of factor x factor smaller ones | 0 to 1 |

as their published code writes them: https://github.com/VICO-UoE/DatasetCondensation,
https://github.com/GeorgeCazenavette/mtt-distillation and https://github.com/snu-mllab/Efficient-Dataset-Condensation.
Images that were learned in a space whitened by ZCA stay there: the files do not hold the matrix.

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
from condensed_data.storage.hub.third_party import made_elsewhere
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
    """Read a set that its authors stored with `torch.save`.

    Args:
        path: the file.
        labels: the file of labels, where they are not in `path`; by default labels_*.pt beside images_*.pt.
        mean, std: one number a channel, by which the source was normalized, in [0, 1]. Normalized images are then
            mapped back, so that they fit a test set that is not normalized.
        normalized: whether the stored values are normalized, as all but IDC's are. Without `mean` and `std` they
            stay so, and fit a test set that is normalized in the same way.
        factor: of IDC's grids, 1 for none.
        run: which of the runs of DC, DSA or DM.
        classes: K names; by default the numbers in the labels.
        name: for titles; by default that of the file.
        max_bytes: refuse more.

    Raises:
        FileNotFoundError: naming the file that is not there.
        ArtifactError: for a file that holds anything but tensors and numbers, or not what is listed above.
        ValueError: for an argument out of range.
    """
    path = Path(path)
    space = _space(mean, std, normalized)
    images, targets = _pair(_load(path, max_bytes), path, labels, run, max_bytes)
    if not images.is_floating_point() or images.dim() < 2 or images.numel() * 4 * factor**2 > max_bytes:
        raise ArtifactError(
            f"{path} holds images of shape {tuple(images.shape)} and type {images.dtype}; expected a floating point "
            f"tensor (N, C, H, W) within max_bytes={max_bytes}."
        )
    images = images.float().contiguous()
    space = _fitted(space, images.shape[1])
    kind = SampleKind("tensor:float32", tuple(images.shape[1:]))
    stored = space.standardize(images) if not normalized else images
    title = name or path.stem
    soft, hard = _soft(targets, path), _hard(targets)
    if soft is not None and classes is None:
        classes = [str(number) for number in range(soft.shape[1])]
    if factor == 1:
        result = made_elsewhere(title, space.restore(stored), hard, kind, space, classes)
    else:
        result = _formed(title, stored, hard, kind, space, classes, factor)
    if soft is None:
        return result
    if soft.shape[1] != len(result.metadata.classes):
        raise ValueError(
            f"classes= has {len(result.metadata.classes)} names, but the labels {soft.shape[1]} columns."
        )
    return with_soft_labels(result, soft.repeat_interleave(len(result.labels) // len(soft), 0))


def _space(mean: Sequence[float] | None, std: Sequence[float] | None, normalized: bool) -> ValueSpace:
    if (mean is None) != (std is None):
        raise ValueError("Give both mean= and std=, or neither.")
    if mean is None or std is None:
        if not normalized:
            raise ValueError(
                "normalized=False: give mean= and std= of the source, which the files do not hold."
            )
        return ValueSpace(torch.zeros(1), torch.ones(1))
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise ValueError(f"mean={list(mean)} and std={list(std)} must be one number a channel, std positive.")
    return ValueSpace(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))


def _fitted(space: ValueSpace, channels: int) -> ValueSpace:
    """The same for so many channels."""
    if len(space.mean) not in (1, channels):
        raise ValueError(f"mean= has {len(space.mean)} numbers, but the images have {channels} channels.")
    return ValueSpace(space.mean.expand(channels).clone(), space.std.expand(channels).clone())


def _formed(
    title: str, stored: Tensor, labels: Tensor, kind: SampleKind, space: ValueSpace, classes: Any, factor: int
) -> CondensationResult:
    """The set of IDC's grids (N, C, H, W), standardized: they are stored as they are, and decoded."""
    encoding = MultiFormation(Pixels(), factor=factor)
    encoding.check(kind.shape)
    tensors = {"images": stored}
    if any(side % factor for side in kind.shape[1:]):
        tensors["pad"] = space.standardize(torch.full((1, kind.shape[0], 1), 0.5))[
            0, :, 0
        ]  # as the authors do
    labels = labels.repeat_interleave(factor ** (len(kind.shape) - 1))
    synthetic_data = encoding.restore(tensors, labels, kind.shape)
    result = made_elsewhere(title, space.restore(decode_all(synthetic_data)), labels, kind, space, classes)
    ipc = result.metadata.ipc * len(stored) // len(labels)
    metadata = replace(result.metadata, encoding=specs.to_json(encoding), ipc=ipc)
    return with_storage_size(
        replace(result, metadata=metadata, stored=tensors), sum(map(Tensor.numel, tensors.values()))
    )


def _pair(
    content: Any, path: Path, labels: str | Path | None, run: int, max_bytes: int
) -> tuple[Tensor, Tensor]:
    """Images and labels, however they were stored."""
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        runs = content["data"]
        if not 0 <= run < len(runs):
            raise ValueError(f"run={run}: {path} holds {len(runs)} runs, counted from 0.")
        content = runs[run]
    if isinstance(content, Tensor):
        content = [content, _load(_beside(path, labels), max_bytes)]
    right = isinstance(content, list | tuple) and len(content) == 2
    if not right or not all(isinstance(item, Tensor) for item in content):
        raise ArtifactError(
            f"{path} holds a {type(content).__name__}; expected [images, labels] (IDC), a dictionary with such pairs "
            "under 'data' (DC, DSA, DM), or a tensor of images with the labels in a file of their own (MTT)."
        )
    images, targets = content[0].detach(), content[1].detach()
    for tensor in (
        images,
        targets,
    ):  # a few bytes can stand for a tensor that is not there, or for a huge one
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.numel() * 4 > max_bytes:
            raise ArtifactError(
                f"{path} holds a {tensor.layout} tensor {tuple(tensor.shape)} on {tensor.device}; expected an ordinary "
                f"one within max_bytes={max_bytes}."
            )
    return images, targets


def _beside(path: Path, labels: str | Path | None) -> Path:
    """The file of the labels of a file of images."""
    if labels is not None:
        return Path(labels)
    guesses = [path.with_name(path.name.replace(old, "labels")) for old in ("images_zca", "images")]
    for guess in guesses:
        if guess != path and guess.is_file():
            return guess
    raise FileNotFoundError(
        f"{path} holds images without labels. Give labels=, the path of their file; {guesses[-1]} is not there."
    )


def _soft(labels: Tensor, path: Path) -> Tensor | None:
    """Class probabilities (N, K), or None where labels are something else; logits and the like are told."""
    if labels.dim() != 2 or not labels.is_floating_point():
        return None
    labels = labels.float()
    if bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() < 1e-3).all()):
        return labels
    warnings.warn(
        f"{path} has soft labels {tuple(labels.shape)} that are no probabilities: the greatest of each is taken.",
        stacklevel=4,
    )
    return None


def _hard(labels: Tensor) -> Tensor:
    """Class numbers (N,) int64; of soft labels (N, K), those of the greatest."""
    if labels.is_floating_point():
        return labels.argmax(1) if labels.dim() == 2 else labels
    return labels.long()


def _load(path: Path, max_bytes: int) -> Any:
    """What `torch.save` wrote: tensors, numbers and containers of them, and nothing else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file. Give one that torch.save wrote.")
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > max_bytes:
        raise ArtifactError(
            f"{path} holds {size} bytes, more than max_bytes={max_bytes}. If you trust it, raise that."
        )
    try:
        allowed = torch.serialization.safe_globals([*_Accuracy.spellings()])
        with path.open("rb") as file, allowed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forms that are unusual; what comes of them is checked
            return torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except (
        pickle.UnpicklingError,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
    ) as error:
        reason = str(error).split("\n")[0][:300]
        raise ArtifactError(
            f"{path} holds more than tensors, or is damaged, and was not loaded ({reason}). Ask its authors for the "
            "tensors alone."
        ) from error


class _Accuracy:
    """Stands for NumPy's numbers, in which DC, DSA and DM store accuracies: takes anything, holds nothing."""

    def __init__(self, *ignored: Any) -> None:
        del ignored

    def __setstate__(self, ignored: Any) -> None:
        del ignored

    @classmethod
    def spellings(cls) -> list[type]:
        """This class, once for each name under which a file may ask for it."""
        homes = (
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "scalar"),
        )
        return [type(name, (cls,), {"__module__": home, "__qualname__": name}) for home, name in homes]
