"""`condensed.json`, format 1.0: every field, what it may hold, and the checks of both.

| field | holds |
|---|---|
| `format`, `format_version` | "condensed-data", "1.0" |
| `required_features` | names of what a reader must know to make sense of the rest: "replay", "zca" |
| `name` | of the data set that was condensed |
| `num_classes`, `class_names`, `class_values` | K, K strings, and the source's own K label values |
| `shape` | of one sample: [C, H, W], [C, L] or [D] |
| `sample_kind` | what the source yields: "pil:L", "pil:RGB", "tensor:float32", "tensor:uint8", ... |
| `value_space` | {"kind": "unit", "uint8", "source" or "standardized", "mean": [...], "std": [...]}, of the |
|   | stored samples; mean and std (per channel, or one for all) standardize them. With "whitening": "zca" |
|   | the tensors `zca.*` whiten what is standardized, see `condensed_data.data.whitening` |
| `label` | {"kind": "index" or "probs"}: labels (N,) int64 in 0..K-1, or (N, K) of a float type; |
|   | then `made_for` (N,) int64 is the class of which a sample was made |
| `encoding` | canonical JSON of the synthetic part; where its "part" is "Pixels" there is a tensor `images` |
|   | (N, *shape), else the tensors `synthetic.*` hold what it decodes |
| `recipe`, `recipe_name` | canonical JSON of the resolved recipe, or null where it has none; its name |
| `ipc`, `seed`, `iterations` | samples stored per class, the seed, iterations completed |
| `source` | {"name": ..., "fingerprint": text or null, "num_samples": ... or null} |
| `training` | canonical JSON of the protocol to train with |
| `replay` | only where the set requires it: its own training steps, see `condensed_data.storage.replay` |
| `evaluation` | a list of objects, one a measured accuracy |
| `baselines` | optional: the same of what the set is compared with, each with "set": its name |
| `num_samples`, `cache_key` | optional: N as decoded; the key of the build that gives this set; or null |
| `stored_floats` | optional: the numbers that are kept to decode the samples; or null |
| `environment` | {name: text}: versions and device, informational |
| `history` | a list of [iteration, loss] |
| `preview_range` | only where there is a preview of pictures: [low, high], the values behind its bytes 0 and 255 |
| `files` | {file: {"sha256": ..., "size": ...}} of the tensors and the preview; README.md may be edited |
| `content_hash` | identity of the tensors, see `tensor_hash.content_hash` |
| `manifest_sha256` | of all other fields as JSON with sorted keys and no spaces |

Forward compatibility: unknown fields are kept and ignored. A file of a newer minor version is read with a
warning; one of a newer major version, or that names an unknown required feature, is refused.
Dimension letters: N synthetic samples, K classes, C channels, H, W, L length, D features.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

from condensed_data.core.errors import (
    ArtifactError,
    IntegrityError,
    NotACondensedDatasetError,
    UnsupportedFormatError,
    mismatch_message,
    shown,
)
from condensed_data.storage import manifest_fields as fields
from condensed_data.storage import strict_json

FORMAT = "condensed-data"
VERSION = (1, 0)
TEXT_VERSION = f"{VERSION[0]}.{VERSION[1]}"
FEATURES = frozenset({"replay", "zca"})
MAX_BYTES = 1 << 20

_UPGRADE = (
    "Upgrade condensed-data (pip install --upgrade condensed-data), or ask for a set in an older format."
)
_CHECKSUM = "manifest_sha256"
_OURS = ("format", "format_version", "files", "content_hash", "preview_range", _CHECKSUM)


def seal(described: Mapping[str, Any], listed: Mapping[str, Any], content_hash: str) -> dict[str, Any]:
    """The whole manifest: the caller's fields, and those that the format computes."""
    full = {
        "required_features": [],
        **described,
        "format": FORMAT,
        "format_version": TEXT_VERSION,
        "files": listed,
        "content_hash": content_hash,
    }
    return {**full, _CHECKSUM: _checksum(full)}


def encode(manifest: Mapping[str, Any], where: str) -> bytes:
    """The bytes of a sealed manifest.

    Raises:
        ArtifactError: if they are more than 1 MiB.
    """
    raw = strict_json.pretty(manifest)
    if len(raw) > MAX_BYTES:
        remedy = "Store large lists as tensors, and fewer evaluations and points of history."
        raise ArtifactError(
            mismatch_message(where, f"a manifest of {len(raw)} bytes", f"at most {MAX_BYTES}", remedy)
        )
    return raw


def decode(raw: bytes, where: str, *, verify: bool) -> dict[str, Any]:
    """Parse and check the bytes of a manifest.

    Args:
        raw: the file, already bounded to 1 MiB.
        where: its path, for messages.
        verify: whether its own checksum must be right.

    Raises:
        ArtifactError: or the subclass that says what is wrong.
    """
    manifest = strict_json.loads(raw, where)
    minor = _check_version(manifest, where)
    if verify and manifest.get(_CHECKSUM) != _checksum(manifest):
        expected = f"{_CHECKSUM} {_checksum(manifest)}"
        remedy = "The file is damaged or was edited: save or download it again, or read it with verify=False."
        raise IntegrityError(mismatch_message(where, shown(manifest.get(_CHECKSUM)), expected, remedy))
    fields.check(manifest, {**fields.DESCRIBED, **fields.COMPUTED}, where)
    fields.check_agreement(manifest, where)
    if minor > VERSION[1]:
        warnings.warn(
            f"{where} has format {manifest['format_version']}, newer than {TEXT_VERSION}: what it adds is "
            f"ignored. {_UPGRADE}",
            stacklevel=4,
        )
    return manifest


def describe(manifest: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields that the caller of `write` brings, checked, as a reader will see them.

    Raises:
        ArtifactError: naming the field, what it holds and what it may hold.
    """
    strict_json.check(dict(manifest), where)
    try:
        raw = strict_json.compact({key: value for key, value in manifest.items() if key not in _OURS})
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            mismatch_message(where, f"no JSON ({error})", "plain data, finite numbers")
        ) from error
    described = strict_json.loads(raw, where)
    fields.check(described, fields.DESCRIBED, where)
    fields.check_agreement(described, where)
    _check_features(described.get("required_features", []), where)
    return described


def _check_version(manifest: Mapping[str, Any], where: str) -> int:
    """Refuse what this version cannot know; gives the minor version."""
    if manifest.get("format") != FORMAT:
        found = f"format {shown(manifest.get('format'))}"
        raise NotACondensedDatasetError(mismatch_message(where, found, f"format {FORMAT!r}"))
    text = manifest.get("format_version")
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", text):
        raise ArtifactError(
            mismatch_message(where, f"format_version {shown(text)}", "two numbers, as in '1.0'")
        )
    major, minor = map(int, text.split("."))
    if major != VERSION[0]:
        expected = f"version {VERSION[0]}.x"
        raise UnsupportedFormatError(mismatch_message(where, f"format version {text}", expected, _UPGRADE))
    _check_features(manifest.get("required_features"), where)
    return minor


def _check_features(features: Any, where: str) -> None:
    if not fields.list_of(features, lambda item: fields.is_text(item, 100)):
        raise ArtifactError(
            mismatch_message(where, f"required_features {shown(features)}", "a list of names")
        )
    unknown = sorted(set(features) - FEATURES)
    if unknown:
        expected = f"only {', '.join(sorted(FEATURES))}"
        raise UnsupportedFormatError(
            mismatch_message(where, f"required features {shown(unknown)}", expected, _UPGRADE)
        )


def _checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != _CHECKSUM}
    return hashlib.sha256(strict_json.compact(rest)).hexdigest()
