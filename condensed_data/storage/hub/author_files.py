"""Reads the `.pt` files in which authors of methods publish condensed datasets, without executing their content.

| authors | content of a file | values |
|---|---|---|
| DC, DSA, DM | {"data": [[images, labels], ...], "accs_all_exps": ...}, one pair per run | normalized |
| MTT and its successors | a tensor of images; the labels are in labels_*.pt beside images_*.pt | normalized |
| IDC | [images, labels]; an image is a grid of factor x factor smaller ones | 0 to 1 |

as written by their published code: https://github.com/VICO-UoE/DatasetCondensation,
https://github.com/GeorgeCazenavette/mtt-distillation and https://github.com/snu-mllab/Efficient-Dataset-Condensation.

Letters: N stored samples, K classes, C, H, W, D values of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.errors import ArtifactError
from condensed_data.data.axes import is_channels_last
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.methods.synthetic import MultiFormation, Pixels
from condensed_data.methods.synthetic.decoding import decode_all
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.hub import author_labels, author_spaces, author_tensors
from condensed_data.storage.hub.author_tensors import Paths
from condensed_data.storage.hub.third_party import result_from_samples
from condensed_data.storage.result import CondensationResult, with_soft_labels, with_storage_size


def read(
    path: Paths,
    labels: Paths | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalized: bool = True,
    whitening: Any = None,
    label_kind: str | None = None,
    factor: int = 1,
    run: int = 0,
    classes: Sequence[str] | None = None,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> CondensationResult:
    """Read a condensed dataset that its authors stored with `torch.save`.

    Args:
        path: the file; a list of files that are one dataset, in this order (those with "labels" in their name hold
            the labels); or a folder with one file of images.
        labels: file of the labels if they are not in `path`, or one per file of a list; by default labels_*.pt beside
            images_*.pt.
        mean, std: one number per channel, in [0, 1], with which the source was normalized. Normalized images are then
            mapped back, so that they fit a test set that is not normalized.
        normalized: whether the stored values are normalized (or whitened), as all but IDC's are. Without `mean` and
            `std` they stay normalized and fit a test set with the same normalization.
        whitening: how the values were ZCA-whitened, as MTT does with CIFAR: the training set with values in [0, 1]
            (the map is fitted on all of it, with epsilon 0.1), or the map itself, a mean (D,) and a symmetric matrix
            (D, D). The images are then mapped back to the values of the training set, networks train on whitened
            ones, and `evaluate` whitens its test set. "none" states that the values are not whitened. By default
            files that may be whitened are refused: those with "zca" in their name or the name of their folder, or
            with values far from normalized.
        label_kind: "probs", "logits" or "index", for labels (N, K); see `author_labels.read`.
        factor: side of IDC's grids, in images; 1 for none.
        run: index of the run in files of DC, DSA or DM.
        classes: K class names; by default the numbers in the labels.
        name: for titles; by default the name of the file.
        max_bytes: maximum size of the files and of their decoded tensors.

    Raises:
        FileNotFoundError: with the file that does not exist.
        ArtifactError: for a file that contains anything but tensors and numbers, or none of the layouts above.
        ValueError: for an argument out of range, or one that must be given because the files do not tell.
    """
    whitens = not (whitening is None or (isinstance(whitening, str) and whitening == "none"))
    if whitens and (mean is not None or std is not None or factor != 1):
        raise ValueError("whitening= replaces mean= and std=, and excludes factor=. Omit those.")
    files, images, targets = author_tensors.load(path, labels, run, max_bytes)
    first = files[0]
    if not images.is_floating_point() or images.dim() < 2 or images.numel() * 4 * factor**2 > max_bytes:
        raise ArtifactError(
            f"{first} contains images of shape {tuple(images.shape)} and type {images.dtype}, expected a "
            f"floating-point tensor (N, C, H, W) within max_bytes={max_bytes}."
        )
    if is_channels_last(tuple(images.shape[1:])):
        raise ArtifactError(
            f"{first} contains images of shape {tuple(images.shape)}, whose channels seem to be last. Save "
            "images.permute(0, 3, 1, 2) instead."
        )
    hard, soft = author_labels.read(targets, label_kind, first)
    images, shape = images.float().contiguous(), tuple(images.shape[1:])
    if whitens:
        kind, space = author_spaces.whitened(whitening, shape)
    else:
        kind, space = SampleKind("tensor:float32", shape), author_spaces.affine(mean, std, normalized, shape[0])
    if whitening is None:
        author_spaces.check_stated(files, images, normalized)
    stored = images if normalized else space.standardize(images * (kind.max_value if kind.eight_bit else 1.0))
    title = name or first.stem
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
