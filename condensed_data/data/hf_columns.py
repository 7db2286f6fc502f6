"""Find the image and label columns of a `datasets.Dataset`, and their class names and image form.

Letters: n rows, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import IO, Any

from condensed_data.data.bit_depth import common_form, forms_of
from condensed_data.data.sample import SourceError

_IMAGE_NAMES = ("image", "img", "picture")
_LABEL_NAMES = ("label", "labels", "class", "target")


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


def image_form(rows: Any, column: str) -> str:
    """The form to which all images of a column are converted, see `bit_depth`; SourceError if they have none."""
    from datasets import Image as Feature

    encoded = rows.cast_column(column, Feature(decode=False))

    def file(index: int) -> str | IO[bytes]:
        value = encoded[index][column] or {"path": None, "bytes": b""}
        return io.BytesIO(value["bytes"]) if value["bytes"] is not None else str(value["path"])

    try:
        return common_form(forms_of(len(rows), file))
    except ValueError as error:
        raise SourceError(f"In column {column!r}, {error}") from error


def holds_images(rows: Any, column: str) -> bool:
    """Whether the rows hold the bytes of all images, none only the path of a file."""
    return all(chunk.field("bytes").null_count == 0 for chunk in rows.data.column(column).chunks)


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
