"""Regenerates the golden dataset after a change of the format: `python tests/storage/golden/make.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from condensed_data.storage import artifact

FOLDER = Path(__file__).parent / "format-1.0"
CARD = "---\nlicense: mit\ntags:\n- condensed-data\n---\n# Tiny\n\nFour samples.\n"
FIELDS: dict[str, Any] = {
    "class_names": ["cat", "größe"],
    "class_values": [3, 8],
    "encoding": {"part": "Pixels", "version": 1},
    "environment": {"torch": "2.6.0"},
    "evaluation": [{"mean": 0.71}],
    "history": [[1, 3.5], [2, 1.25]],
    "ipc": 2,
    "iterations": 10,
    "label": {"kind": "index"},
    "name": "tiny",
    "num_classes": 2,
    "recipe": {"part": "Recipe", "terms": [{"part": "Term", "weight": 0.1}], "version": 1},
    "recipe_name": "dm",
    "required_features": [],
    "sample_kind": "tensor:float32",
    "seed": 0,
    "shape": [1, 3, 3],
    "source": {"fingerprint": None, "name": "tiny", "num_samples": 60},
    "training": {"lr": 0.01, "part": "Training"},
    "value_space": {"kind": "source", "mean": [0.5], "std": [0.25]},
}

if __name__ == "__main__":
    images = torch.arange(36).reshape(4, 1, 3, 3) / 64
    artifact.write(FOLDER, {"images": images, "labels": torch.tensor([0, 0, 1, 1])}, FIELDS, card=CARD)
