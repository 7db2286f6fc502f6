"""Find the image and label columns of a `datasets.Dataset`, and their class names and image mode.

Letters: n rows, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from condensed_data.data.sample import SourceError

_IMAGE_NAMES = ("image", "img", "picture")
_LABEL_NAMES = ("label", "labels", "class", "target")
_MAX_MODES = 1000  # images whose headers are read to decide the mode
_GRAY = {"1", "L", "LA"}
_DEEP = ("I", "F")  # more than 8 bits a channel: I, I;16, F, ...


def image_column(features: Mapping[str, Any], wanted: str | None) -> str:
    """The image column: `wanted`, the only one, or one with a usual name; else SourceError lists the columns."""
    return _column(features, wanted, "image", _is_image, _IMAGE_NAMES)


def label_column(features: Mapping[str, Any], wanted: str | None) -> str:
    """The label column: `wanted`, or the only ClassLabel, or the ClassLabel with a usual name.

    If no column is a ClassLabel, one of integers or text with a usual name is taken; else SourceError lists the
    columns.
    """
    if wanted is None and not any(map(_is_class, features.values())):
        usual = [name for name in _LABEL_NAMES if name in features and _is_label(features[name])]
        wanted = usual[0] if usual else None
    return _column(features, wanted, "label", _is_class if wanted is None else _is_label, _LABEL_NAMES)


def class_names(rows: Any, column: str, texts: Sequence[str] | None = None) -> list[str] | None:
    """K class names: those of a ClassLabel; `texts` or the sorted values of a text column; None for integers."""
    feature = rows.features[column]
    if _is_class(feature):
        return list(feature.names)
    if not is_text(feature):
        return None
    return list(texts or sorted(value for value in rows.unique(column) if value is not None))


def has_no_labels(rows: Any, column: str) -> bool:
    """Whether all labels are withheld, as in the test splits of competitions."""
    return set(rows.unique(column)) <= {-1, None}


def is_text(feature: Any) -> bool:
    """Whether a column contains text."""
    return _value(feature) in ("string", "large_string")


def common_mode(rows: Any, column: str) -> str | None:
    """The mode to which all images are converted: "L" if all are gray, "RGB" if some have color.

    The headers of up to 1,000 evenly spaced images are read. If one has more than 8 bits per channel, images are not
    converted: None.
    """
    from datasets import Image as Feature

    encoded = rows.cast_column(column, Feature(decode=False))
    indices = np.linspace(0, len(rows) - 1, min(_MAX_MODES, len(rows)), dtype=int).tolist()
    modes = {_mode(encoded[index][column]) for index in indices} - {""}
    if any(mode.startswith(_DEEP) for mode in modes):
        return None
    return "L" if modes <= _GRAY else "RGB"


def holds_images(rows: Any, column: str) -> bool:
    """Whether the rows hold the bytes of all images, none only the path of a file."""
    return all(chunk.field("bytes").null_count == 0 for chunk in rows.data.column(column).chunks)


def convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert the image to `mode` unless that loses color."""
    return image.convert(mode) if mode == "RGB" or image.mode in _GRAY else image


def _mode(encoded: Mapping[str, Any] | None) -> str:
    if encoded is None:
        return ""
    file = encoded["path"] if encoded["bytes"] is None else io.BytesIO(encoded["bytes"])
    try:
        with Image.open(file) as image:
            return image.mode
    except OSError:  # reported with its index when it is read
        return ""


def _column(features: Mapping[str, Any], wanted: str | None, what: str, matches: Any, usual: Sequence[str]) -> str:
    found = [name for name, feature in features.items() if matches(feature)]
    if wanted is not None:
        if wanted in found:
            return wanted
        raise SourceError(f"{what}_column={wanted!r} is not a column of {what}s. {_columns(features)}")
    named = [name for name in usual if name in found]
    if len(found) == 1 or named:
        return named[0] if named else found[0]
    count = f"{len(found)} columns of {what}s ({', '.join(found)})" if found else f"no column of {what}s"
    raise SourceError(
        f"The dataset has {count}. {_columns(features)} Choose one with {what}_column= or --{what}-column NAME."
    )


def _columns(features: Mapping[str, Any]) -> str:
    kinds = (f"{name} ({_value(feature) or type(feature).__name__})" for name, feature in features.items())
    return f"The columns are {', '.join(kinds)}."


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image"


def _is_class(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _is_label(feature: Any) -> bool:
    return _is_class(feature) or is_text(feature) or _value(feature).startswith(("int", "uint"))


def _value(feature: Any) -> str:
    return str(feature.dtype) if type(feature).__name__ == "Value" else ""
