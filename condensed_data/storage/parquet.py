"""An 8-bit view of the samples, which `datasets.load_dataset` and the Hub's viewer show as labelled pictures.

It is lossy and never read back; the tensors are what counts.
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

from condensed_data.storage import strict_json
from condensed_data.storage.errors import ArtefactError

_RANGES = {"unit": (0.0, 1.0), "uint8": (0.0, 255.0)}
_ROWS = 100  # a group, so that a viewer reads a page and not the whole file


def is_possible(manifest: Mapping[str, Any]) -> bool:
    """Whether samples are pictures, and pyarrow is installed."""
    return is_picture(manifest) and importlib.util.find_spec("pyarrow") is not None


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
    """The bytes of a parquet file with columns image (PNG), label and, for soft labels, soft_label.

    Args:
        samples: (N, C, H, W) in any value space, C 1, 3 or 4.
        labels: (N,) int64 in 0..K-1, or (N, K) of a float type.
        limits: the values that become the bytes 0 and 255; what lies outside is clamped.
        manifest: with the names of the classes; those that repeat get their value behind them, because
            `datasets` wants them distinct.

    Raises:
        ArtefactError: if samples have another shape or number than the manifest and the labels say.
    """
    expected = (len(labels), *manifest["shape"])
    if samples.shape != expected:
        raise ArtefactError(
            f"preview has shape {tuple(samples.shape)}: give the decoded samples, {expected}."
        )
    import pyarrow
    from pyarrow import parquet

    pictures = [{"bytes": png, "path": f"{i:05d}.png"} for i, png in enumerate(_pngs(samples, limits))]
    columns: dict[str, Any] = {"image": pyarrow.array(pictures)}
    hard = labels if labels.dim() == 1 else labels.argmax(1)
    columns["label"] = pyarrow.array(hard.tolist(), pyarrow.int64())
    if labels.dim() == 2:
        kind = pyarrow.list_(pyarrow.float32(), labels.shape[1])
        columns["soft_label"] = pyarrow.array(labels.float().tolist(), kind)
    features = _features(distinct(manifest["class_names"], manifest["class_values"]), soft=labels.dim() == 2)
    metadata = {"huggingface": strict_json.compact({"info": {"features": features}})}
    sink = io.BytesIO()
    parquet.write_table(
        pyarrow.table(columns).replace_schema_metadata(metadata),
        sink,
        row_group_size=_ROWS,
        compression="none",
    )
    return sink.getvalue()


def _features(names: list[str], *, soft: bool) -> dict[str, Any]:
    """The description that `datasets` itself writes."""
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
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
