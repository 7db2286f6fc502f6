"""Writes the parquet preview of the samples for `datasets.load_dataset` and the Hub's viewer.

It contains labeled 8-bit images if the samples are images, else float32 numbers. It is never read back; only the
tensors count.
Dimension letters: N samples, K classes, C channels, H, W.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.errors import ArtifactError
from condensed_data.data.class_names import distinct
from condensed_data.storage import strict_json

_RANGES = {"unit": (0.0, 1.0), "uint8": (0.0, 255.0)}
_MAX_DIMENSIONS = 5  # of an array in `datasets`
_ROWS_PER_GROUP = 100  # so that a viewer reads one page and not the whole file


def is_possible(manifest: Mapping[str, Any]) -> bool:
    """Whether the preview can be written: `datasets` has a type for the samples, and pyarrow is installed."""
    return has_type(manifest) and importlib.util.find_spec("pyarrow") is not None


def has_type(manifest: Mapping[str, Any]) -> bool:
    """Whether `datasets` has a type for samples of this shape."""
    return len(manifest["shape"]) <= _MAX_DIMENSIONS


def is_image(manifest: Mapping[str, Any]) -> bool:
    """Whether samples are (C, H, W) with a number of channels that an image file can hold."""
    channels = (1, 3, 4) if manifest["sample_kind"].startswith("pil:") else (1, 3)
    return len(manifest["shape"]) == 3 and manifest["shape"][0] in channels


def value_range(samples: Tensor, kind: str) -> tuple[float, float]:
    """The values mapped to the bytes 0 and 255: limits of the value space, else minimum and maximum of the samples."""
    if kind in _RANGES:
        return _RANGES[kind]
    low, high = float(samples.min()), float(samples.max())
    return low, high if high > low else low + 1.0


def encode(samples: Tensor, labels: Tensor, limits: tuple[float, float], manifest: Mapping[str, Any]) -> bytes:
    """Encode a parquet file with the columns image (PNG) or sample, label and, for soft labels, soft_label.

    Args:
        samples: (N, *shape) in any value space; images have C of 1, 3 or 4.
        labels: (N,) int64 in 0..K-1, or (N, K) of a float type.
        limits: the values mapped to the bytes 0 and 255 of images; values outside are clamped.
        manifest: contains the class names; repeated names get their value appended, because `datasets` requires
            distinct ones.

    Raises:
        ArtifactError: if the shape of `samples` does not match the manifest and the labels.
    """
    expected = (len(labels), *manifest["shape"])
    if samples.shape != expected:
        raise ArtifactError(f"preview has shape {tuple(samples.shape)}, expected {expected}. Give the decoded samples.")
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, Any] = {}
    if is_image(manifest):
        images = [{"bytes": png, "path": f"{i:05d}.png"} for i, png in enumerate(_pngs(samples, limits))]
        columns["image"] = pyarrow.array(images)
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
        row_group_size=_ROWS_PER_GROUP,
        compression="none",
    )
    return sink.getvalue()


def _nested(shape: Sequence[int]) -> Any:
    """The arrow type of one sample: a list of fixed length, or nested lists as `datasets` stores its arrays."""
    import pyarrow

    if len(shape) == 1:
        return pyarrow.list_(pyarrow.float32(), shape[0])
    kind = pyarrow.float32()
    for _ in shape:
        kind = pyarrow.list_(kind)
    return kind


def _features(manifest: Mapping[str, Any], *, soft: bool) -> dict[str, Any]:
    """Description of the columns, as `datasets` writes it."""
    names, shape = distinct(manifest["class_names"], manifest["class_values"]), list(manifest["shape"])
    value = {"dtype": "float32", "_type": "Value"}
    features: dict[str, Any] = {}
    if is_image(manifest):
        features["image"] = {"_type": "Image"}
    elif len(shape) == 1:
        features["sample"] = {"feature": value, "length": shape[0], "_type": "List"}
    else:
        features["sample"] = {"shape": shape, "dtype": "float32", "_type": f"Array{len(shape)}D"}
    features["label"] = {"names": names, "_type": "ClassLabel"}
    return features | ({"soft_label": {"feature": value, "length": len(names), "_type": "List"}} if soft else {})


def _pngs(samples: Tensor, limits: tuple[float, float]) -> list[bytes]:
    low, high = limits
    levels = ((samples.float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
    found = []
    for image in levels.permute(0, 2, 3, 1):
        sink = io.BytesIO()
        Image.fromarray(image.squeeze(2).contiguous().numpy()).save(sink, format="PNG")
        found.append(sink.getvalue())
    return found
