"""Naive references in double precision, written from the equations with plain loops.

Nothing here is shared with the package: a test that compares with these compares two derivations.

Letters: C channels, H, W height and width, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Image = np.ndarray  # (C, H, W) float64


def color(image: Image, brightness: float, saturation: float, contrast: float) -> Image:
    """Add brightness; stretch pixels around their mean over channels; stretch all around the image's mean."""
    channels, height, width = image.shape
    out = np.empty_like(image)
    for c, i, j in _pixels(image):
        out[c, i, j] = image[c, i, j] + brightness
    saturated = np.empty_like(out)
    for c, i, j in _pixels(image):
        gray = sum(out[k, i, j] for k in range(channels)) / channels
        saturated[c, i, j] = (out[c, i, j] - gray) * saturation + gray
    mean = sum(saturated[pixel] for pixel in _pixels(image)) / (channels * height * width)
    for pixel in _pixels(image):
        out[pixel] = (saturated[pixel] - mean) * contrast + mean
    return out


def translate(image: Image, dx: int, dy: int) -> Image:
    """Pixel (i, j) comes from (i + dy, j + dx), or is 0 outside the image."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for c, i, j in _pixels(image):
        if 0 <= i + dy < height and 0 <= j + dx < width:
            out[c, i, j] = image[c, i + dy, j + dx]
    return out


def cut_out(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """0 in a rectangle, which may extend beyond the border."""
    out = image.copy()
    for c, i, j in _pixels(image):
        if top <= i < top + height and left <= j < left + width:
            out[c, i, j] = 0
    return out


def flip(image: Image) -> Image:
    """Mirrored left to right."""
    width = image.shape[2]
    out = np.empty_like(image)
    for c, i, j in _pixels(image):
        out[c, i, j] = image[c, i, width - 1 - j]
    return out


def affine(image: Image, matrix: Sequence[Sequence[float]]) -> Image:
    """A pixel at (x, y) from the center comes from matrix @ (x, y), interpolated between four pixels.

    Distances are in pixels; pixel centers lie at half-integers, so that the border of the image is half a
    pixel outside its outermost centers (`align_corners=False`). Pixels outside are 0.
    """
    _, height, width = image.shape
    (xx, xy), (yx, yy) = matrix
    out = np.zeros_like(image)
    for c, i, j in _pixels(image):
        x, y = j + 0.5 - width / 2, i + 0.5 - height / 2
        column = xx * x + xy * y + width / 2 - 0.5
        row = yx * x + yy * y + height / 2 - 0.5
        out[c, i, j] = _bilinear(image[c], row, column)
    return out


def scale(image: Image, sx: float, sy: float) -> Image:
    """Every coordinate comes from its multiple."""
    return affine(image, [[sx, 0], [0, sy]])


def rotate(image: Image, radians: float) -> Image:
    """Rotation by an angle around the center."""
    cos, sin = math.cos(radians), math.sin(radians)
    return affine(image, [[cos, -sin], [sin, cos]])


def _pixels(image: Image) -> list[tuple[int, ...]]:
    return list(np.ndindex(*image.shape))


def _bilinear(plane: np.ndarray, row: float, column: float) -> float:
    height, width = plane.shape
    top, left = math.floor(row), math.floor(column)
    value = 0.0
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                value += (1 - abs(row - i)) * (1 - abs(column - j)) * float(plane[i, j])
    return value


def dm_loss(
    features: Callable[[Tensor], Tensor],
    real_by_class: Sequence[Tensor],
    synthetic_by_class: Sequence[Tensor],
) -> Tensor:
    """Distribution matching: squared distances of class-mean features, summed over features and classes.

    Args:
        features: (1, *sample) -> (1, D); called with one sample at a time.
        real_by_class, synthetic_by_class: for every class (rows, *sample) float64.
    """
    loss = torch.zeros((), dtype=torch.float64)
    for real, synthetic in zip(real_by_class, synthetic_by_class, strict=True):
        rows = [features(sample[None])[0] for sample in real]
        columns = [features(sample[None])[0] for sample in synthetic]
        for d in range(len(rows[0])):
            real_mean = sum(row[d] for row in rows) / len(rows)
            synthetic_mean = sum(column[d] for column in columns) / len(columns)
            loss = loss + (real_mean - synthetic_mean) ** 2
    return loss
