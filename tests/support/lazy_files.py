"""Sources that open one file on first use, as datasets of training scripts do. They need to be importable in workers.

`make(name, folder, samples)` writes the file of a source and returns the source. Samples are (n, 1, 8, 8) uint8; the
label of a sample is its index modulo 10.
"""

from __future__ import annotations

import io
import sqlite3
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

CLASSES = 10
SIZE = 64  # bytes of a sample


class LazyFile(Dataset[Any]):
    """Opens `path` on the first read, and keeps it open."""

    suffix = ""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self.file: Any = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.file is None:
            self.file = self.open()
        values = np.frombuffer(self.read(index), np.uint8).reshape(1, 8, 8)
        return torch.from_numpy(values.copy()), index % CLASSES

    def open(self) -> Any:
        return self.path.open("rb")

    def read(self, index: int) -> Any:
        raise NotImplementedError

    def __del__(self) -> None:
        if hasattr(self.file, "close"):
            self.file.close()


class Flat(LazyFile):
    suffix = ".bin"

    def read(self, index: int) -> bytes:
        self.file.seek(index * SIZE)
        return self.file.read(SIZE)


class Zip(LazyFile):
    suffix = ".zip"

    def open(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def read(self, index: int) -> bytes:
        return self.file.read(f"{index}.bin")


class Tar(LazyFile):
    suffix = ".tar"

    def open(self) -> tarfile.TarFile:
        return tarfile.TarFile(self.path)

    def read(self, index: int) -> bytes:
        return self.file.extractfile(self.file.getmembers()[index]).read()


class Hdf5(LazyFile):
    suffix = ".h5"

    def open(self) -> Any:
        return h5py.File(self.path, "r")

    def read(self, index: int) -> Any:
        return self.file["samples"][index].tobytes()


class Memmap(LazyFile):
    suffix = ".raw"

    def open(self) -> Any:
        return np.memmap(self.path, np.uint8, "r", shape=(self.count, SIZE))

    def read(self, index: int) -> Any:
        return self.file[index]


class Lmdb(LazyFile):
    suffix = ".lmdb"

    def open(self) -> Any:
        return lmdb.open(str(self.path), readonly=True, lock=False, subdir=False)

    def read(self, index: int) -> bytes:
        with self.file.begin() as transaction:
            return transaction.get(str(index).encode())


class Sqlite(LazyFile):
    suffix = ".sqlite"

    def open(self) -> Any:
        return sqlite3.connect(self.path)

    def read(self, index: int) -> bytes:
        return self.file.execute("SELECT pixels FROM samples WHERE number = ?", (index,)).fetchone()[0]


class _Writers:
    """Write the bytes of all samples, one function a source."""

    @staticmethod
    def flat(path: Path, rows: list[bytes]) -> None:
        path.write_bytes(b"".join(rows))

    @staticmethod
    def zip(path: Path, rows: list[bytes]) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for index, row in enumerate(rows):
                archive.writestr(f"{index}.bin", row)

    @staticmethod
    def tar(path: Path, rows: list[bytes]) -> None:
        with tarfile.open(path, "w") as archive:
            for index, row in enumerate(rows):
                member = tarfile.TarInfo(f"{index}.bin")
                member.size = len(row)
                archive.addfile(member, io.BytesIO(row))

    @staticmethod
    def hdf5(path: Path, rows: list[bytes]) -> None:
        values = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, SIZE)
        with h5py.File(path, "w") as file:
            file.create_dataset("samples", data=values, chunks=(16, SIZE), compression="gzip")

    @staticmethod
    def lmdb(path: Path, rows: list[bytes]) -> None:
        with lmdb.open(str(path), map_size=1 << 26, subdir=False) as file, file.begin(write=True) as transaction:
            for index, row in enumerate(rows):
                transaction.put(str(index).encode(), row)

    @staticmethod
    def sqlite(path: Path, rows: list[bytes]) -> None:
        file = sqlite3.connect(path)
        with file:
            file.execute("CREATE TABLE samples (number INTEGER PRIMARY KEY, pixels BLOB)")
            file.executemany("INSERT INTO samples VALUES (?, ?)", enumerate(rows))
        file.close()


KINDS: dict[str, tuple[type[LazyFile], Any]] = {
    "flat": (Flat, _Writers.flat),
    "zip": (Zip, _Writers.zip),
    "tar": (Tar, _Writers.tar),
    "hdf5": (Hdf5, _Writers.hdf5),
    "memmap": (Memmap, _Writers.flat),
    "lmdb": (Lmdb, _Writers.lmdb),
    "sqlite": (Sqlite, _Writers.sqlite),
}


def samples(count: int) -> Tensor:
    """(count, 1, 8, 8) uint8, all different."""
    return torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make(name: str, folder: Path, values: Tensor) -> LazyFile:
    """Write these samples to a file of a kind, and return the source that reads it."""
    cls, write = KINDS[name]
    path = folder / f"samples{cls.suffix}"
    if not path.exists():
        write(path, [row.numpy().tobytes() for row in values])
    return cls(path, len(values))
