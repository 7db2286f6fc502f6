"""Decodes labeled images from third-party files with bounded memory, without executing anything in them.

Letters: N samples, K classes, C channels, H, W.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.errors import ArtifactError, NotACondensedDatasetError
from condensed_data.data.bit_depth import convert, form_of, to_float_tensor
from condensed_data.data.sample import to_tensor
from condensed_data.storage import strict_json

Fetch = Callable[[str], Path]  # from a path in the repository to a local file

_FORMATS = ("PNG", "JPEG", "WEBP")
_MAX_ROWS = 5_000_000
_MAX_DESCRIPTION = 1 << 20  # bytes of the column description
_IMAGES, _LABELS = ("image", "img", "images"), ("label", "labels", "class", "target")


@dataclass(frozen=True)
class LabeledImages:
    """Images and labels as read from the files."""

    images: Tensor  # (N, C, H, W) float32 in [0, 1]
    labels: Tensor  # (N,) int64, as stored
    kind: str  # "pil:L" or "pil:RGB"; "tensor:float32" if some have more than 8 bits
    names: tuple[str, ...] | None  # class names by label, or None if the files have none
    ignored: tuple[str, ...] = ()  # names of columns that were not read, such as soft labels


def from_tables(repo_id: str, paths: Sequence[str], fetch: Fetch, max_bytes: int) -> LabeledImages:
    """Read parquet files with a column of encoded images and a column of integers or of class names.

    Names are numbered in their order.

    Raises:
        NotACondensedDatasetError: if one of the two columns is missing; the message lists the columns.
        ArtifactError: for files that are corrupt or expand to more than `max_bytes`.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise NotACondensedDatasetError(
            f'{repo_id} contains parquet files, which need pyarrow. Run pip install "condensed-data[hub]".'
        ) from error
    stack, labels, names = _ImageStack(repo_id, max_bytes), [], None
    first: tuple[str, str, tuple[str, ...] | None] | None = None  # columns and class names of the first file
    others: set[str] = set()
    for path in paths:
        where = f"{repo_id}/{path}"
        try:
            with parquet.ParquetFile(fetch(path)) as file:
                image, label = _columns(where, file.schema_arrow)
                names = _names(where, file.schema_arrow, label)
                first = first or (image, label, names)
                if first != (image, label, names):
                    raise ArtifactError(
                        f"{where} has other columns or class names than {repo_id}/{paths[0]}. The files of one split "
                        "must agree; ask their owner to correct them."
                    )
                others |= set(file.schema_arrow.names) - {image, label}
                _check_rows(where, file.metadata, max_bytes)
                for row, (encoded, value) in enumerate(_rows(file, image, label)):
                    stack.add(f"{where}, row {row}", encoded)
                    labels.append(_label(f"{where}, row {row}", value))
        except ArrowException as error:
            raise ArtifactError(f"{where} cannot be read as a parquet file: {error}") from error
    if labels and all(isinstance(label, str) for label in labels):
        names = tuple(sorted(set(labels)))
        labels = [names.index(label) for label in labels]
    return LabeledImages(stack.images(), torch.tensor(labels), stack.kind, names, tuple(sorted(others)))


def from_folders(repo_id: str, folders: Mapping[str, Sequence[str]], fetch: Fetch, max_bytes: int) -> LabeledImages:
    """Read one folder of image files per class; classes are numbered in the order of their names.

    Raises:
        ArtifactError: for files that are corrupt or expand to more than `max_bytes`.
    """
    stack, labels, names = _ImageStack(repo_id, max_bytes), [], tuple(sorted(folders))
    for number, name in enumerate(names):
        for path in folders[name]:
            stack.add(f"{repo_id}/{path}", Path(fetch(path)).read_bytes())
            labels.append(number)
    return LabeledImages(stack.images(), torch.tensor(labels), stack.kind, names)


class _ImageStack:
    """Decodes images of one size, checking each header before decoding the pixels."""

    def __init__(self, repo_id: str, max_bytes: int) -> None:
        self.repo_id, self.max_bytes = repo_id, max_bytes
        self.size, self.channels = (0, 0), 1
        self.rows: list[Tensor] = []  # (1 or 3, H, W) uint8, or float32 in [0, 1]

    def add(self, where: str, encoded: bytes) -> None:
        try:
            with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
                self._check(where, image)
                decoded = convert(image, form_of(image))
        except ArtifactError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, TypeError) as error:
            raise ArtifactError(f"{where} cannot be read as an image: {error}") from error
        self.rows.append(to_tensor(to_float_tensor(decoded)))

    def _check(self, where: str, image: Image.Image) -> None:
        if not self.rows:
            self.size = image.size
        elif image.size != self.size:
            raise ArtifactError(
                f"{where} has {image.size[0]}x{image.size[1]} pixels, but the first image has "
                f"{self.size[0]}x{self.size[1]}. Resize the images to one size."
            )
        self.channels = max(self.channels, 3 if form_of(image) == "RGB" else 1)
        # 4 bytes per value, as float32 in the end
        values = (len(self.rows) + 1) * image.size[0] * image.size[1] * self.channels
        if 4 * values > self.max_bytes:
            raise ArtifactError(
                f"{self.repo_id} contains more than max_bytes={self.max_bytes} of images. If it is a condensed "
                "dataset and you trust it, raise max_bytes."
            )

    def images(self) -> Tensor:
        """(N, C, H, W) float32 in [0, 1]."""
        if not self.rows:
            raise NotACondensedDatasetError(f"{self.repo_id} contains no images.")
        rows = (row if row.is_floating_point() else row.float().div_(255) for row in self.rows)
        return torch.stack([row.expand(self.channels, -1, -1) for row in rows])

    @property
    def kind(self) -> str:
        deep = any(row.is_floating_point() for row in self.rows)
        return "tensor:float32" if deep else "pil:L" if self.channels == 1 else "pil:RGB"


def _columns(where: str, schema: Any) -> tuple[str, str]:
    """Names of the image column and the label column."""
    import pyarrow

    def is_image(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(field.name == "bytes" and pyarrow.types.is_binary(field.type) for field in kind)
        return pyarrow.types.is_binary(kind)

    def is_text(kind: Any) -> bool:
        return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))

    image = _pick_column([field.name for field in schema if is_image(field.type)], _IMAGES)
    label = _pick_column([field.name for field in schema if pyarrow.types.is_integer(field.type)], _LABELS)
    label = label or next((name for name in _LABELS if name in schema.names and is_text(schema.field(name).type)), None)
    if image is None or label is None:
        missing = [content for content, found in (("images", image), ("labels", label)) if found is None]
        columns = ", ".join(f"{field.name} ({str(field.type)[:60]})" for field in schema)
        raise NotACondensedDatasetError(
            f"{where} has no unambiguous column of {' and none of '.join(missing)}. Its columns are {columns[:1000]}."
        )
    return image, label


def _pick_column(found: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column with a usual name, or the only one."""
    named = [name for name in usual if name in found]
    return named[0] if named else found[0] if len(found) == 1 else None


def _names(where: str, schema: Any, label: str) -> tuple[str, ...] | None:
    """Class names from the column description that `datasets` writes into a file, or None."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None or len(raw) > _MAX_DESCRIPTION:
        return None
    info = strict_json.loads(raw, where).get("info")
    for key in ("features", label, "names"):
        info = info.get(key) if isinstance(info, dict) else None
    valid = isinstance(info, list) and all(isinstance(name, str) for name in info)
    return tuple(info) if info and valid else None


def _check_rows(where: str, metadata: Any, max_bytes: int) -> None:
    """Refuse files that declare too much; since a file may lie, each image is counted too."""
    chunks = (metadata.row_group(g).total_byte_size for g in range(metadata.num_row_groups))
    if metadata.num_rows > _MAX_ROWS or sum(chunks) > max_bytes:
        raise ArtifactError(
            f"{where} expands to {metadata.num_rows} rows or more than max_bytes={max_bytes}. If it is a condensed "
            "dataset and you trust it, raise max_bytes."
        )


def _rows(file: Any, image: str, label: str) -> Iterator[tuple[bytes, Any]]:
    """Yield rows one by one, because a few bytes of a file can stand for the same large value in many rows."""
    for batch in file.iter_batches(batch_size=1, columns=[image, label], use_threads=False):
        (row,) = batch.to_pylist()
        encoded = row[image]
        yield (encoded["bytes"] if isinstance(encoded, dict) else encoded), row[label]


def _label(where: str, value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and 0 <= value < 2**31):
        return value
    raise ArtifactError(f"{where} has the label {value!r}, expected an integer from 0 to 2**31 - 1, or a class name.")
