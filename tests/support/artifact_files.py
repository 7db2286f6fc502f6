"""The golden dataset, and edits of its manifest that keep the checksum valid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TENSORS = "condensed.safetensors"
MANIFEST = "condensed.json"
GOLDEN = Path(__file__).parents[1] / "storage" / "golden" / "format-1.0"


def seal(manifest: dict[str, Any]) -> bytes:
    """A manifest with a valid checksum, computed by the documented rule."""
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({**rest, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def edit(directory: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((directory / MANIFEST).read_bytes())
    change(manifest)
    (directory / MANIFEST).write_bytes(seal(manifest))
