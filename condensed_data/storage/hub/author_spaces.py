"""The value space of images that authors published: normalized, in [0, 1], or ZCA-whitened as MTT does it.

MTT whitens CIFAR instead of normalizing it: kornia's ZCA with epsilon 0.1, fitted on the training set in [0, 1]. Its
files do not contain the map. (MTT's code calls the images mapped back from it images_zca_<iteration>.pt, while whitened
ones are published as images_zca_best.pt, so a name alone cannot tell.)

Letters: N samples, C channels, D values of a sample, n samples of the training set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.errors import short_repr
from condensed_data.data.real import RealData
from condensed_data.data.sample_store import CHUNK
from condensed_data.data.source import inspect
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.data.whitening import Whitening

EPSILON = 0.1  # of MTT, for values in [0, 1]
_ZCA = re.compile(r"(?<![a-z])(?<!no[_-])(?<!non[_-])(?<!without[_-])zca(?![a-z])", re.IGNORECASE)
_REMEDY = (
    "Give whitening= the training set with values in [0, 1], as ToTensor() gives it (or the map, a mean (D,) and a "
    "matrix (D, D)); or whitening='none' if the values are not whitened"
)


def check_stated(files: Sequence[Path], images: Tensor, normalized: bool) -> None:
    """Refuse images whose name or values contradict what is assumed without `whitening=`: normalized values.

    Raises:
        ValueError: with what was seen and the arguments to give.
    """
    named = [path for path in files if _ZCA.search(path.name) or _ZCA.search(path.absolute().parent.name)]
    if named:
        raise ValueError(
            f"{named[0]} is named as ZCA-whitened. Networks that learn from whitened images fail on test images that "
            f"are only normalized. {_REMEDY} (images that were mapped back are not normalized either: give also "
            "normalized=False, mean= and std=)."
        )
    mean, std = float(images.mean()), float(images.std(correction=0))
    if normalized and math.isfinite(std) and (abs(mean) > 1 or not 0.5 < std < 4):
        raise ValueError(
            f"{files[0]} contains values with mean {mean:.3g} and standard deviation {std:.3g}, far from normalized "
            "ones (0 and 1). If they are in [0, 1], give normalized=False, mean= and std=. If they are ZCA-whitened: "
            f"{_REMEDY}."
        )


def affine(mean: Sequence[float] | None, std: Sequence[float] | None, normalized: bool, channels: int) -> ValueSpace:
    """The space of images that are not whitened, for numbers per channel in [0, 1]."""
    if (mean is None) != (std is None):
        raise ValueError("Give both mean= and std=, or neither.")
    if mean is None or std is None:
        if not normalized:
            raise ValueError(
                "normalized=False needs mean= and std= of the source, which the files do not contain. Give both."
            )
        return ValueSpace(torch.zeros(channels), torch.ones(channels))
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise ValueError(f"mean={list(mean)} and std={list(std)} must have one number per channel, with positive std.")
    if len(mean) not in (1, channels):
        raise ValueError(f"mean= has {len(mean)} numbers, but the images have {channels} channels.")
    means, stds = (torch.tensor(values, dtype=torch.float32).expand(channels).clone() for values in (mean, std))
    return ValueSpace(means, stds)


def whitened(whitening: Any, shape: tuple[int, ...]) -> tuple[SampleKind, ValueSpace]:
    """The kind of samples that whitened images are mapped back to, and the space that whitens such samples.

    Args:
        whitening: the training set, or the map of values in [0, 1]: (mean (D,), symmetric matrix (D, D)).
        shape: of one image.

    Raises:
        ValueError: if it does not fit the images, or a training set has values outside [0, 1].
    """
    Whitening.check(shape)
    if isinstance(whitening, list | tuple) and len(whitening) == 2 and all(isinstance(v, Tensor) for v in whitening):
        return SampleKind("tensor:float32", shape), _from_map(whitening[0], whitening[1], shape)
    if isinstance(whitening, str | int | float | Tensor):
        raise ValueError(f"whitening={short_repr(whitening)} is not 'none', a training set, or (mean, matrix).")
    return _fitted(whitening, shape)


def _fitted(training_set: Any, shape: tuple[int, ...]) -> tuple[SampleKind, ValueSpace]:
    source = inspect(training_set)
    if source.kind.shape != shape:
        raise ValueError(f"whitening= has samples of shape {source.kind.shape}, but the images have shape {shape}.")
    real = RealData.read(source)
    top, count = source.kind.max_value if source.kind.eight_bit else 1.0, len(real)
    real = replace(real, space=ValueSpace(torch.zeros(1), torch.full((1,), top)))
    batches = torch.arange(count).split(CHUNK)
    low, high = torch.stack([torch.stack(real[rows].aminmax()) for rows in batches]).T
    if float(low.min()) < -1e-3 or float(high.max()) > 1.001:
        raise ValueError(
            f"whitening= has values from {float(low.min()):.3g} to {float(high.max()):.3g}, but authors whiten values "
            "in [0, 1]. Give the training set without Normalize."
        )
    plain = Whitening.from_samples((real[rows] for rows in batches), EPSILON * (count - 1) / count)
    unbiased = math.sqrt((count - 1) / count)  # kornia divides the covariance by n - 1
    return source.kind, _space(plain.mean, plain.vectors, plain.scales * unbiased, shape, top)


def _from_map(mean: Tensor, matrix: Tensor, shape: tuple[int, ...]) -> ValueSpace:
    size = math.prod(shape)
    flat, square = mean.detach().cpu().float().flatten(), matrix.detach().cpu().double()
    if len(flat) != size or square.shape != (size, size):
        raise ValueError(
            f"whitening= has a mean of shape {tuple(mean.shape)} and a matrix of shape {tuple(matrix.shape)}, but "
            f"images of shape {shape} need ({size},) and ({size}, {size})."
        )
    if not bool(flat.isfinite().all() & square.isfinite().all()) or not torch.allclose(square, square.T, 1e-4, 1e-4):
        raise ValueError("whitening= has a matrix that is not symmetric or not finite. Give that of a ZCA.")
    scales, vectors = torch.linalg.eigh(square)
    if not float(scales[0]) > 0:
        raise ValueError("whitening= has a matrix that cannot be inverted. Give that of a ZCA.")
    return _space(flat, vectors.float(), scales.float(), shape, 1.0)


def _space(mean: Tensor, vectors: Tensor, scales: Tensor, shape: tuple[int, ...], top: float) -> ValueSpace:
    """The space of a map of values in [0, 1], for samples with values from 0 to `top`.

    `Whitening` acts on standardized values. Dividing all channels by one number keeps the map symmetric.
    """
    channel_mean = mean.view(shape[0], -1).mean(1)
    variance = float((scales.double().square().reciprocal() - EPSILON).mean())
    std = math.sqrt(max(variance, 1e-4))
    centered = (mean.view(shape[0], -1) - channel_mean[:, None]).flatten() / std
    whitening = Whitening(centered, vectors.contiguous(), scales * std)
    return ValueSpace(channel_mean * top, torch.full((shape[0],), std * top), whitening)
