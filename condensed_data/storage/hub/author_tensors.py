"""Loads the tensors in the files of authors: one file, several shards of one dataset, or a folder; executes nothing.

Letters: N samples, K classes, C, H, W.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.errors import ArtifactError, checked_path, shortened_list
from condensed_data.core.text import visible

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]
_SUFFIXES = (".pt", ".pth")
_LABELS = re.compile(r"(?<![a-z])labels?(?![a-z])", re.IGNORECASE)
_OTHER = re.compile(r"(?<![a-z])lr(?![a-z])", re.IGNORECASE)  # learned learning rates beside images and labels


def load(path: Paths, labels: Paths | None, run: int, max_bytes: int) -> tuple[list[Path], Tensor, Tensor]:
    """The files of images, images (N, *sample) and labels (N,) or (N, K) as stored.

    Raises:
        FileNotFoundError, ArtifactError, ValueError: see `author_files.read`.
    """
    files, label_files = _files(path, labels)
    in_common = len(label_files) not in (0, len(files))  # the labels of all files of images
    left, images, targets = max_bytes, [], []
    for number, file in enumerate(files):
        if in_common:
            images.append(_only(file, left))
        else:
            labels_file = label_files[number] if label_files else None
            pair = _pair(_load(file, left), file, labels_file, run, left)
            images.append(pair[0])
            targets.append(pair[1])
        left -= images[-1].numel() * images[-1].element_size()
    if in_common:
        targets = [_only(file, max_bytes) for file in label_files]
    return files, _joined(images, files), _joined(targets, label_files or files)


def _files(path: Paths, labels: Paths | None) -> tuple[list[Path], list[Path]]:
    """The files of images in their order, and those of labels; empty if each file of images finds its own."""
    given = _listed(path)
    if len(given) == 1 and os.path.isdir(given[0]):
        given = [_in_folder(given[0])]
    named = [file for file in given if _LABELS.search(file.name)] if len(given) > 1 else []
    images = [file for file in given if file not in named]
    if labels is not None and named:
        raise ValueError(f"labels={labels!s} is given, but path= contains {named[0].name} too. Give the labels once.")
    found = named if labels is None else _listed(labels)
    if len(set(images)) < len(images) or len(set(found)) < len(found):
        raise ValueError(f"path={shortened_list(map(str, given))} names a file twice. Give each file once.")
    if not images:
        raise ValueError(f"path={shortened_list(map(str, given))} names no file of images. Give at least one.")
    return images, found


def _listed(paths: Paths) -> list[Path]:
    several: Sequence[Any] = paths if isinstance(paths, list | tuple) else [paths]
    return [checked_path("path", path) for path in several]


def _in_folder(folder: Path) -> Path:
    """The only file of images in a folder."""
    names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    images = [name for name in names if not _LABELS.search(name) and not _OTHER.search(name)]
    if len(images) == 1:
        return folder / images[0]
    problem = f"contains several files of images ({shortened_list(images)})" if images else "contains no .pt file"
    raise ValueError(f"{folder} {problem}. Give path= the file to read, or a list of the files of one dataset.")


def _pair(content: Any, path: Path, labels: Path | None, run: int, max_bytes: int) -> tuple[Tensor, Tensor]:
    """Images and labels in any of the layouts."""
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        runs = content["data"]
        if not 0 <= run < len(runs):
            raise ValueError(f"run={run} is out of range: {path} contains {len(runs)} runs, counted from 0.")
        content = runs[run]
    if isinstance(content, Tensor):
        content = [content, _load(labels or _beside(path), max_bytes)]
    elif labels is not None:
        raise ValueError(f"labels={str(labels)!r} is given, but {path} contains labels of its own. Omit labels=.")
    pair = isinstance(content, list | tuple) and len(content) == 2
    if not pair or not all(isinstance(item, Tensor) for item in content):
        raise ArtifactError(
            f"{path} contains a {type(content).__name__}, expected [images, labels] (IDC), a dictionary with such "
            "pairs under 'data' (DC, DSA, DM), or a tensor of images with labels in a separate file (MTT)."
        )
    images, targets = content
    return _dense(images, path, max_bytes), _dense(targets, labels or path, max_bytes)


def _only(path: Path, max_bytes: int) -> Tensor:
    """The tensor that a file consists of."""
    return _dense(_load(path, max_bytes), path, max_bytes)


def _dense(value: Any, path: Path, max_bytes: int) -> Tensor:
    """A dense tensor on the CPU: a few bytes can describe one without data, or a huge one."""
    if not isinstance(value, Tensor):
        raise ArtifactError(f"{path} contains a {type(value).__name__}, expected a tensor of images or of labels.")
    if value.layout != torch.strided or value.device.type != "cpu" or value.numel() * 4 > max_bytes:
        raise ArtifactError(
            f"{path} contains a {value.layout} tensor {tuple(value.shape)} on {value.device}, expected a dense CPU "
            f"tensor within max_bytes={max_bytes}."
        )
    return value.detach()


def _joined(parts: Sequence[Tensor], files: Sequence[Path]) -> Tensor:
    """The rows of all files."""
    for part, file in zip(parts, files, strict=True):
        if part.dim() == 0 or part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype:
            raise ArtifactError(
                f"{file} contains {tuple(part.shape)} {part.dtype}, but {files[0]} contains "
                f"{tuple(parts[0].shape)} {parts[0].dtype}. Give files of one dataset."
            )
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _beside(path: Path) -> Path:
    """The file of labels beside a file of images."""
    guesses = [path.with_name(path.name.replace(old, "labels")) for old in ("images_zca", "images")]
    for guess in guesses:
        if guess != path and guess.is_file():
            return guess
    text = f"{path} contains images without labels, and {guesses[-1]} does not exist. Give labels=, their path."
    raise FileNotFoundError(visible(text))


def _load(path: Path, max_bytes: int) -> Any:
    """Load what `torch.save` wrote: only tensors, numbers and containers of them."""
    if not os.path.isfile(path):
        text = f"{path} does not exist or is not a file. Give a file that torch.save wrote."
        raise FileNotFoundError(visible(text))
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
        # torch's own text recommends to load the file without these checks
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it refers to {named[1]}" if named else type(error).__name__
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
