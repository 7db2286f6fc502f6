"""A `datasets.Dataset` as a source: the choice of columns, labels and image modes."""

from __future__ import annotations

import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest
from hub_pictures import NAMES, picture, rows
from torchvision.transforms import Resize

from condensed_data import CondensedDataset
from condensed_data.data import fingerprint
from condensed_data.data.fingerprint import dataset_digest
from condensed_data.data.hf_datasets import HubDataset
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table in a file that is old enough to be believed."""
    monkeypatch.setattr(fingerprint, "YOUNG_SECONDS", 0.0)
    rows().save_to_disk(str(tmp_path / "table"))
    return tmp_path / "table"


def test_every_change_changes_the_digest(on_disk: Path) -> None:
    table = datasets.load_from_disk(str(on_disk))
    changed = [
        HubDataset(table),
        HubDataset(table.select(range(11))),
        HubDataset(table.shuffle(seed=1)),
        HubDataset(table.cast_column("label", datasets.ClassLabel(names=["x", "y", "z"]))),
        HubDataset(table, transform=Resize(4)),
        HubDataset(table, name="other"),
    ]
    digests = [dataset_digest(dataset) for dataset in changed]
    assert None not in digests
    assert len(set(digests)) == len(digests)
    assert dataset_digest(HubDataset(table)) == digests[0]
    (file,) = on_disk.glob("data-*.arrow")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert dataset_digest(HubDataset(table)) not in (None, digests[0])


def test_images_in_files_of_their_own_have_no_digest(on_disk: Path) -> None:
    paths = [str(on_disk.parent / f"{i}.png") for i in range(3)]
    for i, path in enumerate(paths):
        picture(i).save(path)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": paths, "label": [0, 1, 2]}, features=features)
    table.save_to_disk(str(on_disk.parent / "paths"))
    stored = datasets.load_from_disk(str(on_disk.parent / "paths"))
    by_path = stored.map(lambda row: {"image": paths[row["label"]]}, features=features)
    assert dataset_digest(HubDataset(by_path)) is None
    assert dataset_digest(HubDataset(table)) is None


def test_a_usual_name_decides_between_several_columns() -> None:
    kinds = datasets.ClassLabel(names=NAMES)
    table = rows(3, other=([2, 1, 0], kinds), label=([0, 1, 2], kinds))
    assert [HubDataset(table)[i][1] for i in range(3)] == [0, 1, 2]


def test_images_are_chosen_by_name() -> None:
    masks = ([picture(i + 50) for i in range(3)], datasets.Image())
    table = rows(3, mask=masks, label=([0, 1, 2], datasets.ClassLabel(names=NAMES)))
    table = table.rename_column("image", "photo")
    with pytest.raises(SourceError, match=r"2 columns of images \(photo, mask\).*--image-column NAME"):
        HubDataset(table)
    assert np.array_equal(HubDataset(table, "mask")[1][0], picture(51))


def test_numbers_are_labels_without_names() -> None:
    dataset = HubDataset(rows(3, label=([4, 0, 7], datasets.Value("int64"))))
    assert [dataset[i][1] for i in range(3)] == [4, 0, 7]
    assert dataset.classes is None
    assert inspect(dataset).class_names is None


def test_no_images_and_no_labels_name_the_columns() -> None:
    with pytest.raises(SourceError, match=r"no column of images.*text \(string\), label \(ClassLabel\)"):
        HubDataset(rows(2).remove_columns("image").add_column("text", ["a", "b"]).select_columns(["text", "label"]))
    with pytest.raises(SourceError, match=r"no column of labels.*image \(Image\), caption \(string\)"):
        HubDataset(rows(2, caption=(["a", "b"], datasets.Value("string"))))


@pytest.mark.parametrize(
    ("modes", "mode", "kind"),
    [
        (("L",), "L", "pil:L"),
        (("1", "L", "LA"), "L", "pil:L"),
        (("RGB", "L"), "RGB", "pil:RGB"),
        (("P", "RGBA", "CMYK"), "RGB", "pil:RGB"),
    ],
)
def test_images_of_several_modes_are_converted_to_one(modes: tuple[str, ...], mode: str, kind: str) -> None:
    if "CMYK" in modes:  # PNG has none
        modes = ("P", "RGBA")
    dataset = HubDataset(rows(6, modes))
    assert dataset.form == mode
    assert {dataset[i][0].mode for i in range(6)} == {mode}
    assert inspect(dataset).kind.name == kind


def test_a_row_without_an_image_is_named() -> None:
    table = rows(3).to_dict() | {"image": [None, None, None]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    with pytest.raises(SourceError, match="Row 0 of HubDataset has no image"):
        inspect(HubDataset(datasets.Dataset.from_dict(table, features=features)))


def test_worker_processes_can_read_it(tmp_path: Path) -> None:
    dataset = HubDataset(rows())
    copied = pickle.loads(pickle.dumps(dataset))  # noqa: S301 (our own)
    assert np.array_equal(copied[3][0], picture(3))
    read = CondensedDataset(dataset, "random", ipc=4, cache=False, num_workers=1, progress=False)
    assert len(read) == 12
