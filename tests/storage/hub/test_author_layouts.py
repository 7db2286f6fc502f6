"""Files of authors that are one dataset together, and what their labels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from condensed_data import CondensedDataset

LABELS = torch.arange(3).repeat_interleave(2)
read = CondensedDataset.from_pt


def images(count: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for number in range(3):
        torch.save(images(seed=number), tmp_path / f"images_{number}.pt")
        torch.save(LABELS.roll(number), tmp_path / f"labels_{number}.pt")
        torch.save([images(seed=number), LABELS.roll(number)], tmp_path / f"data_{number}.pt")
    return tmp_path


@pytest.mark.parametrize(
    "names",
    [
        ["images_0", "images_1", "images_2"],
        ["data_0", "data_1", "data_2"],
        ["images_0", "labels_0", "images_1", "labels_1", "images_2", "labels_2"],
    ],
)
def test_a_list_of_files_is_one_dataset(names: list[str], parts: Path) -> None:
    found = read([parts / f"{name}.pt" for name in names])
    assert torch.equal(found.images, torch.cat([images(seed=number) for number in range(3)]))
    assert found.targets == torch.cat([LABELS.roll(number) for number in range(3)]).tolist()


def test_one_file_of_labels_for_several_of_images(parts: Path) -> None:
    torch.save(LABELS.repeat(3), parts / "labels_all.pt")
    paths = [parts / f"images_{number}.pt" for number in range(3)]
    for found in (read(paths, parts / "labels_all.pt"), read([*paths, parts / "labels_all.pt"])):
        assert (len(found), found.targets) == (18, LABELS.repeat(3).tolist())
    with pytest.raises(ValueError, match=r"has labels .6,. .* for 18 samples"):
        read(paths, parts / "labels_0.pt")


def test_a_list_of_an_images_file_and_its_labels(parts: Path) -> None:
    """In any order."""
    for names in (["images_0.pt", "labels_1.pt"], ["labels_1.pt", "images_0.pt"]):
        assert read([parts / name for name in names]).targets == LABELS.roll(1).tolist()


def test_files_that_are_not_one_dataset(parts: Path) -> None:
    torch.save([images()[:, :, :4], LABELS], parts / "small.pt")
    for names, message in (
        (["data_0", "data_0"], "names a file twice"),
        (["data_0", "small"], "Give files of one dataset"),
        (["labels_0", "labels_1"], "names no file of images"),
        ([], "names no file of images"),
        (["images_0", "absent"], "does not exist"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read([parts / f"{name}.pt" for name in names])
    with pytest.raises(ValueError, match=r"contains labels of its own. Omit labels="):
        read(parts / "data_0.pt", parts / "labels_0.pt")


def test_a_folder_is_read_if_it_is_unambiguous(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"several files of images \(data_0.pt, data_1.pt.*Give path= the file"):
        read(parts)
    one = tmp_path / "one"
    one.mkdir()
    with pytest.raises(ValueError, match=r"contains no .pt file"):
        read(one)
    torch.save(images(), one / "images_best.pt")
    torch.save(LABELS, one / "labels_best.pt")
    torch.save(torch.tensor(0.02), one / "lr_best.pt")  # as DATM's
    assert read(one).targets == LABELS.tolist()


LOGITS = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def saved(labels: Any, tmp_path: Path) -> Path:
    torch.save([images(), labels], tmp_path / "data.pt")
    return tmp_path / "data.pt"


@pytest.mark.parametrize(
    "labels",
    [LOGITS, torch.eye(3)[LABELS] - 0.1, torch.eye(3)[LABELS] * 2, torch.full((6, 3), 0.5), -torch.ones(6, 3)],
    ids=["logits", "centered", "scaled", "all classes", "negative"],
)
def test_rows_that_are_not_probabilities_are_asked(labels: torch.Tensor, tmp_path: Path) -> None:
    path = saved(labels, tmp_path)
    with pytest.raises(ValueError, match=r"whose rows sum to .* not probabilities.*label_kind='logits'.*'index'"):
        read(path)
    with pytest.raises(ValueError, match="not probabilities"):
        read(path, label_kind="probs")
    assert torch.allclose(read(path, label_kind="logits").labels, labels.softmax(1))
    assert read(path, label_kind="index").labels.tolist() == labels.argmax(1).unique(return_inverse=True)[1].tolist()


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.uint8, torch.float32])
def test_one_hot_rows(kind: torch.dtype, tmp_path: Path) -> None:
    found = read(saved(torch.eye(3)[LABELS].to(kind), tmp_path))
    assert found.targets == LABELS.tolist()
    assert found.metadata.label_kind == ("probs" if kind == torch.float32 else "index")


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8])
def test_columns_of_integers(kind: torch.dtype, tmp_path: Path) -> None:
    assert read(saved(LABELS[:, None].to(kind), tmp_path)).targets == LABELS.tolist()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (torch.eye(3)[LABELS], {"label_kind": "logits"}, "are probabilities. Omit label_kind="),
        (LABELS, {"label_kind": "probs"}, r"needs rows \(N, K\), but .* has labels \(6,\)"),
        (LABELS, {"label_kind": "soft"}, "label_kind='soft' must be one of: index, probs, logits"),
        (LOGITS / 0, {}, "NaN or infinite"),
        (LABELS[:, None, None], {}, r"has labels \(6, 1, 1\)"),
        (torch.full((6, 3), 2), {}, "not probabilities"),
        (["cat"] * 6, {}, "contains a list"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(saved(labels, tmp_path), **options)


@pytest.mark.parametrize("shape", [(8, 8, 3), (32, 32, 1), (28, 28, 4)])
def test_channels_that_are_last_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.save([torch.randn(6, *shape), LABELS], tmp_path / "data.pt")
    with pytest.raises(ValueError, match=r"channels seem to be last. Save images.permute"):
        read(tmp_path / "data.pt")
    torch.save([torch.load(tmp_path / "data.pt")[0].permute(0, 3, 1, 2), LABELS], tmp_path / "data.pt")
    assert read(tmp_path / "data.pt").metadata.kind.shape == (shape[2], *shape[:2])
