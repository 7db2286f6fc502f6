"""The sample store is lossless, and on disk if its memory limit is small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condensed_data.data.sample_store import SampleStore, SampleStoreWriter, container_memory


def filled(samples: Tensor, batch: int, **options: object) -> SampleStore:
    writer = SampleStoreWriter(len(samples), tuple(samples.shape[1:]), samples.dtype == torch.uint8, **options)  # type: ignore[arg-type]
    for start in range(0, len(samples), batch):
        writer.write(start, samples[start : start + batch])
    return writer.finish()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


PIXELS = torch.randint(0, 256, (90, 3, 5, 4), generator=torch.Generator().manual_seed(1))
NORMALIZED = (PIXELS / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.3


@pytest.mark.parametrize("samples", [PIXELS.to(torch.uint8), PIXELS / 255, NORMALIZED, draw(90, 7), draw(90, 2, 30)])
@pytest.mark.parametrize("limit", [None, 10])
def test_samples_come_back_bit_identical(samples: Tensor, limit: int | None, tmp_path: Path) -> None:
    store = filled(samples, 13, limit=limit, folder=tmp_path)
    assert torch.equal(torch.cat(list(store.chunks())), samples)
    index = torch.tensor([88, 0, 3, 3])
    assert torch.equal(store[index], samples[index])
    assert store.on_disk == (limit is not None)


@pytest.mark.parametrize("samples", [PIXELS.to(torch.uint8), PIXELS / 255, NORMALIZED])
def test_one_byte_per_value_if_lossless(samples: Tensor) -> None:
    assert filled(samples, 13).bytes == samples.numel()


def test_it_switches_to_float32_when_a_late_batch_has_new_values() -> None:
    samples = torch.cat([PIXELS[:, :, 0].float(), draw(40, 3, 4)])
    store = filled(samples, 10)
    assert store.bytes == 4 * samples.numel()
    assert torch.equal(torch.cat(list(store.chunks())), samples)


def test_the_file_has_no_name(tmp_path: Path) -> None:
    store = filled(draw(90, 7), 13, limit=10, folder=tmp_path)
    assert store.on_disk
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_detected_immediately(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        SampleStoreWriter(1000, (7,), False, limit=10, folder=tmp_path)


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert container_memory(tmp_path, 7) == 7
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 150\n")
    for limit, expected in (("max", 7), ("1000", 550)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert container_memory(tmp_path, 7) == expected
