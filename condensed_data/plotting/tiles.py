"""Draws samples as small images with pillow: images, signals and vectors.

Letters: M samples of one class, N of all, C channels, H, W, L length, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

# sizes in pixels
SMALL = 56  # longer side that small images are enlarged to
LARGE = 96  # maximum longer side of large images
SIGNAL_SIZE = (96, 44)  # width and height
STRIP_WIDTH = 560  # maximum width of the heat map of vectors
STRIP_CELL = 24  # maximum width of one feature
STRIP_ROW = 10  # height of one sample
FRAME = (226, 228, 232)
# blue, orange, green, red, purple, brown: easy to distinguish on white, even as thin lines
_LINES = ((31, 102, 180), (230, 120, 20), (40, 150, 70), (200, 45, 50), (125, 85, 175), (125, 85, 75))
# five anchors of viridis (Smith and van der Walt, 2015), which is perceptually uniform, in gray print too
_HEAT = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True)
class Painter:
    """Draws samples of one dataset on one value scale.

    Attributes:
        paint: (M, *sample) -> images of these samples from left to right (vectors: one image of all).
        notes: explanations that a reader needs, such as the value scale.
    """

    paint: Callable[[Tensor], list[Image.Image]]
    notes: tuple[str, ...]


def painter(images: Tensor, scale: int | None = None, value_range: tuple[float, float] | None = None) -> Painter:
    """The painter for these samples.

    Args:
        images: (N, C, H, W) images, (N, C, L) signals or (N, D) vectors, finite.
        scale, value_range: see `grid.grid`; for signals the range is from the lowest to the highest value shown.

    Raises:
        ValueError: for other shapes, values that are not finite, or an argument out of range.
    """
    _check_arguments(images, scale, value_range)
    painters = {4: _images, 3: _signals, 2: _vectors}
    return painters[images.ndim](images, scale, value_range)


def _check_arguments(images: Tensor, scale: int | None, value_range: tuple[float, float] | None) -> None:
    if images.ndim not in (2, 3, 4) or images.numel() == 0:
        raise ValueError(
            f"images of shape {tuple(images.shape)} cannot be drawn. Give at least one image (N, C, H, W), "
            "signal (N, C, L) or vector (N, D)."
        )
    if images.is_complex() or not bool(torch.isfinite(images).all()):
        raise ValueError("images contains complex, NaN or infinite values. Give finite real values.")
    if scale is not None and scale < 1:
        raise ValueError(f"scale={scale} must be at least 1.")
    if value_range is not None and not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise ValueError(f"value_range={value_range} must be (lowest, highest), finite and increasing.")


def _minimum_and_maximum(values: Tensor) -> tuple[float, float]:
    low, high = map(float, values.detach().aminmax())
    return low, high if high > low else low + 1


def _images(images: Tensor, scale: int | None, value_range: tuple[float, float] | None) -> Painter:
    (low, high), notes = _brightness(images, value_range)
    channels, size = images.shape[1], _size(images.shape[3], images.shape[2], scale)
    if channels == 2:
        notes.append("mean of 2 channels shown")
    elif channels > 3:
        notes.append(f"first 3 of {channels} channels shown as red, green, blue")

    def paint(rows: Tensor) -> list[Image.Image]:
        rows = rows.detach().cpu().float()
        rows = rows.mean(1, keepdim=True) if channels == 2 else rows[:, :3]
        pixels = (255 * (rows - low) / (high - low)).round().clamp(0, 255).byte()
        return [_resized(_to_image(row), size) for row in pixels.expand(-1, 3, -1, -1)]

    return Painter(paint, tuple(notes))


def _brightness(images: Tensor, given: tuple[float, float] | None) -> tuple[tuple[float, float], list[str]]:
    """Values shown as black and white, with a note if a reader could not guess them."""
    if given is not None:
        return given, []
    if images.dtype == torch.uint8:
        return (0.0, 255.0), []
    low, high = _minimum_and_maximum(images)  # different, even if all values are equal
    # learned images leave their range slightly, standardized ones by far; tiny values would all be black
    if float(((images > -0.1) & (images < 1.1)).float().mean()) > 0.9 and high - low > 0.1:
        return (0.0, 1.0), []
    return (low, high), [f"black is {low:.3g}, white is {high:.3g}"]


def _size(width: int, height: int, scale: int | None) -> tuple[int, int]:
    """Width and height on the screen: an integer multiple for small images, so that all pixels have the same size."""
    longer = max(width, height)
    factor: float = scale or max(1, round(SMALL / longer))
    if scale is None and longer > LARGE:
        factor = LARGE / longer
    return max(1, round(width * factor)), max(1, round(height * factor))


def _to_image(pixels: Tensor) -> Image.Image:
    """An image of (3, H, W) uint8 or of float in [0, 1]."""
    from torchvision.transforms.functional import to_pil_image  # not at the top: it takes as long as torch to import

    return to_pil_image(pixels)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    shrinks = size[0] < image.width or size[1] < image.height
    return image.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST)


def _signals(signals: Tensor, scale: int | None, value_range: tuple[float, float] | None) -> Painter:
    low, high = value_range or _minimum_and_maximum(signals)
    channels = signals.shape[1]
    size = (SIGNAL_SIZE[0] * (scale or 1), SIGNAL_SIZE[1] * (scale or 1))
    notes = [f"vertical axis from {low:.3g} to {high:.3g}"]
    if channels > 1:
        notes.append(f"{channels} channels overlaid")

    def paint(rows: Tensor) -> list[Image.Image]:
        heights = 1 - (rows.detach().cpu().float() - low) / (high - low)
        zero = high / (high - low)
        return [_plot(row.tolist(), zero, size) for row in heights.clamp(0, 1)]

    return Painter(paint, tuple(notes))


def _plot(lines: Sequence[Sequence[float]], zero: float, size: tuple[int, int]) -> Image.Image:
    """Overlaid lines; heights are fractions from the top, `zero` is the height of a thin base line."""
    fine = 3  # drawn larger and then reduced, which smooths the lines
    width, height, pad = size[0] * fine, size[1] * fine, 4 * fine
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, height - 1), outline=FRAME, width=fine)

    def down(fraction: float) -> float:
        return pad + fraction * (height - 1 - 2 * pad)

    if 0 <= zero <= 1:
        draw.line((0, down(zero), width, down(zero)), fill=FRAME, width=fine)
    for index, line in reversed(list(enumerate(lines))):
        steps = np.linspace(pad, width - 1 - pad, max(2, len(line))).tolist()
        points = list(zip(steps, map(down, line if len(line) > 1 else [*line, *line]), strict=True))
        draw.line(points, fill=_LINES[index % len(_LINES)], width=4, joint="curve")
    return image.resize(size, Image.Resampling.BOX)


def _vectors(vectors: Tensor, scale: int | None, value_range: tuple[float, float] | None) -> Painter:
    if value_range is None:
        low, high = vectors.amin(0).cpu().float(), vectors.amax(0).cpu().float()
        note = "each scaled to its own range"
    else:
        low, high = torch.tensor(value_range[0]), torch.tensor(value_range[1])
        note = f"from {value_range[0]:.3g} to {value_range[1]:.3g}"
    features = vectors.shape[1]
    cell = scale or min(STRIP_CELL, STRIP_WIDTH / features)
    width = max(1, round(features * cell))

    def paint(rows: Tensor) -> list[Image.Image]:
        values = (rows.detach().cpu().float() - low) / (high - low).where(high > low, torch.ones(()))
        return [_resized(_to_image(_heat_map(values.clamp(0, 1))), (width, len(rows) * (scale or STRIP_ROW)))]

    return Painter(
        paint, ("one row per sample, one column per feature", f"features {note}: dark is low, yellow is high")
    )


def _heat_map(values: Tensor) -> Tensor:
    """Colors of values in [0, 1]: (M, D) -> (3, M, D) uint8."""
    stops = np.linspace(0, 1, len(_HEAT))
    colors = [np.interp(values.numpy(), stops, anchors) for anchors in zip(*_HEAT, strict=True)]
    return torch.from_numpy(np.stack(colors).round().astype(np.uint8))
