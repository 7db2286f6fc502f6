"""The cache never answers for another source: one changed pixel, label or name, in every kind of source.

Each kind writes a source of 40 images of 6 x 6 in a folder and opens it. A change is made to what lies there; the
dataset is opened again, and must give the samples that a build without a cache gives.
"""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.datasets import CIFAR10, MNIST, ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from condensed_data import CondensedDataset, recipes
from condensed_data.data import fingerprint
from condensed_data.data.hf_datasets import HubDataset
from condensed_data.data.source import inspect
from condensed_data.engine import builder
from condensed_data.engine.builder import CachedBuild
from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.engine.job import CondensationJob
from condensed_data.storage.cache import Cache, cache_key

COUNT = 40
Arrays = tuple[np.ndarray, np.ndarray]


def arrays(channels: int = 1) -> Arrays:
    draw = np.random.default_rng(0)
    return draw.integers(1, 255, (COUNT, 6, 6, channels), np.uint8), np.arange(COUNT) % 2


@dataclass(frozen=True)
class Kind:
    write: Callable[[Path, Arrays], None]
    open: Callable[[Path], Any]
    channels: int = 1


class Own(Dataset[Any]):
    """A dataset of the user's, that reads item by item."""

    def __init__(self, read: Callable[[int], tuple[Any, int]]) -> None:
        self.read = read

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        pixels, label = self.read(index)
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255, int(label)


def _save(path: Path, data: Arrays) -> None:
    np.savez(path / "all.npz", *data)


def _load(path: Path) -> Arrays:
    with np.load(path / "all.npz") as file:
        return file["arr_0"], file["arr_1"]


def _tensors(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = _load(path)
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def _floats(path: Path) -> TensorDataset:
    images, labels = _tensors(path)
    return TensorDataset(images / 255, labels)


def _write_pngs(path: Path, data: Arrays) -> None:
    for number, (pixels, label) in enumerate(zip(*data, strict=True)):
        parent = path / "images" / str(label)
        parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).convert("RGB").save(parent / f"{number:03d}.png")


def _own_pngs(path: Path) -> Own:
    """Files that are found by names relative to a folder that the dataset does not hold as a path."""
    names = sorted(str(file.relative_to(path)) for file in path.rglob("*.png"))

    def read(index: int) -> tuple[Any, int]:
        with Image.open(path / names[index]) as image:
            return np.array(image), int(Path(names[index]).parent.name)

    return Own(read)


def _write_mnist(path: Path, data: Arrays) -> None:
    raw = path / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    images, labels = data
    for split in ("train", "t10k"):  # torchvision looks for all four
        header = struct.pack(">4i", 0x803, COUNT, 6, 6)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">2i", 0x801, COUNT)
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())


def _cifar(path: Path) -> CIFAR10:
    """As its constructor leaves it; its files have checksums, so others cannot be opened."""
    images, labels = _load(path)
    dataset = CIFAR10.__new__(CIFAR10)
    dataset.__dict__ |= {"root": str(path), "train": True, "transform": None, "target_transform": None}
    dataset.data, dataset.targets = images, labels.tolist()
    dataset.classes, dataset.class_to_idx = ["a", "b"], {"a": 0, "b": 1}
    return dataset


def _write_map(path: Path, data: Arrays) -> None:
    np.save(path / "images.npy", data[0].transpose(0, 3, 1, 2))
    np.save(path / "labels.npy", data[1])


def _own_map(path: Path) -> Own:
    images, labels = np.load(path / "images.npy", mmap_mode="r"), np.load(path / "labels.npy")
    return Own(lambda index: (images[index].transpose(1, 2, 0), labels[index]))


def _tensor_map(path: Path) -> TensorDataset:
    with warnings.catch_warnings():
        images = torch.from_numpy(np.load(path / "images.npy", mmap_mode="c"))
    return TensorDataset(images, torch.from_numpy(np.load(path / "labels.npy")))


def _write_zip(path: Path, data: Arrays) -> None:
    with zipfile.ZipFile(path / "all.zip", "w") as archive:
        for number, (pixels, label) in enumerate(zip(*data, strict=True)):
            archive.writestr(str(number), pixels.tobytes() + bytes([label]))


def _zip(path: Path) -> Own:
    def read(index: int) -> tuple[Any, int]:
        with zipfile.ZipFile(path / "all.zip") as archive:
            content = archive.read(str(index))
        return np.frombuffer(content[:-1], np.uint8).reshape(6, 6, 1), content[-1]

    return Own(read)


def _write_arrow(path: Path, data: Arrays) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    pictures = [Image.fromarray(pixels.squeeze()) for pixels in data[0]]
    table = datasets.Dataset.from_dict({"image": pictures, "label": data[1].tolist()}, features=features)
    table.save_to_disk(str(path / f"table-{len(list(path.glob('table-*')))}"))


def _arrow(path: Path) -> HubDataset:
    """The last table; the first keeps its path and fingerprint, as a table that was written again."""
    last = max(path.glob("table-*"))
    state = (path / "table-0" / "state.json").read_text()
    for file in last.glob("data-*.arrow"):
        os.replace(file, path / "table-0" / file.name)
    assert state == (path / "table-0" / "state.json").read_text()
    return HubDataset(datasets.load_from_disk(str(path / "table-0")))


STORE: dict[str, Arrays] = {}


def _global(path: Path) -> Own:
    STORE["now"] = _load(path)
    return Own(_from_store)


def _from_store(index: int) -> tuple[Any, int]:
    images, labels = STORE["now"]
    return images[index], labels[index]


def _generated(path: Path) -> Own:
    images, labels = _load(path)
    return Own(lambda index: next((image, labels[i]) for i, image in enumerate(images) if i == index))


class _Kept(Dataset[Any]):
    """Keeps its arrays in a list of objects."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.items = [
            (Image.fromarray(pixels.squeeze()), int(label)) for pixels, label in zip(images, labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


KINDS = {
    "tensors, float": Kind(_save, _floats),
    "tensors, uint8": Kind(_save, lambda path: TensorDataset(*_tensors(path))),
    "MNIST": Kind(_write_mnist, lambda path: MNIST(str(path), transform=Compose([ToTensor(), Normalize(0.1, 0.3)]))),
    "CIFAR10": Kind(_save, _cifar, 3),
    "ImageFolder": Kind(_write_pngs, lambda path: ImageFolder(str(path / "images"))),
    "own PNGs": Kind(_write_pngs, _own_pngs),
    "a global": Kind(_save, _global),
    "own memory map": Kind(_write_map, _own_map),
    "memory map as tensors": Kind(_write_map, _tensor_map),
    "zip": Kind(_write_zip, _zip),
    "Subset": Kind(_write_mnist, lambda path: Subset(MNIST(str(path)), range(COUNT))),
    "ConcatDataset": Kind(_save, lambda path: ConcatDataset([_floats(path), Subset(_floats(path), [0, 1])])),
    "Subset of own": Kind(_write_pngs, lambda path: Subset(_own_pngs(path), range(COUNT))),
    "datasets": Kind(_write_arrow, _arrow),
    "generated": Kind(_save, _generated),
    "objects": Kind(_save, lambda path: _Kept(*_load(path))),
}


@pytest.fixture(autouse=True)
def _believed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files are believed at once, so that what is tested is not hidden by their age."""
    monkeypatch.setattr(fingerprint, "YOUNG_SECONDS", 0.0)
    yield
    STORE.clear()


class Fail(Callback):
    def on_iteration(self, progress: Progress) -> None:
        pytest.fail("condensed again")


def build(source: Any, cache: Path | bool, **options: Any) -> CondensedDataset:
    recipe = options.pop("recipe", recipes.random(19))
    return CondensedDataset(source, recipe, cache=cache, progress=False, device="cpu", precision="fp32", **options)


def one_pixel(data: Arrays, index: int) -> Arrays:
    images = data[0].copy()
    images[index, 2, 3, 0] -= 1
    return images, data[1]


def one_label(data: Arrays, index: int) -> Arrays:
    labels = data[1].copy()
    labels[index] = 1 - labels[index]
    return data[0], labels


def order(data: Arrays, index: int) -> Arrays:
    images = data[0].copy()
    images[[index, (index + 2) % COUNT]] = images[[(index + 2) % COUNT, index]]
    return images, data[1]


@pytest.mark.filterwarnings("ignore:ipc=20:UserWarning")  # a class has one sample fewer after the change
@pytest.mark.parametrize("change", [one_pixel, one_label, order])
@pytest.mark.parametrize("name", KINDS)
def test_one_change_anywhere_is_another_result(tmp_path: Path, name: str, change: Callable[..., Arrays]) -> None:
    kind, source, cache = KINDS[name], tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    data = arrays(kind.channels)
    kind.write(source, data)
    first = build(kind.open(source), cache)
    times = {path: path.stat() for path in source.rglob("*") if path.is_file()}
    kind.write(source, change(data, np.random.default_rng(len(name)).integers(COUNT)))
    for path, before in times.items():  # what was written over has its old time
        if path.exists():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = build(kind.open(source), cache)
    fresh = build(kind.open(source), False)
    assert torch.equal(again.images, fresh.images)
    assert again.targets == fresh.targets
    assert again.metadata.fingerprint != first.metadata.fingerprint


@pytest.mark.parametrize("name", KINDS)
def test_the_same_source_is_found_again(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    (tmp_path / "source").mkdir()
    kind.write(tmp_path / "source", arrays(kind.channels))
    first = build(kind.open(tmp_path / "source"), tmp_path / "cache")
    again = build(kind.open(tmp_path / "source"), tmp_path / "cache", callbacks=[Fail()])
    assert first.metadata.to_manifest() == again.metadata.to_manifest()


def test_75_of_1000_images_that_are_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    monkeypatch.chdir(tmp_path)
    for number in range(1000):
        Image.fromarray(draw.integers(0, 255, (4, 4), np.uint8)).save(f"{number}.png")

    class Relative(Dataset[Any]):
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: int) -> Any:
            with Image.open(f"{index}.png") as image:
                return ToTensor()(image), index % 2

    build(Relative(), tmp_path / "cache", recipe=recipes.random(500))
    for number in draw.choice(1000, 75, replace=False):
        Image.fromarray(draw.integers(0, 255, (4, 4), np.uint8)).save(f"{number}.png")
    again = build(Relative(), tmp_path / "cache", recipe=recipes.random(500))
    assert torch.equal(again.images, build(Relative(), False, recipe=recipes.random(500)).images)


class Named(TensorDataset):
    def __init__(self, names: list[str]) -> None:
        super().__init__(torch.arange(240.0).view(20, 1, 3, 4), torch.arange(20) % 2)
        self.classes = names


def test_other_names_come_with_the_source(tmp_path: Path) -> None:
    assert build(Named(["cat", "dog"]), tmp_path, recipe=recipes.random(2)).classes == ["cat", "dog"]
    other = build(Named(["ant", "bee"]), tmp_path, recipe=recipes.random(2), callbacks=[Fail()])
    assert other.classes == ["ant", "bee"]
    unnamed = TensorDataset(*Named([]).tensors)
    plain = build(unnamed, tmp_path, recipe=recipes.random(2))
    assert (plain.classes, plain.metadata.name) == (["0", "1"], "TensorDataset")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16, torch.uint8])
def test_another_kind_of_sample_is_another_source(tmp_path: Path, dtype: torch.dtype) -> None:
    images, labels = torch.arange(240).view(20, 1, 3, 4), torch.arange(20) % 2
    build(TensorDataset(images.float(), labels), tmp_path, recipe=recipes.random(2))
    again = build(TensorDataset(images.to(dtype), labels), tmp_path, recipe=recipes.random(2))
    assert again[0][0].dtype == dtype


def test_other_label_values_are_another_source(tmp_path: Path) -> None:
    images = torch.arange(240.0).view(20, 1, 3, 4)
    labels = torch.arange(20) % 2
    for values in (labels, labels + 5, labels * 3, labels[:, None], labels.to(torch.int16)):
        again = build(TensorDataset(images, values), tmp_path, recipe=recipes.random(2))
        assert set(again.targets) == set(values.flatten().tolist())


def test_a_function_that_returns_other_groups_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Named(["cat", "dog"])

    def group(sample: torch.Tensor, label: int) -> int:
        return int(float(sample[0, 0, 0]) > float(os.environ["BOUND"]))

    for bound in ("50", "120", "200"):
        monkeypatch.setenv("BOUND", bound)
        found = build(source, tmp_path, recipe=recipes.random(2), groups=group)
        assert torch.equal(found.images, build(source, False, recipe=recipes.random(2), groups=group).images)


LIES: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "labels": lambda x, y: TensorDataset(x, 9 - y),
    "samples": lambda x, y: TensorDataset(x + 1, y),
    "order": lambda x, y: TensorDataset(x.flip(0), y.flip(0)),
    "fewer": lambda x, y: TensorDataset(x[:80], y[:80]),
    "more classes": lambda x, y: TensorDataset(x, torch.arange(100) % 5),
    "shape": lambda x, y: TensorDataset(x.view(100, 1, 4, 3), y),
    "kind": lambda x, y: TensorDataset(x.to(torch.uint8), y),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_fingerprint_for_two_sources_gives_no_wrong_result(tmp_path: Path, lie: str) -> None:
    images, labels = torch.arange(1200.0).view(100, 1, 3, 4) % 256, torch.arange(100) % 2
    build(TensorDataset(images, labels), tmp_path, recipe=recipes.random(3), fingerprint="mine")
    other = LIES[lie](images, labels)
    found = build(other, tmp_path, recipe=recipes.random(3), fingerprint="mine")
    fresh = build(other, False, recipe=recipes.random(3))
    assert torch.equal(found.images, fresh.images)
    assert (found.targets, found.classes) == (fresh.targets, fresh.classes)


def test_what_a_fingerprint_hides_is_noticed_when_the_source_is_read(tmp_path: Path) -> None:
    images, labels = torch.arange(2400.0).view(200, 1, 3, 4), torch.arange(200) % 2
    build(TensorDataset(images, labels), tmp_path, recipe=recipes.random(3), fingerprint="mine")
    labels[2] = 2  # not among those that are read to check it
    with pytest.raises(ValueError, match=r"not those that the cache knows. Give another fingerprint="):
        build(TensorDataset(images, labels), tmp_path, recipe=recipes.random(2), fingerprint="mine")


def test_a_file_that_changes_while_a_known_source_is_opened_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kind = tmp_path / "source", KINDS["ImageFolder"]
    source.mkdir()
    kind.write(source, arrays())
    build(kind.open(source), tmp_path / "cache")
    digest = builder.dataset_digest

    def then_change(*arguments: Any) -> str | None:
        found = digest(*arguments)
        kind.write(source, one_pixel(arrays(), 7))
        return found

    monkeypatch.setattr(builder, "dataset_digest", then_change)
    with pytest.raises(ValueError, match=r"not those that the cache knows. Run the same command again"):
        build(kind.open(source), tmp_path / "cache", recipe=recipes.random(18))


def test_a_damaged_memo_is_not_believed(tmp_path: Path) -> None:
    source = TensorDataset(*Named([]).tensors)
    build(source, tmp_path, recipe=recipes.random(2))
    (memo,) = (tmp_path / "sources").iterdir()
    whole = memo.read_bytes()
    cache = Cache(tmp_path)
    assert cache.source_info(memo.name) is not None
    for position in range(len(whole)):
        memo.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert cache.source_info(memo.name) is None
    assert build(source, tmp_path, recipe=recipes.random(2), callbacks=[Fail()]).classes == ["0", "1"]
    assert memo.read_bytes() == whole


def test_each_kind_of_device_has_its_own_key() -> None:
    def key(device: str) -> str:
        job = CondensationJob(inspect(Named([])), recipes.random(2), 0, torch.device(device), "fp32")
        return cache_key(CachedBuild(job)._content(recipes.random(2), {"fingerprint": "mine", "groups": None}))

    assert len({key("cpu"), key("cuda"), key("mps")}) == 3
    assert key("cuda:0") == key("cuda:1")
