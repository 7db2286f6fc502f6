"""A condensed dataset on disk, which is also what a Hub repository holds.

    condensed.json                      the manifest; every field is in `schema.py`
    condensed.safetensors               the tensors in full precision
    README.md                           the card
    data/train-00000-of-00001.parquet   a view for `datasets`, 8-bit pictures or numbers; where pyarrow is installed

The same content gives the same bytes. Nothing is unpickled, and nothing in a file names code, a path or an
address that is followed. Memory while reading is bounded by `max_bytes` and a few MiB.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from condensed_data.core import tensor_hash
from condensed_data.core.errors import (
    ArtifactError,
    IntegrityError,
    NotACondensedDatasetError,
    before_saving,
    mismatch_message,
)
from condensed_data.storage import atomic_directory as files
from condensed_data.storage import manifest as schema
from condensed_data.storage import parquet, readme
from condensed_data.storage import safetensors_io as tensorfile

MANIFEST = files.MANIFEST
MAX_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Artifact:
    """What was read.

    Attributes:
        tensors: by name, on the CPU; `images` (N, *shape) and `labels` (N,) or (N, K) for sets of pixels.
        manifest: the fields of `condensed.json`, checked; see `schema.py`.
        directory: where it was read.
    """

    tensors: dict[str, Tensor]
    manifest: dict[str, Any]
    directory: Path


def write(
    directory: Path | str,
    tensors: Mapping[str, Tensor],
    manifest: Mapping[str, Any],
    *,
    card: str,
    preview: Tensor | bool = True,
) -> None:
    """Write a condensed dataset: either all of it is there afterwards, or what was there before.

    Args:
        directory: created with its parents if needed. Files in it that are not ours stay, as does the text of
            README.md outside our markers.
        tensors: float32, float16, bfloat16, int64 or uint8, on any device.
        manifest: the fields that `schema.py` lists, except the computed ones.
        card: Markdown, optionally with YAML in front.
        preview: True makes it from `images`; sets that store something else give their decoded samples
            (N, *shape) in the same value space; False makes none.

    Raises:
        ArtifactError: if the content is not what an artifact may hold; nothing is touched.
        SaveError: if the directory cannot be written to, naming the cause and the remedy.
    """
    directory = Path(os.path.abspath(directory))
    where = str(directory / files.MANIFEST)
    with before_saving():
        described = schema.describe(manifest, where)
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        tensorfile.check(stored, described, str(directory / files.TENSORS))
    samples = stored.get("images") if isinstance(preview, bool) else preview.detach().cpu()
    contents: dict[str, bytes | None] = {files.TENSORS: tensorfile.serialize(stored, schema.TEXT_VERSION)}
    contents[files.PREVIEW] = None
    if samples is not None and preview is not False and parquet.is_possible(described):
        limits = parquet.value_range(samples, described["value_space"]["kind"])
        contents[files.PREVIEW] = parquet.encode(samples, stored["labels"], limits, described)
        if parquet.is_picture(described):
            described["preview_range"] = list(limits)
    listed = {name: _entry(content) for name, content in contents.items() if content is not None}
    sealed = schema.seal(described, listed, tensor_hash.content_hash(stored))
    contents[files.MANIFEST] = schema.encode(sealed, where)
    with files.saving(directory):
        contents[files.README] = _readme(directory, card)
        files.replace_all(directory, contents)


def read(directory: Path | str, *, max_bytes: int = MAX_BYTES, verify: bool = True) -> Artifact:
    """Read a condensed dataset, trusting nothing in it.

    Args:
        directory: holds the files; each may be a symbolic link, as in the Hub's cache.
        max_bytes: refuse more than this in all files together.
        verify: compare checksums; without, sizes and all other checks remain.

    Raises:
        NotACondensedDatasetError: if there is no manifest.
        UnsupportedFormatError: if it needs a newer version of condensed-data.
        IntegrityError: if a file is missing or not the one that the manifest describes.
        ArtifactError: if a file holds what an artifact may not.
    """
    directory = Path(directory)
    raw = _manifest_bytes(directory)
    while True:
        try:
            return _read(directory, raw, max_bytes, verify)
        except IntegrityError:
            before, raw = raw, _manifest_bytes(directory)
            if raw == before:  # else another process saved a new set between our reads: take that one
                raise


def read_manifest(directory: Path | str, *, verify: bool = True) -> dict[str, Any]:
    """Read and check only the manifest; raises as `read` does."""
    where = str(Path(directory) / files.MANIFEST)
    return schema.decode(_manifest_bytes(Path(directory)), where, verify=verify)


def _read(directory: Path, raw: bytes, max_bytes: int, verify: bool) -> Artifact:
    manifest = schema.decode(raw, str(directory / files.MANIFEST), verify=verify)
    listed = manifest["files"]
    total = sum(entry["size"] for entry in listed.values())
    if total > max_bytes:
        remedy = "If you trust the source, raise max_bytes."
        raise ArtifactError(
            mismatch_message(directory, f"files of {total} bytes", f"at most {max_bytes}", remedy)
        )
    if files.PREVIEW in listed:
        _check_preview(directory, listed[files.PREVIEW], verify)
    where = str(directory / files.TENSORS)
    try:
        file = files.open_regular(directory, files.TENSORS)
    except FileNotFoundError as error:
        raise IntegrityError(
            mismatch_message(where, "no such file", "the file that the manifest lists")
        ) from error
    with file:
        _check_file(file, where, listed[files.TENSORS], verify)
        tensors = tensorfile.read(file, listed[files.TENSORS]["size"], where)
    tensorfile.check(tensors, manifest, where)
    if verify and tensor_hash.content_hash(tensors) != manifest["content_hash"]:
        raise IntegrityError(
            mismatch_message(where, "other content", f"content_hash {manifest['content_hash']}")
        )
    return Artifact(tensors, manifest, directory)


def _manifest_bytes(directory: Path) -> bytes:
    where = directory / files.MANIFEST
    try:
        with files.open_regular(directory, files.MANIFEST) as file:
            raw = file.read(schema.MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "Give the directory that CondensedDataset.save wrote, or save one there."
        raise NotACondensedDatasetError(
            mismatch_message(where, "no such file", "a manifest", remedy)
        ) from error
    if len(raw) > schema.MAX_BYTES:
        raise ArtifactError(mismatch_message(where, "a larger file", f"at most {schema.MAX_BYTES} bytes"))
    return raw


def _check_preview(directory: Path, entry: Mapping[str, Any], verify: bool) -> None:
    """The preview may be absent (a download leaves it out), but not be another one."""
    try:
        file = files.open_regular(directory, files.PREVIEW)
    except FileNotFoundError:
        return
    with file:
        _check_file(file, str(directory / files.PREVIEW), entry, verify)


def _check_file(file: BinaryIO, where: str, entry: Mapping[str, Any], verify: bool) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != entry["size"]:
        raise IntegrityError(mismatch_message(where, f"{size} bytes", f"{entry['size']} as in the manifest"))
    if verify and (digest := files.sha256(file)) != entry["sha256"]:
        raise IntegrityError(
            mismatch_message(where, f"sha256 {digest}", f"{entry['sha256']} as in the manifest")
        )


def _entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _readme(directory: Path, card: str) -> bytes:
    """The card, merged with what README.md holds; bytes that are no UTF-8 come through unchanged."""
    try:
        existing = (directory / files.README).read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        existing = None
    return readme.merge(card, existing).encode("utf-8", "surrogateescape")
