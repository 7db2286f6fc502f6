"""The `.pt` files in which authors publish condensed datasets: read correctly and never executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import ArtifactError, CondensedDataset
from condensed_data.storage.hub import author_files
from condensed_data.training.protocol import Training

NAMES = ["ant", "bee", "cat"]


def images(count: int = 6, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.fixture
def dc(tmp_path: Path) -> Path:
    """Two runs, with accuracies as NumPy numbers."""
    runs = [[images(seed=seed), LABELS] for seed in range(2)]
    path = tmp_path / "res_DM_CIFAR10_ConvNet_2ipc.pt"
    torch.save({"data": runs, "accs_all_exps": {"ConvNet": [np.float64(0.26), np.mean([0.1, 0.2])]}}, path)
    return path


def test_a_file_of_dc_dsa_and_dm(dc: Path) -> None:
    found = CondensedDataset.from_pt(dc)
    assert torch.equal(found.images, images())
    assert (found.targets, found.metadata.ipc, found.classes) == (LABELS.tolist(), 2, ["0", "1", "2"])
    assert found.metadata.name == "res_DM_CIFAR10_ConvNet_2ipc"
    assert found[0][0].dtype == torch.float32
    assert torch.equal(CondensedDataset.from_pt(dc, run=1).images, images(seed=1))
    with pytest.raises(ValueError, match=r"run=2 is out of range: .* contains 2 runs"):
        CondensedDataset.from_pt(dc, run=2)


def test_accuracies_stored_by_old_numpy_versions(dc: Path, tmp_path: Path) -> None:
    """Files of NumPy 1 refer to numpy.core, those of NumPy 2 to numpy._core."""
    content = {}
    with zipfile.ZipFile(dc) as archive:
        for name in archive.namelist():
            content[name] = archive.read(name)
    (name,) = (name for name in content if name.endswith("data.pkl"))
    swapped = content[name].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert swapped != content[name]
    with zipfile.ZipFile(tmp_path / "old.pt", "w") as archive:
        for other, raw in (content | {name: swapped}).items():
            archive.writestr(other, raw)
    assert len(CondensedDataset.from_pt(tmp_path / "old.pt")) == 6


def test_normalized_values_are_mapped_back(dc: Path) -> None:
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    found = CondensedDataset.from_pt(dc, mean=mean, std=std, classes=NAMES, name="CIFAR10")
    expected = images() * torch.tensor(std).view(1, 3, 1, 1) + torch.tensor(mean).view(1, 3, 1, 1)
    assert torch.allclose(found.images, expected)
    assert torch.allclose(found.metadata.space.standardize(found.images), images(), atol=1e-5)
    assert (found.classes, found.metadata.name) == (NAMES, "CIFAR10")


def test_a_file_of_mtt(tmp_path: Path) -> None:
    torch.save(images(), tmp_path / "images_best.pt")
    with pytest.raises(FileNotFoundError, match=r"labels_best.pt does not exist. Give labels="):
        CondensedDataset.from_pt(tmp_path / "images_best.pt")
    torch.save(LABELS, tmp_path / "labels_best.pt")
    assert CondensedDataset.from_pt(tmp_path / "images_best.pt").targets == LABELS.tolist()
    torch.save(LABELS.flip(0), tmp_path / "other.pt")
    found = CondensedDataset.from_pt(tmp_path / "images_best.pt", tmp_path / "other.pt")
    assert found.targets == LABELS.flip(0).tolist()


@pytest.mark.parametrize("factor", [1, 2])
def test_probabilities_are_kept(factor: int, tmp_path: Path) -> None:
    soft = torch.softmax(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), 1)
    torch.save([images(), soft], tmp_path / "data.pt")
    found = CondensedDataset.from_pt(tmp_path / "data.pt", factor=factor)
    assert torch.allclose(found.labels, soft.repeat_interleave(factor**2, 0))
    assert found.targets == soft.argmax(1).repeat_interleave(factor**2).tolist()
    assert found.classes == list("01234")
    found.save(tmp_path / "set")
    again = CondensedDataset.load(tmp_path / "set", soft=True)
    assert torch.allclose(again.images, found.images, atol=1e-6)
    assert torch.equal(again[0][1], found.labels[0])
    with pytest.raises(ValueError, match="classes= has 7 names, but the labels have 5 columns"):
        CondensedDataset.from_pt(tmp_path / "data.pt", classes=list("abcdefg"))


@pytest.mark.parametrize("side", [8, 9])
def test_a_file_of_idc(side: int, tmp_path: Path) -> None:
    grids = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.save([grids, LABELS], tmp_path / "data.pt")
    facts = {"mean": [0.5] * 3, "std": [0.25] * 3, "normalized": False}
    whole = CondensedDataset.from_pt(tmp_path / "data.pt", **facts)
    assert torch.allclose(whole.images, grids, atol=1e-6)
    found = CondensedDataset.from_pt(tmp_path / "data.pt", factor=2, **facts)
    assert (len(found), found.metadata.ipc) == (24, 2)
    assert found.targets == LABELS.repeat_interleave(4).tolist()
    cell = -(-side // 2)
    corner = torch.nn.functional.interpolate(grids[:, :, :cell, :cell], size=side, mode="bilinear")
    assert torch.allclose(found.images[::4], corner, atol=1e-5)
    padded = torch.nn.functional.pad(grids, (0, 2 * cell - side) * 2, value=0.5)  # as in the authors' code
    last = torch.nn.functional.interpolate(padded[:, :, cell:, cell:], size=side, mode="bilinear")
    assert torch.allclose(found.images[3::4], last, atol=1e-5)
    found.save(tmp_path / "set")
    again = CondensedDataset.load(tmp_path / "set")
    assert torch.allclose(again.images, found.images, atol=1e-6)
    stored = (tmp_path / "set" / "condensed.safetensors").stat().st_size
    assert stored < 1.5 * grids.numel() * 4  # only the grids are stored


def test_signals_are_read_too(tmp_path: Path) -> None:
    signals = torch.randn(6, 2, 16, generator=torch.Generator().manual_seed(0))
    torch.save([signals, LABELS], tmp_path / "data.pt")
    assert torch.equal(CondensedDataset.from_pt(tmp_path / "data.pt").images, signals)


def test_an_imported_dataset_fits_a_test_set(dc: Path) -> None:
    quick = Training("one", epochs=1)
    found = CondensedDataset.from_pt(dc)
    normalized = TensorDataset(images(9, seed=5), torch.arange(9) % 3)
    assert found.evaluate(normalized, "convnet-d2-w4", 1, training=quick, progress=False).runs == 1
    with pytest.raises(ValueError, match="another value space"):
        found.evaluate(TensorDataset(images(9) * 50 + 120, torch.arange(9) % 3), progress=False)


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_nothing_in_a_file_is_executed(writer: Any, tmp_path: Path) -> None:
    trap = Trap(str(tmp_path / "ran"))
    for content in ([images(), trap], {"data": [[images(), LABELS]], "accs": np.array(1.0), "x": trap}):
        writer(content, tmp_path / "data.pt")
        with pytest.raises(ArtifactError, match="contains more than tensors, or is corrupt, and was not loaded"):
            CondensedDataset.from_pt(tmp_path / "data.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": images()}, "contains a dict, expected"),
        ([images()], "contains a list, expected"),
        ([images(), "labels"], "contains a list, expected"),
        ({"data": []}, "contains 0 runs"),
        ([images().long(), LABELS], "images of shape .* and type torch.int64"),
        ([images()[:5], LABELS], "has labels .6,. torch.int64 for 5 samples"),
        ([images(), LABELS - 1], "labels from -1 to 1"),
        ([images(), LABELS.float()], "has labels .6,. torch.float32"),
        ([images() / 0, LABELS], "NaN or infinite"),
        ([images().to_sparse(), LABELS], "contains a torch.sparse_coo tensor"),
        ([torch.zeros(1).expand(6, 3, 10_000, 10_000), LABELS], r"tensor \(6, 3, 10000, 10000\)"),
        ([images(), torch.zeros(1, dtype=torch.int64).expand(1 << 34)], r"tensor \(17179869184,\)"),
        ([torch.empty(6, 3, 8, 8, device="meta"), LABELS], "on meta"),
    ],
)
def test_other_content_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "data.pt")
    with pytest.raises(ValueError, match=message):
        CondensedDataset.from_pt(tmp_path / "data.pt")


def test_files_not_written_by_torch_are_refused(tmp_path: Path, dc: Path) -> None:
    for raw in (b"", b"hello", dc.read_bytes()[:200], dc.read_bytes()[:-200]):
        (tmp_path / "data.pt").write_bytes(raw)
        with pytest.raises(ArtifactError, match="is corrupt, and was not loaded"):
            CondensedDataset.from_pt(tmp_path / "data.pt")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        CondensedDataset.from_pt(tmp_path / "absent.pt")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/data.pkl", b"\0" * 50_000_000)
    assert (tmp_path / "data.pt").stat().st_size < 100_000
    with pytest.raises(ArtifactError, match="more than max_bytes=1000000"):
        author_files.read(tmp_path / "data.pt", max_bytes=1_000_000)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"mean": [0.5] * 3}, "both mean= and std="),
        ({"normalized": False}, "normalized=False needs mean= and std="),
        ({"mean": [0.5], "std": [0.0]}, "with positive std"),
        ({"mean": [0.5] * 4, "std": [1.0] * 4}, "mean= has 4 numbers, but the images have 3 channels"),
        ({"classes": ["a", "b"]}, "labels from 0 to 2, expected 0 to 1"),
        ({"factor": 0, "mean": [0.5], "std": [1.0], "normalized": False}, "factor"),
        ({"factor": 7, "mean": [0.5], "std": [1.0], "normalized": False}, "Use a smaller factor"),
    ],
)
def test_arguments_out_of_range(facts: dict[str, Any], message: str, dc: Path) -> None:
    with pytest.raises(ValueError, match=message):
        CondensedDataset.from_pt(dc, **facts)
