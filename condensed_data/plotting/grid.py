"""Draws labeled grids of samples, one row per class, and saves images. Needs only pillow.

Letters: N samples, K classes, C channels, H, W, L length, D features.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from condensed_data.core.annotations import Count, checked
from condensed_data.core.atomic import write_atomically
from condensed_data.core.text import html_text, visible_name
from condensed_data.plotting.tiles import painter

_MARGIN, _GAP, _ROW_GAP, _LINE = 16, 4, 6, 20  # pixels
_LABEL_WIDTH = 190  # pixels; longer names are cut
_MAX_TILES = 20_000  # pictures of more samples take gigabytes
_INK, _FAINT = (32, 36, 42), (110, 116, 126)


@checked
def grid(
    images: Tensor,
    labels: Sequence[int],
    classes: Sequence[str],
    *,
    per_class: Count | None = 10,
    scale: Count | None = None,
    value_range: tuple[float, float] | None = None,
    max_classes: Count = 20,
    title: str | None = None,
) -> Image.Image:
    """Draw samples in rows, one row per class, with the class name to the left.

    Images are enlarged without smoothing (8x8 to 56x56 pixels) or reduced to at most 96x96; signals become line plots,
    vectors one heat map per class. All samples share one value scale.

    Args:
        images: (N, C, H, W) images, (N, C, L) signals or (N, D) vectors, finite; uint8 or in any value space.
        labels: (N,) class indices in [0, K).
        classes: K class names.
        per_class: maximum number of samples shown of each class; None for all.
        scale: screen pixels per image pixel or per feature; for signals, a multiple of the default size.
        value_range: values shown as darkest and brightest. Default: [0, 255] for uint8 images, [0, 1] for images that
            mostly lie there and span a tenth of it, else the minimum and maximum of all samples (of each feature for
            vectors).
        max_classes: maximum number of rows; the other classes are counted below.
        title: first line; by default the number and shape of the samples and the number of classes.

    Raises:
        ValueError: for labels that do not fit `images` or `classes`, or an argument out of range.
    """
    rows = _rows(images, labels, classes, per_class)
    samples_painter = painter(images, scale, value_range)
    if max_classes < 1:
        raise ValueError(f"max_classes={max_classes} must be at least 1.")
    heading = [title or _heading(images, classes)]
    if per_class is not None and np.bincount(labels).max() > per_class:
        heading.append(f"first {per_class} of each class shown")
    heading += samples_painter.notes
    shown = list(rows.items())[:max_classes]
    more = len(rows) - len(shown)
    count = sum(len(index) for _, index in shown)
    if count > _MAX_TILES:
        raise ValueError(f"grid() would draw {count:,} samples, more than {_MAX_TILES:,}. Use a smaller per_class.")
    tiles = [(visible_name(classes[label]), samples_painter.paint(images[index])) for label, index in shown]
    return _compose(heading, tiles, f"… and {_count(more, 'more class', 'more classes')}" if more else "")


def _heading(images: Tensor, classes: Sequence[str]) -> str:
    shape = "x".join(map(str, images.shape[1:])) if images.ndim > 2 else _count(images.shape[1], "feature")
    return f"{_count(len(images), 'sample')} of {shape}, {_count(len(classes), 'class', 'classes')}"


def _rows(images: Tensor, labels: Sequence[int], classes: Sequence[str], per_class: int | None) -> dict[int, list[int]]:
    """Indices of the samples to show, by class in the order of `classes`."""
    if per_class is not None and per_class < 1:
        raise ValueError(f"per_class={per_class} must be at least 1, or None for all.")
    if len(labels) != len(images):
        raise ValueError(f"labels has {len(labels)} entries for {len(images)} images. Give one label per image.")
    rows: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        if not 0 <= label < len(classes):
            raise ValueError(f"labels[{index}]={label} is not an index into the {len(classes)} classes.")
        rows.setdefault(int(label), []).append(index)
    return {label: rows[label][:per_class] for label in sorted(rows)}


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _compose(heading: Sequence[str], rows: Sequence[tuple[str, list[Image.Image]]], footer: str) -> Image.Image:
    large, small = ImageFont.load_default(size=15), ImageFont.load_default(size=13)
    names = [_shorten(name, small) for name, _ in rows]
    left = _MARGIN + max(_text_width(name, small) for name in names) + 12
    fonts = [large, *[small] * (len(heading) - 1)]
    top = _MARGIN + _LINE * len(heading) + 8
    heights = [max(_LINE, *(tile.height for tile in tiles)) for _, tiles in rows]
    widths = [left + sum(tile.width + _GAP for tile in tiles) - _GAP for _, tiles in rows]
    widths += [_MARGIN + _text_width(text, font) for text, font in zip(heading, fonts, strict=True)]
    widths.append(left + _text_width(footer, small))
    height = top + sum(heights) + _ROW_GAP * (len(rows) - 1) + (_LINE + 6 if footer else 0) + _MARGIN
    canvas = Image.new("RGB", (max(widths) + _MARGIN, height), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (text, font) in enumerate(zip(heading, fonts, strict=True)):
        place = (_MARGIN, _MARGIN + _LINE * index + _LINE // 2)
        draw.text(place, text, fill=_FAINT if index else _INK, font=font, anchor="lm")
    for name, (_, tiles), row_height in zip(names, rows, heights, strict=True):
        draw.text((left - 12, top + row_height // 2), name, fill=_INK, font=small, anchor="rm")
        at = left
        for tile in tiles:
            canvas.paste(tile, (at, top + max(0, _LINE - tile.height) // 2))
            at += tile.width + _GAP
        top += row_height + _ROW_GAP
    if footer:
        draw.text((left, top + _LINE // 2), footer, fill=_FAINT, font=small, anchor="lm")
    return canvas


def _text_width(text: str, font: Any) -> int:
    return int(np.ceil(font.getlength(text)))


def _shorten(name: str, font: Any) -> str:
    """The name, cut to the width of the label column."""
    if _text_width(name, font) <= _LABEL_WIDTH:
        return name
    name = name[:_LABEL_WIDTH]  # no character is narrower than a pixel
    while _text_width(name + "…", font) > _LABEL_WIDTH:
        name = name[:-1]
    return name.rstrip() + "…"


def to_html(
    images: Tensor,
    labels: Sequence[int],
    classes: Sequence[str],
    summary: str,
    *,
    value_range: tuple[float, float] | None = None,
) -> str:
    """HTML for a notebook: `summary`, escaped, above a grid of at most 10 samples of 10 classes.

    Args:
        images, labels, classes, value_range: as for `grid`.
        summary: plain text; line breaks are preserved.
    """
    image = grid(images, labels, classes, max_classes=10, value_range=value_range)
    data = base64.b64encode(_encode(image, "PNG")).decode()
    alt = f"samples of {_count(len(set(labels)), 'class', 'classes')}"
    text = html_text(summary)
    return f'<pre>{text}</pre><img alt="{alt}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def _encode(image: Image.Image, image_format: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format)
    return stream.getvalue()


def save(image: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write an image in the format given by the suffix of `path`; missing folders are created.

    Raises:
        ValueError: if pillow cannot write such files.
        OSError: if `path` cannot be written; no partial file is left behind.
    """
    return write_atomically(Path(path), _encode(image, check_suffix(path)))


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The image format given by the suffix of `path`; call it before long work whose result is an image.

    Raises:
        ValueError: if pillow cannot write such files.
    """
    Image.init()
    image_format = Image.registered_extensions().get(Path(path).suffix.lower())
    if image_format is None or image_format not in Image.SAVE:
        raise ValueError(f"path={str(path)!r} does not end in an image suffix. Use .png, .jpg, .webp, .gif or .tif.")
    return image_format
