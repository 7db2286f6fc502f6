"""A table of the samples for `datasets.load_dataset` and the Hub's viewer.

It holds labeled pictures of 8 bits where samples are pictures, else float32 numbers. It is never read back; the
tensors are what counts.
Dimension letters: N samples, K classes, C channels, H, W.
"""

from __future__ import annotations

import importlib.util
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.errors import ArtifactError
from condensed_data.storage import strict_json

_RANGES = {"unit": (0.0, 1.0), "uint8": (0.0, 255.0)}
_MOST_DIMENSIONS = 5  # of an array in `datasets`
_ROWS = 100  # a group, so that a viewer reads a page and not the whole file


def is_possible(manifest: Mapping[str, Any]) -> bool:
    """Whether `datasets` has a type for such samples, and pyarrow is installed."""
    return has_type(manifest) and importlib.util.find_spec("pyarrow") is not None


def has_type(manifest: Mapping[str, Any]) -> bool:
    """Whether `datasets` has a type for such samples."""
    return len(manifest["shape"]) <= _MOST_DIMENSIONS


def is_picture(manifest: Mapping[str, Any]) -> bool:
    """Whether samples are (C, H, W) with channels that an image file can hold."""
    channels = (1, 3, 4) if manifest["sample_kind"].startswith("pil:") else (1, 3)
    return len(manifest["shape"]) == 3 and manifest["shape"][0] in channels


def value_range(samples: Tensor, kind: str) -> tuple[float, float]:
    """The values that become the bytes 0 and 255: the value space's, else the least and the greatest."""
    if kind in _RANGES:
        return _RANGES[kind]
    low, high = float(samples.min()), float(samples.max())
    return low, high if high > low else low + 1.0


def encode(
    samples: Tensor, labels: Tensor, limits: tuple[float, float], manifest: Mapping[str, Any]
) -> bytes:
    """The bytes of a parquet file with columns image (PNG) or sample, label and, for soft labels, soft_label.

    Args:
        samples: (N, *shape) in any value space; pictures have C 1, 3 or 4.
        labels: (N,) int64 in 0..K-1, or (N, K) of a float type.
        limits: the values that become the bytes 0 and 255 of pictures; what lies outside is clamped.
        manifest: with the names of the classes; those that repeat get their value behind them, because
            `datasets` wants them distinct.

    Raises:
        ArtifactError: if samples have another shape or number than the manifest and the labels say.
    """
    expected = (len(labels), *manifest["shape"])
    if samples.shape != expected:
        raise ArtifactError(
            f"preview has shape {tuple(samples.shape)}: give the decoded samples, {expected}."
        )
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, Any] = {}
    if is_picture(manifest):
        pictures = [{"bytes": png, "path": f"{i:05d}.png"} for i, png in enumerate(_pngs(samples, limits))]
        columns["image"] = pyarrow.array(pictures)
    else:
        columns["sample"] = pyarrow.array(samples.float().tolist(), _nested(manifest["shape"]))
    hard = labels if labels.dim() == 1 else labels.argmax(1)
    columns["label"] = pyarrow.array(hard.tolist(), pyarrow.int64())
    if labels.dim() == 2:
        kind = pyarrow.list_(pyarrow.float32(), labels.shape[1])
        columns["soft_label"] = pyarrow.array(labels.float().tolist(), kind)
    features = _features(manifest, soft=labels.dim() == 2)
    metadata = {"huggingface": strict_json.compact({"info": {"features": features}})}
    sink = io.BytesIO()
    parquet.write_table(
        pyarrow.table(columns).replace_schema_metadata(metadata),
        sink,
        row_group_size=_ROWS,
        compression="none",
    )
    return sink.getvalue()


def _nested(shape: Sequence[int]) -> Any:
    """The type of one sample: a list of fixed length, or lists in lists, as `datasets` stores its arrays."""
    import pyarrow

    if len(shape) == 1:
        return pyarrow.list_(pyarrow.float32(), shape[0])
    kind = pyarrow.float32()
    for _ in shape:
        kind = pyarrow.list_(kind)
    return kind


def _features(manifest: Mapping[str, Any], *, soft: bool) -> dict[str, Any]:
    """The description that `datasets` itself writes."""
    names, shape = distinct(manifest["class_names"], manifest["class_values"]), list(manifest["shape"])
    features: dict[str, Any] = {}
    if is_picture(manifest):
        features["image"] = {"_type": "Image"}
    elif len(shape) == 1:
        value = {"dtype": "float32", "_type": "Value"}
        features["sample"] = {"feature": value, "length": shape[0], "_type": "List"}
    else:
        features["sample"] = {"shape": shape, "dtype": "float32", "_type": f"Array{len(shape)}D"}
    features["label"] = {"names": names, "_type": "ClassLabel"}
    if soft:
        value = {"dtype": "float32", "_type": "Value"}
        features["soft_label"] = {"feature": value, "length": len(names), "_type": "List"}
    return features


def _pngs(samples: Tensor, limits: tuple[float, float]) -> list[bytes]:
    low, high = limits
    levels = ((samples.float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
    return [_png(level) for level in levels.permute(0, 2, 3, 1)]


def _png(picture: Tensor) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture.squeeze(2).contiguous().numpy()).save(sink, format="PNG")
    return sink.getvalue()


def distinct(names: Sequence[str], values: Sequence[int]) -> list[str]:
    """Class names as `datasets` wants them: those that repeat get their value behind them."""
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({value})" for name, value in zip(names, values, strict=True)
    ]
