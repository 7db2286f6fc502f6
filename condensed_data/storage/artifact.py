"""Reads and writes the artifact: a condensed dataset as files, on disk and in a Hub repository.

    condensed.json                      the manifest; `manifest.py` documents every field
    condensed.safetensors               the tensors without loss, 8-bit samples in 8 bits
    README.md                           the dataset card
    data/train-00000-of-00001.parquet   a preview for `datasets`, 8-bit images or numbers; only if pyarrow is installed

The same content gives the same bytes. Reading unpickles nothing, runs no code and follows no path or address named in
a file. Memory while reading is bounded by `max_bytes` plus a few MiB.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
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
    checked_path,
)
from condensed_data.storage import atomic_directory, file_names, parquet, readme, safetensors_io
from condensed_data.storage import manifest as manifests

MAX_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Artifact:
    """An artifact as read from a directory.

    The tensors are on the CPU; `manifest.py` documents their names and the checked fields of the manifest.
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
    """Write a condensed dataset: afterwards the directory has all of it, or its previous content.

    Args:
        directory: created with its parents if needed. Unrelated files in it stay, and so does the text of README.md
            outside the markers of the card.
        tensors: float32, float16, bfloat16, int64 or uint8, on any device.
        manifest: the fields documented in `manifest.py`, except the computed ones.
        card: Markdown, optionally with a YAML header.
        preview: True makes the preview from `images`; False makes none. Datasets that are not stored as pixels pass
            their decoded samples (N, *shape) in the same value space.

    Raises:
        ArtifactError: if an artifact may not hold this content; nothing is changed.
        SaveError: if the directory cannot be written, with the cause and the remedy.
    """
    directory = Path(os.path.abspath(checked_path("directory", directory)))
    where = str(directory / file_names.MANIFEST)
    with before_saving():
        described = manifests.describe(manifest, where)
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        safetensors_io.check(stored, described, str(directory / file_names.TENSORS))
    samples = stored.get("images") if isinstance(preview, bool) else preview.detach().cpu()
    contents: dict[str, bytes | None] = {file_names.TENSORS: safetensors_io.serialize(stored, manifests.TEXT_VERSION)}
    contents[file_names.PREVIEW] = None
    if samples is not None and preview is not False and parquet.is_possible(described):
        limits = parquet.value_range(samples, described["value_space"]["kind"])
        contents[file_names.PREVIEW] = parquet.encode(samples, stored["labels"], limits, described)
        if parquet.is_image(described):
            described["preview_range"] = list(limits)
    listed = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in contents.items()
        if content is not None
    }
    sealed = manifests.seal(described, listed, tensor_hash.content_hash(stored))
    contents[file_names.MANIFEST] = manifests.encode(sealed, where)
    with atomic_directory.translate_os_errors(directory):
        contents[file_names.README] = _readme(directory, card)
        atomic_directory.replace_all(directory, contents)


def read(directory: Path | str, *, max_bytes: int = MAX_BYTES, verify: bool = True) -> Artifact:
    """Read a condensed dataset without trusting its content.

    Args:
        directory: contains the files; each may be a symbolic link, as in the Hub's cache.
        max_bytes: maximum total size of the files; a larger dataset is refused.
        verify: whether to compare checksums; sizes and all other checks are always made.

    Raises:
        NotACondensedDatasetError: if there is no manifest.
        UnsupportedFormatError: if the files require a newer version of condensed-data.
        IntegrityError: if a file is missing or differs from what the manifest describes.
        ArtifactError: if a file contains something an artifact may not hold.
    """
    directory = checked_path("directory", directory)
    raw = _manifest_bytes(directory)
    while True:
        try:
            return _read(directory, raw, max_bytes, verify)
        except IntegrityError:
            before, raw = raw, _manifest_bytes(directory)
            if raw == before:  # else another process saved a new dataset between our reads: read that one
                raise


def read_manifest(directory: Path | str, *, verify: bool = True) -> dict[str, Any]:
    """Read and check only the manifest; raises as `read` does."""
    where = str(Path(directory) / file_names.MANIFEST)
    return manifests.decode(_manifest_bytes(Path(directory)), where, verify=verify)


def _read(directory: Path, raw: bytes, max_bytes: int, verify: bool) -> Artifact:
    manifest = manifests.decode(raw, str(directory / file_names.MANIFEST), verify=verify)
    with manifests.newer_is_unsupported(manifest, directory):
        return Artifact(_read_tensors(directory, manifest, max_bytes, verify), manifest, directory)


def _read_tensors(directory: Path, manifest: Mapping[str, Any], max_bytes: int, verify: bool) -> dict[str, Tensor]:
    listed = manifest["files"]
    total = sum(entry["size"] for entry in listed.values())
    if total > max_bytes:
        raise ArtifactError.too_large(directory, f"files of {total} bytes", max_bytes)
    if file_names.PREVIEW in listed:
        # a download leaves the preview out
        with suppress(FileNotFoundError), atomic_directory.open_regular(directory, file_names.PREVIEW) as file:
            _check_file(file, str(directory / file_names.PREVIEW), listed[file_names.PREVIEW], verify)
    where = str(directory / file_names.TENSORS)
    try:
        file = atomic_directory.open_regular(directory, file_names.TENSORS)
    except FileNotFoundError as error:
        raise IntegrityError.mismatch(where, "no such file", "the file that the manifest lists") from error
    with file:
        _check_file(file, where, listed[file_names.TENSORS], verify)
        tensors = safetensors_io.read(file, listed[file_names.TENSORS]["size"], where)
    safetensors_io.check(tensors, manifest, where)
    if verify and tensor_hash.content_hash(tensors) != manifest["content_hash"]:
        raise IntegrityError.mismatch(where, "different content", f"content_hash {manifest['content_hash']}")
    return tensors


def _manifest_bytes(directory: Path) -> bytes:
    where = directory / file_names.MANIFEST
    try:
        with atomic_directory.open_regular(directory, file_names.MANIFEST) as file:
            raw = file.read(manifests.MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "Give a directory that CondensedDataset.save wrote, or save a condensed dataset there."
        raise NotACondensedDatasetError.mismatch(where, "no such file", "a manifest", remedy) from error
    if len(raw) > manifests.MAX_BYTES:
        raise ArtifactError.mismatch(where, "a larger file", f"at most {manifests.MAX_BYTES} bytes")
    return raw


def _check_file(file: BinaryIO, where: str, entry: Mapping[str, Any], verify: bool) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != entry["size"]:
        raise IntegrityError.mismatch(where, f"{size} bytes", f"{entry['size']} bytes, as in the manifest")
    if verify and (digest := atomic_directory.sha256(file)) != entry["sha256"]:
        raise IntegrityError.mismatch(where, f"sha256 {digest}", f"{entry['sha256']}, as in the manifest")


def _readme(directory: Path, card: str) -> bytes:
    """The card merged into the present README.md; bytes that are not UTF-8 pass through unchanged."""
    try:
        existing = (directory / file_names.README).read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        existing = None
    return readme.merge(card, existing).encode("utf-8", "surrogateescape")
