"""Condensed datasets on the Hub that other tools made: images in parquet files or in folders, valid and invalid."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from hub_server import HubServer
from PIL import Image
from pyarrow import parquet

from condensed_data import ArtifactError, CondensedDataset, NotACondensedDatasetError
from condensed_data.storage.hub import repository, third_party

NAMES = ["ant", "bee", "cat"]
LACKS_METADATA = "was not made by condensed-data and lacks"


def png(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 8), form: str = "PNG") -> bytes:
    sink = io.BytesIO()
    make_image(seed, mode, size).save(sink, format=form)
    return sink.getvalue()


def make_image(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def pixels(seeds: range, mode: str = "RGB") -> torch.Tensor:
    """(N, C, 8, 8) in [0, 1]."""
    arrays = [np.asarray(make_image(seed, mode)) for seed in seeds]
    stacked = torch.from_numpy(np.stack(arrays)).float() / 255
    return stacked[:, None] if mode == "L" else stacked.permute(0, 3, 1, 2)


def table(seeds: range, names: list[str] | None = NAMES, labels: Any = None, **more: Any) -> bytes:
    """Parquet as `datasets` writes it: encoded images, cyclic labels, class names in the description."""
    label = pyarrow.array([seed % 3 for seed in seeds] if labels is None else labels)
    images = [{"bytes": png(seed), "path": None} for seed in seeds]
    return written({"image": pyarrow.array(images), "label": label, **more}, names)


def written(columns: Mapping[str, Any], names: list[str] | None = None, **options: Any) -> bytes:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {} if names is None else {"huggingface": json.dumps({"info": {"features": features}})}
    sink = io.BytesIO()
    made = pyarrow.table(dict(columns)).replace_schema_metadata(metadata)
    parquet.write_table(made, sink, **options)
    return sink.getvalue()


def read(repo_id: str, **options: Any) -> CondensedDataset:
    with pytest.warns(UserWarning, match=LACKS_METADATA):
        return CondensedDataset.from_hub(repo_id, **options)


def test_third_party_parquet_files(hub: HubServer, repo_id: str) -> None:
    shards = {f"data/train-0000{i}-of-00002.parquet": table(range(3 * i, 3 * i + 3)) for i in range(2)}
    hub.add_repo(repo_id, shards | {"data/test-00000-of-00001.parquet": table(range(9)), "README.md": b"# Mine"})
    found = read(repo_id)
    assert torch.equal(found.images, pixels(range(6)))
    assert found.targets == [0, 1, 2, 0, 1, 2]
    assert found.classes == NAMES
    assert found[0][0].tobytes() == make_image(0).tobytes()
    assert found.hub_revision == hub.hub.repositories["dataset", repo_id].head.oid
    assert found.metadata.ipc == 2
    assert found.metadata.recipe_name == "unknown"
    assert found.recipe is None
    assert torch.allclose(found.metadata.space.mean, pixels(range(6)).mean((0, 2, 3)), atol=1e-6)


def shards(names: list[str]) -> dict[str, bytes]:
    """One sample per file, whose seed and label are the position."""
    return {f"data/{name}.parquet": table(range(i, i + 1), labels=[i % 3]) for i, name in enumerate(names)}


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000-of-00002", "train-00001-of-00002"],
        ["train-1-of-2", "train-2-of-2"],
        [f"train-{i}-of-12" for i in range(12)],  # as text, 10 comes before 2
        [f"part{i}" for i in range(12)],
    ],
)
def test_shards_are_one_dataset_in_order(names: list[str], hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, shards(names))
    assert torch.equal(read(repo_id).images, pixels(range(len(names))))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-00000-of-00003", "train-00002-of-00003"], r"2 of 3 shards of its train split \(missing: 1\)"),
        (["train-00001-of-00002"], r"1 of 2 shards .*missing: 0"),
        (["train-00000-of-00002", "train-00001-of-00002", "train-00000-of-00001"], "several numbers of files"),
        (["train-00000-of-00001", "train"], "several numbers of files"),
        (["train-0-of-99999999999"], "1 of 99999999999 shards"),
        (["train-5-of-2", "train-6-of-2"], "2 of 2 shards"),
    ],
)
def test_incomplete_shards_are_refused(names: list[str], message: str, hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, shards(names))
    with pytest.raises(ArtifactError, match=message):
        CondensedDataset.from_hub(repo_id)


@pytest.mark.parametrize(
    "other",
    [table(range(3), names=["bee", "ant", "cat"]), table(range(3), names=None), written({"image": [png(1)], "y": [0]})],
)
def test_files_of_one_split_must_agree(other: bytes, hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, {"train-0.parquet": table(range(3)), "train-1.parquet": other})
    with pytest.raises(ArtifactError, match=r"train-1\.parquet has other columns or class names than .*train-0"):
        CondensedDataset.from_hub(repo_id)


def test_labels_that_are_class_names(hub: HubServer, repo_id: str) -> None:
    words = ["cat", "ant", "cat"]
    hub.add_repo(repo_id, {"train.parquet": table(range(3), names=None, labels=words)})
    found = read(repo_id)
    assert (found.targets, found.classes) == ([1, 0, 1], ["ant", "cat"])


def test_folders_with_numbers_as_names(hub: HubServer, repo_id: str) -> None:
    """Numbered in the order of their names, as torchvision and `datasets` do; said where that surprises."""
    hub.add_repo(repo_id, {f"{name}/0.png": png(name) for name in (2, 10)})
    with pytest.warns(UserWarning, match=r"names are sorted as text, so the label of '2' is 1"):
        found = CondensedDataset.from_hub(repo_id)
    assert (found.classes, found.targets) == (["10", "2"], [0, 1])
    hub.add_repo(f"{repo_id}-b", {f"{name:02}/0.png": png(name) for name in (2, 10)})
    with pytest.warns(UserWarning, match=LACKS_METADATA) as caught:
        assert CondensedDataset.from_hub(f"{repo_id}-b").classes == ["02", "10"]
    assert "sorted as text" not in str(caught[0].message)


@pytest.mark.parametrize("name", ["../a/1.png", "a/../../1.png", "a//1.png", "a/./1.png", "/a/1.png", "a/\0.png"])
def test_file_names_that_leave_their_folder_are_refused(name: str) -> None:
    def never(path: str) -> Path:
        raise AssertionError(path)

    with pytest.raises(ArtifactError, match=r"alice/set contains a file with the name .*Ask its owner to rename"):
        third_party.read("alice/set", {name: 10, "b/1.png": 10, "a/2.png": 10}, never, max_bytes=1000)


@pytest.mark.parametrize("name", ["a\\b/1.png", "a\n/1.png", "a" * 300 + "/1.png", "a/\x1b[31m.png", "a/\ud800.png"])
def test_file_names_that_cannot_be_stored_are_refused(name: str) -> None:
    test_file_names_that_leave_their_folder_are_refused(name)


def test_the_warning_lists_missing_metadata(hub: HubServer, repo_id: str) -> None:
    soft = pyarrow.array([[0.2, 0.8]] * 3, pyarrow.list_(pyarrow.float32()))
    hub.add_repo(repo_id, {"train.parquet": table(range(3), names=None, soft_label=soft)})
    with pytest.warns(UserWarning, match=LACKS_METADATA) as caught:
        found = CondensedDataset.from_hub(repo_id)
    (warning,) = caught
    for missing in (
        "mean and standard deviation of its source",
        "class names",
        "recipe",
        "training protocol",
        "Ignored columns: soft_label",
    ):
        assert missing in str(warning.message)
    assert found.classes == ["0", "1", "2"]


def test_third_party_datasets_behave_like_ours(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    """They can be shown, saved, loaded, evaluated and published."""
    hub.add_repo(repo_id, {"train.parquet": table(range(6))})
    found = read(repo_id)
    assert f"{repo_id}, 6 samples (2 per class, 3 classes)" in repr(found)
    found.save(tmp_path / "set")
    assert "Unknown: another tool made this dataset" in (tmp_path / "set" / "README.md").read_text()
    again = CondensedDataset.load(tmp_path / "set")
    assert torch.equal(again.images, found.images)
    assert again.metadata.source_samples is None
    test = [(make_image(seed), seed % 3) for seed in range(100, 112)]
    from condensed_data.training.protocol import Training

    quick = Training("one", epochs=1)
    assert 0 <= again.evaluate(test, "convnet-d2-w4", 1, training=quick, progress=False).mean <= 1
    again.plot(tmp_path / "grid.png")
    again.push_to_hub("alice/mine-" + repo_id.rpartition("-")[2], token=hub.token("alice"))


def test_folders_of_images(hub: HubServer, repo_id: str) -> None:
    forms = ("PNG", "JPEG", "WEBP")
    train = {
        f"train/{name}/{seed}.{form.lower()}": png(seed, form=form)
        for name, seeds in (("bee", (0, 3)), ("ant", (1, 4)))
        for seed, form in zip(seeds, forms, strict=False)
    }
    hub.add_repo(repo_id, train | {"test/ant/9.png": png(9), "test/bee/9.png": png(9), "grid.png": png(5)})
    found = read(repo_id)
    assert (found.classes, found.targets) == (["ant", "bee"], [0, 0, 1, 1])
    assert torch.equal(found.images[0], pixels(range(1, 2))[0])


def test_images_of_16_bits_are_scaled(hub: HubServer, repo_id: str) -> None:
    levels = np.random.default_rng(0).integers(30_000, 50_000, (2, 8, 8), dtype=np.uint16)
    files = {}
    for name, image in zip("ab", levels, strict=True):
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, "PNG")
        files[f"{name}/0.png"] = sink.getvalue()
    hub.add_repo(repo_id, files)
    found = read(repo_id)
    assert found.metadata.kind.name == "tensor:float32"
    assert torch.equal(found.images[:, 0], torch.from_numpy(levels.astype(np.float32) / 65_535))
    hub.add_repo(f"{repo_id}-mixed", files | {"c/0.png": png(1), "c/1.png": png(2, "L")})
    mixed = read(f"{repo_id}-mixed")  # gray images become colored, in [0, 1] too
    assert mixed.images.shape == (4, 3, 8, 8)
    assert torch.equal(mixed.images[:2], found.images.expand(-1, 3, -1, -1))
    assert torch.equal(mixed.images[2], pixels(range(1, 2))[0])


def test_color_after_gray_is_kept(hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, {"a/0.png": png(0, "L"), "b/0.png": png(1)})
    found = read(repo_id)
    assert (found.metadata.kind.name, found.images.shape) == ("pil:RGB", (2, 3, 8, 8))
    assert torch.equal(found.images[1], pixels(range(1, 2))[0])


def test_grayscale_images_stay_grayscale(hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, {f"{name}/{seed}.png": png(seed, "L") for seed, name in enumerate(("a", "b"))})
    found = read(repo_id)
    assert found.metadata.kind.name == "pil:L"
    assert torch.equal(found.images, pixels(range(2), "L"))


def test_several_folders_require_config_name(hub: HubServer, repo_id: str) -> None:
    files = {f"{name}/train-0.parquet": table(range(count)) for name, count in (("ipc1", 3), ("ipc2", 6))}
    hub.add_repo(repo_id, files)
    with pytest.raises(
        NotACondensedDatasetError, match=r"parquet files in 2 folders\. Give one as config_name: ipc1, ipc2"
    ):
        CondensedDataset.from_hub(repo_id)
    assert len(read(repo_id, config_name="ipc2")) == 6


def test_folders_of_several_datasets_are_not_mixed(hub: HubServer, repo_id: str) -> None:
    """The classes of ipc1 and of ipc10 have the same names."""
    sets = {"ipc1": range(1), "ipc10": range(3)}
    files = {f"{ipc}/{name}/{seed}.png": png(seed) for ipc, seeds in sets.items() for name in "ab" for seed in seeds}
    hub.add_repo(repo_id, files)
    with pytest.raises(NotACondensedDatasetError, match=r"images in 2 folders\. Give one as config_name: ipc1, ipc10"):
        CondensedDataset.from_hub(repo_id)
    assert [len(read(repo_id, config_name=name)) for name in sets] == [2, 6]


def plain(images: list[bytes | None], labels: list[int | None]) -> bytes:
    """Parquet without structure or description."""
    columns = {"image": pyarrow.array(images, pyarrow.binary()), "label": pyarrow.array(labels, pyarrow.int64())}
    return written(columns)


UNLABELED = written({"image": pyarrow.array([{"bytes": b"x", "path": ""}])})
WORDS = written({"label": pyarrow.array([1]), "caption": pyarrow.array(["a"])})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"README.md": b"# Nothing"}, "contains no condensed dataset: no condensed.json"),
        ({"images_1.pt": b"x", "labels_1.pt": b"x"}, r"pickled tensors \(images_1.pt, labels_1.pt\).*from_pt"),
        ({"one/1.png": b"x"}, "contains no condensed dataset"),
        ({"train.parquet": UNLABELED}, r"no unambiguous column of labels.*Its columns are image \(struct"),
        (
            {"train.parquet": WORDS},
            r"no unambiguous column of images.*Its columns are label \(int64\), caption \(string\)",
        ),
        ({"train.parquet": b"PAR1 and no more"}, "cannot be read as a parquet file"),
        ({"train.parquet": plain([b"no image"], [1])}, "row 0 cannot be read as an image"),
        ({"train.parquet": plain([b""], [1])}, "row 0 cannot be read as an image"),
        ({"train.parquet": plain([None], [1])}, "row 0 cannot be read as an image"),
        ({"train.parquet": plain([], [])}, "contains no images"),
        ({"train.parquet": table(range(2), labels=[-1, 0])}, "row 0 has the label -1, expected an integer from 0"),
        ({"train.parquet": table(range(2), labels=[0, None])}, "row 1 has the label None"),
        ({"train.parquet": table(range(2), labels=[0, 9])}, "labels from 0 to 9, expected 0 to 2"),
        ({"a/1.png": png(1), "b/1.png": png(1, size=(9, 8))}, "has 9x8 pixels, but the first image has 8x8"),
        ({"a/1.png": png(1), "b/1.png": png(1)[:-30]}, "b/1.png cannot be read as an image"),
        ({"a/1.png": png(1), "b/1.png": png(1, form="GIF")}, "b/1.png cannot be read as an image"),
    ],
)
def test_invalid_repositories_are_refused(files: dict[str, bytes], message: str, hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, files)
    with pytest.raises(ArtifactError, match=message):
        CondensedDataset.from_hub(repo_id)


def test_files_that_are_too_large_are_not_downloaded(hub: HubServer, repo_id: str) -> None:
    hub.add_repo(repo_id, {"train.parquet": table(range(6))})
    asked = len(hub.requests)
    with pytest.raises(ArtifactError, match=r"bytes, more than max_bytes=1000. If .*raise max_bytes"):
        CondensedDataset.from_hub(repo_id, max_bytes=1000)
    assert not any("/resolve/" in line and "parquet" in line for line in hub.requests[asked:])


def test_decompression_bombs_are_refused_before_decoding(hub: HubServer, repo_id: str) -> None:
    huge = io.BytesIO()
    Image.new("L", (6000, 6000)).save(huge, format="PNG")
    many = written({"image": pyarrow.array([png(0)] * 2000), "label": pyarrow.array([0] * 2000)})
    zeros = pyarrow.array(np.zeros(5_000_001, np.int8))
    rows = pyarrow.DictionaryArray.from_arrays(zeros, [b"x"]).cast(pyarrow.binary())
    endless = written({"image": rows, "label": zeros})
    bombs = [{"a/1.png": huge.getvalue(), "b/1.png": png(0)}, {"train.parquet": many}, {"train.parquet": endless}]
    for index, files in enumerate(bombs):
        assert sum(map(len, files.values())) < 100_000
        hub.add_repo(f"{repo_id}-{index}", files)
        with pytest.raises(ArtifactError, match="more than max_bytes=1000000"):
            CondensedDataset.from_hub(f"{repo_id}-{index}", max_bytes=1_000_000)


def test_an_invalid_description_is_refused(hub: HubServer, repo_id: str) -> None:
    columns = {"image": pyarrow.array([png(0)]), "label": pyarrow.array([0])}
    sink = io.BytesIO()
    deep = b'{"info":' + b"[" * 5000 + b"]" * 5000 + b"}"
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata({"huggingface": deep}), sink)
    hub.add_repo(repo_id, {"train.parquet": sink.getvalue()})
    with pytest.raises(ArtifactError, match="too deeply nested JSON"):
        CondensedDataset.from_hub(repo_id)
    hub.add_repo(f"{repo_id}-b", {"train.parquet": written(columns, [1, 2])})  # type: ignore[list-item]
    assert read(f"{repo_id}-b").classes == ["0"]


def test_a_repository_with_a_manifest_is_not_third_party(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    """Its manifest is used even if it is corrupt, because the images beside it are only an 8-bit preview."""
    hub.add_repo(repo_id, {"condensed.json": b"{}", "data/train-0.parquet": table(range(3))})
    with pytest.raises(ArtifactError, match=r"condensed\.json"):  # a warning would be an error
        CondensedDataset.from_hub(repo_id)


def test_result_from_samples_with_one_row() -> None:
    """There may be more class names than labels; without names, the classes are the values that occur."""
    from condensed_data.data.value_space import SampleKind, ValueSpace

    kind, space = SampleKind("tensor:float32", (2,)), ValueSpace(torch.zeros(2), torch.ones(2))
    named = third_party.result_from_samples("x", torch.zeros(1, 2), torch.tensor([1]), kind, space, NAMES)
    assert (named.metadata.classes, named.labels.tolist()) == (tuple(NAMES), [1])
    plain = third_party.result_from_samples("x", torch.zeros(2, 2), torch.tensor([7, 4]), kind, space, None)
    assert (plain.metadata.class_values, plain.labels.tolist()) == ((4, 7), [1, 0])


def deep(seed: int) -> tuple[bytes, torch.Tensor]:
    """A gray PNG of 16 bits with few of the 65,536 levels, and its values in [0, 1]."""
    values = np.random.default_rng(seed).integers(30_000, 50_000, (8, 8), dtype=np.uint16)
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, format="PNG")
    return sink.getvalue(), torch.from_numpy(values.astype(np.float32) / 65_535)[None]


@pytest.mark.parametrize("layout", ["parquet", "folders", "bytes"])
def test_images_of_16_bits_are_scaled_by_their_depth(layout: str, hub: HubServer, repo_id: str) -> None:
    pngs, values = zip(*(deep(seed) for seed in range(4)), strict=True)
    if layout == "folders":
        files = {f"{'ab'[seed // 2]}/{seed}.png": png for seed, png in enumerate(pngs)}
    else:
        images = [{"bytes": png, "path": None} for png in pngs] if layout == "parquet" else list(pngs)
        files = {"train.parquet": written({"image": pyarrow.array(images), "label": pyarrow.array([0, 0, 1, 1])})}
    hub.add_repo(repo_id, files)
    found = read(repo_id)
    assert torch.allclose(found.images, torch.stack(values), atol=1e-6)
    assert (found.metadata.kind.name, found.targets) == ("tensor:float32", [0, 0, 1, 1])
    assert found[0][0].shape == (1, 8, 8)


def test_repositories_of_too_many_files(hub: HubServer, repo_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never read in part, and no larger max_bytes is recommended, which would not help."""
    hub.add_repo(repo_id, {f"{name}/{seed}.png": png(seed) for seed in range(4) for name in "ab"})
    for module, name in ((repository, "MAX_FILES"), (third_party, "_MAX_FILES")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, 5)
            with pytest.raises(ArtifactError, match=r"files.* Ask its owner for parquet files") as caught:
                CondensedDataset.from_hub(repo_id)
        assert "max_bytes" not in str(caught.value)
    assert len(read(repo_id)) == 8
