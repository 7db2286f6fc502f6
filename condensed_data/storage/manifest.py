"""The manifest, `condensed.json`, format 1.0: documents its fields, and seals, encodes and checks it.

| field | holds |
|---|---|
| `format`, `format_version` | "condensed-data", "1.0" |
| `required_features` | what a reader must support to use the dataset: "replay", "zca" |
| `name` | name of the dataset that was condensed |
| `num_classes`, `class_names`, `class_values` | K, K strings, and the K label values of the source |
| `source_classes` | the source's names of all its labels, by label, or null |
| `shape` | shape of one sample: [C, H, W], [C, L] or [D] |
| `sample_kind` | what the source yields: "pil:L", "pil:RGB", "tensor:float32", "tensor:uint8", ... |
| `value_space` | {"kind": "unit", "uint8", "source" or "standardized", "mean": [...], "std": [...]} of the |
|   | stored samples; mean and std (per channel, or one for all) standardize them. With "whitening": "zca" |
|   | the tensors `zca.*` whiten the standardized values, see `condensed_data.data.whitening` |
| `label` | {"kind": "index", "probs" or "scores"}: `labels` is (N,) int64 in 0..K-1, or (N, K) of a float |
|   | type, probabilities or scores of any value; with these, `hard_labels` (N,) int64 is the class that |
|   | each sample was made for |
| `encoding` | canonical JSON of the synthetic data's spec; if its "part" is "Pixels" there is a tensor `images` |
|   | (N, *shape), else the tensors `synthetic.*` are decoded to the samples. `images` has the values of |
|   | `value_space` in a float type, or 8-bit ones as uint8: divide them by 255 in the space "unit" |
| `recipe`, `recipe_name` | canonical JSON of the resolved recipe, or null if it cannot be stored; its name |
| `ipc`, `seed`, `iterations` | samples stored per class, seed, completed iterations |
| `source` | {"name": ..., "fingerprint": text or null, "num_samples": ... or null} |
| `training` | canonical JSON of the training protocol to use |
| `replay` | only with the feature "replay": the training steps to use, see `condensed_data.storage.replay` |
| `evaluation` | list of measured accuracies, one object each |
| `baselines` | optional: accuracies to compare with; "trained_on" names the training set of each |
| `num_samples`, `cache_key` | optional: N after decoding; key of the build that gives this dataset; or null |
| `stored_floats` | optional: how many numbers are stored to decode the samples; or null |
| `environment` | {name: text}: versions and device, informational |
| `history` | list of [iteration, loss] |
| `preview_range` | only with an image preview: [low, high], the values of its bytes 0 and 255 |
| `files` | {file: {"sha256": ..., "size": ...}} for the tensors and the preview; README.md may be edited |
| `content_hash` | hash of the tensors, see `condensed_data.core.tensor_hash.content_hash` |
| `manifest_sha256` | sha256 of all other fields as JSON with sorted keys and no spaces |

Forward compatibility: unknown fields are kept and ignored. A file of a newer minor version is read with a
warning; a newer major version or an unknown required feature is refused.
Dimension letters: N synthetic samples, K classes, C channels, H, W, L length, D features.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.errors import (
    ArtifactError,
    IntegrityError,
    NotACondensedDatasetError,
    UnsupportedFormatError,
    short_repr,
)
from condensed_data.storage import manifest_fields as fields
from condensed_data.storage import strict_json

FORMAT = "condensed-data"
VERSION = (1, 0)
TEXT_VERSION = f"{VERSION[0]}.{VERSION[1]}"
FEATURES = frozenset({"replay", "zca"})
MAX_BYTES = 1 << 20

_UPGRADE = "Upgrade condensed-data (pip install --upgrade condensed-data), or ask for the dataset in an older format."
_CHECKSUM = "manifest_sha256"
_COMPUTED = ("format", "format_version", "files", "content_hash", "preview_range", _CHECKSUM)


def seal(described: Mapping[str, Any], listed: Mapping[str, Any], content_hash: str) -> dict[str, Any]:
    """Complete a manifest: add version, file checksums, content hash and its own checksum to the caller's fields."""
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
    """Serialize a sealed manifest.

    Raises:
        ArtifactError: if it exceeds 1 MiB.
    """
    raw = strict_json.pretty(manifest)
    if len(raw) > MAX_BYTES:
        remedy = "Store large lists as tensors, and keep fewer evaluations and history points."
        raise ArtifactError.mismatch(where, f"a manifest of {len(raw)} bytes", f"at most {MAX_BYTES}", remedy)
    return raw


def decode(raw: bytes, where: str, *, verify: bool) -> dict[str, Any]:
    """Parse and check the bytes of a manifest, with `verify` its own checksum too; `where` is named in messages.

    Raises:
        ArtifactError: or one of its subclasses, if the manifest is invalid.
    """
    manifest = strict_json.loads(raw, where)
    minor = _check_version(manifest, where)
    with newer_is_unsupported(manifest, where):
        return _checked(manifest, minor, where, verify)


def _checked(manifest: dict[str, Any], minor: int, where: str, verify: bool) -> dict[str, Any]:
    if verify and manifest.get(_CHECKSUM) != _checksum(manifest):
        expected = f"{_CHECKSUM} {_checksum(manifest)}"
        remedy = "The file is corrupt or was edited. Save or download it again, or read it with verify=False."
        raise IntegrityError.mismatch(where, short_repr(manifest.get(_CHECKSUM)), expected, remedy)
    fields.check(manifest, fields.DESCRIBED | fields.COMPUTED, where)
    fields.check_consistency(manifest, where)
    if minor > VERSION[1]:
        warn_caller(
            f"{where} has format {manifest['format_version']}, newer than {TEXT_VERSION}. Unknown additions are "
            f"ignored. {_UPGRADE}"
        )
    return manifest


@contextmanager
def newer_is_unsupported(manifest: Mapping[str, Any], where: str | Path) -> Iterator[None]:
    """Inside, what is wrong with a file of a newer minor version is that this version does not know it.

    Raises:
        UnsupportedFormatError: in place of an ArtifactError, unless the bytes themselves changed.
    """
    try:
        yield
    except (IntegrityError, UnsupportedFormatError):
        raise
    except ArtifactError as error:
        if _minor(manifest) <= VERSION[1]:
            raise
        raise UnsupportedFormatError(
            f"{where} has format {manifest['format_version']}, newer than {TEXT_VERSION}, and cannot be read by this "
            f"version ({str(error).partition(', expected')[0]}). {_UPGRADE}"
        ) from error


def describe(manifest: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the caller's fields of a manifest and return them as a reader will see them.

    Raises:
        ArtifactError: with the field, its value and what is allowed.
    """
    strict_json.check(dict(manifest), where)
    try:
        raw = strict_json.compact({key: value for key, value in manifest.items() if key not in _COMPUTED})
    except (TypeError, ValueError) as error:
        raise ArtifactError.mismatch(
            where, f"data that JSON cannot hold ({error})", "plain data with finite numbers"
        ) from error
    described = strict_json.loads(raw, where)
    fields.check(described, fields.DESCRIBED, where)
    fields.check_consistency(described, where)
    _check_features(described.get("required_features", []), where)
    return described


def _check_version(manifest: Mapping[str, Any], where: str) -> int:
    """Refuse formats this version cannot read; returns the minor version."""
    if manifest.get("format") != FORMAT:
        found = f"format {short_repr(manifest.get('format'))}"
        raise NotACondensedDatasetError.mismatch(where, found, f"format {FORMAT!r}")
    given = manifest.get("format_version")
    text = given if isinstance(given, str) else ""
    major = re.match(r"([0-9]{1,4})(?![0-9])", text)
    if major is not None and int(major[1]) > VERSION[0]:
        found, expected = f"format version {text[:20]}", f"version {VERSION[0]}.x"
        raise UnsupportedFormatError.mismatch(where, found, expected, _UPGRADE)
    if not re.fullmatch(rf"{VERSION[0]}\.[0-9]{{1,4}}", text):
        raise ArtifactError.mismatch(
            where, f"format_version {short_repr(given)}", f"a version such as {TEXT_VERSION!r}"
        )
    _check_features(manifest.get("required_features"), where)
    return _minor(manifest)


def _minor(manifest: Mapping[str, Any]) -> int:
    return int(str(manifest["format_version"]).split(".")[1])


def _check_features(features: Any, where: str) -> None:
    if not fields.list_of(lambda item: fields.is_text(item, 100))(features):
        raise ArtifactError.mismatch(where, f"required_features {short_repr(features)}", "a list of names")
    unknown = sorted(set(features) - FEATURES)
    if unknown:
        expected = f"only {', '.join(sorted(FEATURES))}"
        raise UnsupportedFormatError.mismatch(where, f"required features {short_repr(unknown)}", expected, _UPGRADE)


def _checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != _CHECKSUM}
    return hashlib.sha256(strict_json.compact(rest)).hexdigest()
