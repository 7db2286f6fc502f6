"""Groups: every form in which a user can give them, and their effect on condensing.

Letters: n samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_data
import numpy as np
import pytest
import torch
from cli_tools import SMALL, fails
from sources import ListDataset, real
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import Compose, RandomHorizontalFlip, ToTensor

from condensed_data import CondensedDataset, Recipe, SourceError, condense_tensors, recipes
from condensed_data.cli.main import main
from condensed_data.data.batched_reads import second_reads
from condensed_data.data.groups import Groups
from condensed_data.data.source import inspect
from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.networks import ConvNet

NET = ConvNet(width=8, depth=2)
COLOR = ["red", "blue", "blue"] * 20


class Colored(TensorDataset):
    """The tiny images with an attribute."""

    def __init__(self, images: Tensor, labels: Tensor, color: Any = None) -> None:
        super().__init__(images, labels)
        self.color = COLOR if color is None else color
        self.classes = ("ant", "bee", "cow")

    def hue(self) -> int:
        return 0


@pytest.fixture
def source(tiny_images: TensorDataset) -> Colored:
    return Colored(*tiny_images.tensors)


def small(name: str = "dm", ipc: int = 4, **options: Any) -> Recipe:
    return recipes.get(name, ipc=ipc, **{"iterations": 2, "batch": 8, "network": NET} | options)


def values(given: Any, source: Dataset[Any]) -> list[int | str]:
    return Groups(given, inspect(source)).values()


def by_position(sample: Any, label: int) -> str:
    return "left" if float(sample[..., :6].mean()) > float(sample[..., 6:].mean()) else "right"


@pytest.mark.parametrize(
    "given",
    [
        [0, 1, 1],
        (0, 1, 1),
        np.array([0, 1, 1], dtype=np.uint8),
        torch.tensor([0, 1, 1]),
        [np.int32(0), torch.tensor(1), 1],
        [False, True, True],
        iter([0, 1, 1]),
        lambda sample, label: int(sample[0] > 0),
        lambda sample, label: sample[0] > 0,
    ],
)
def test_integers_in_any_form(given: Any) -> None:
    found = values(given, TensorDataset(torch.tensor([[0.0], [1.0], [2.0]]), torch.zeros(3).long()))
    assert found == [0, 1, 1]
    assert all(type(value) is int for value in found)


def test_strings_in_any_form() -> None:
    three = TensorDataset(torch.zeros(3, 2), torch.zeros(3).long())
    for given in (["a", "b", "b"], np.array(["a", "b", "b"]), [np.str_("a"), "b", "b"]):
        found = values(given, three)
        assert found == ["a", "b", "b"]
        assert all(type(value) is str for value in found)


def test_an_attribute_by_name_through_subsets_and_concatenations(source: Colored) -> None:
    assert values("color", source) == COLOR
    order = [59, 3, 17, 4, 0]
    subset = Subset(source, order)
    assert values("color", subset) == [COLOR[index] for index in order]
    assert values("color", Subset(subset, [4, 1])) == [COLOR[0], COLOR[3]]
    assert values("color", ConcatDataset([subset, source])) == [COLOR[index] for index in order] + COLOR
    subset.color = ["own"] * 5  # type: ignore[attr-defined]
    assert values("color", subset) == ["own"] * 5


def test_an_attribute_survives_the_removal_of_random_transforms(tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path)
    fashion = FashionMNIST(tmp_path, transform=Compose([RandomHorizontalFlip(), ToTensor()]))
    fashion.odd = [index % 2 for index in range(len(fashion))]
    assert values("odd", Subset(fashion, [5, 2])) == [1, 0]
    seen = values(lambda sample, label: repr(sample.sum().item()), fashion)
    assert seen == values(lambda sample, label: repr(sample.sum().item()), fashion)  # nothing is flipped


def test_equal_groups_in_any_form_share_a_cache_entry(source: Colored, tmp_path: Path) -> None:
    how = {"cache": tmp_path, "progress": False}
    first = CondensedDataset(source, small(), groups="color", **how)
    codes = {float(image.sum()): color for (image, _), color in zip(source, COLOR, strict=True)}
    for given in (COLOR, np.array(COLOR), lambda sample, label: codes[float(sample.sum())]):
        again = CondensedDataset(source, small(), groups=given, callbacks=[_Fail()], **how)
        assert torch.equal(again.images, first.images)
    other = CondensedDataset(source, small(), groups=COLOR[::-1], **how)
    none = CondensedDataset(source, small(), **how)
    assert not torch.equal(other.images, first.images)
    assert not torch.equal(none.images, first.images)


class _Fail(Callback):
    def on_iteration(self, progress: Progress) -> None:
        pytest.fail("condensed again")


def test_a_function_is_called_for_every_sample_each_time(tmp_path: Path, untouched_rng: None) -> None:
    """Nothing tells whether a function would return the same again."""
    calls, at = [], [301]

    def half(sample: Tensor, label: int) -> int:
        calls.append(label)
        torch.rand(1)
        return int(float(sample[1]) >= at[0])

    rows = torch.stack([torch.rand(600, generator=torch.Generator().manual_seed(0)), torch.arange(600.0)], 1)
    many = TensorDataset(rows, torch.arange(600) % 2)
    how: dict[str, Any] = {"cache": tmp_path, "progress": False}
    first = CondensedDataset(many, recipes.random(2), groups=half, **how)
    second = CondensedDataset(many, recipes.random(2), groups=half, callbacks=[_Fail()], **how)
    assert len(calls) == 2 * (600 + len(second_reads(600)))
    assert torch.equal(first.images, second.images)
    at[0] = 400
    third = CondensedDataset(many, recipes.random(2), groups=half, **how)
    fresh = CondensedDataset(many, recipes.random(2), groups=half, **how | {"cache": False})
    assert torch.equal(third.images, fresh.images)
    assert not torch.equal(first.images, third.images)


def test_a_function_runs_in_worker_processes(source: Colored) -> None:
    groups = Groups(by_position, inspect(source, 2))
    assert groups.values() == values(by_position, source)
    failing = Groups(_fails_late, inspect(source, 2))
    with pytest.raises(
        SourceError, match=r"^The groups function failed on source\[41\]: ZeroDivisionError: .*groups\(sample"
    ):
        failing.values()


def _fails_late(sample: Tensor, label: int) -> int:
    return 1 // int(float(sample.sum()) != _LATE)


_LATE = 0.0


@pytest.fixture(autouse=True)
def _late(tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_LATE", float(tiny_images[41][0].sum()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("shade", r"groups='shade': Colored has no attribute of that name.*: 'color', or pass the values"),
        ("hue", r"groups='hue': source\.hue is a method, not one value per sample.*function \(sample"),
        ("classes", r"groups='classes': source\.classes has 3 entries, but the source has 60 samples"),
        ("tensors", r"source\.tensors has 2 entries"),
        ("__doc__", r"source\.__doc__ is a str\. Give one integer or string per sample"),
        ([0, 1], "groups has 2 entries, but the source has 60 samples"),
        (7, r"groups=7\) must be a string or callable or an iterable"),
        (torch.tensor(7), "groups is the single value 7"),
        ({0: "red"}, "groups is a dict"),
        (
            [0.5] * 60,
            r"groups contains 0\.5 for source\[0\]; supported: all integers or all strings.*Bin real numbers",
        ),
        ([*COLOR[:-1], None], r"groups contains None for source\[59\]"),
        ([("red", 1)] * 60, r"groups contains \('red', 1\) .*join several attributes into one string"),
        (
            lambda sample: 0,
            r"The groups function failed on source\[0\]: TypeError: .*called as groups\(sample, label\)",
        ),
        (
            lambda sample, label: None,
            r"The groups function returned None for source\[0\]; it must return an integer or a string",
        ),
        (lambda sample, label: sample, r"The groups function returned tensor"),
        (lambda sample, label: float(sample.mean()), r"The groups function returned 0\.\d+ for source\[0\]"),
        (lambda sample, label: "a" if label else 1, r"groups contains 'a' for source\[20\]; .*not mixed"),
    ],
)
def test_invalid_groups_are_refused(source: Colored, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CondensedDataset(source, small(), groups=given, cache=False, progress=False)


def test_invalid_attributes_below_a_subset_are_refused(source: Colored) -> None:
    source.color = COLOR[:7]
    with pytest.raises(SourceError, match=r"groups='color': Colored\.color has 7 entries, but the source has 60"):
        values("color", Subset(source, [1, 2]))
    with pytest.raises(SourceError, match=r"TensorDataset has no attribute of that name\. Give one integer"):
        values("color", Subset(TensorDataset(*source.tensors), [1, 2]))


def rare() -> list[str]:
    """Class 0 has "red" 19 times and "blue" once, class 1 is all red, class 2 has four colors."""
    return ["blue", *["red"] * 39, *["red", "blue", "green", "gray"] * 5]


@pytest.mark.parametrize("name", ["dm", "dc", "dsa", "cafe", "random", "herding", "k_center"])
def test_rare_and_missing_groups(source: Colored, name: str) -> None:
    options = {} if name in ("random", "herding", "k_center") else {"iterations": 2, "batch": 8, "network": NET}
    if name in ("herding", "k_center"):
        options = {"features": "raw"}
    recipe = recipes.get(name, ipc=5, **options)
    images, labels = condense_tensors(*source.tensors, recipe, groups=rare())
    assert labels.bincount().tolist() == [5, 5, 5]
    assert torch.isfinite(images).all()
    flat = images.flatten(1)
    assert all((flat[i] - flat[j]).abs().max() > 1e-4 for i in range(5, 15) for j in range(i))


@pytest.mark.parametrize("ipc", [4, 5, 7, 10])
def test_ipc_is_split_and_each_part_starts_from_its_group(source: Colored, ipc: int) -> None:
    """Samples come class by class, and inside a class by attribute."""
    images, labels = source.tensors
    chosen, _ = condense_tensors(images, labels, recipes.random(ipc), groups=rare())
    colors = [rare()[int((images - image).abs().flatten(1).amax(1).argmin())] for image in chosen]
    extra = -(-ipc // 2)
    assert colors[:ipc] == ["blue"] * extra + ["red"] * (ipc - extra)
    assert colors[ipc : 2 * ipc] == ["red"] * ipc
    counts = [colors[2 * ipc :].count(color) for color in ("blue", "gray", "green", "red")]
    assert sum(counts) == ipc
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)


def test_ipc_below_the_number_of_groups_is_refused(source: Colored) -> None:
    with pytest.raises(ValueError, match=r"ipc=3 is less than the 4 groups of class 'cow'.*Use ipc=4 or more"):
        CondensedDataset(source, small(ipc=3), groups=rare(), cache=False, progress=False)


def test_objectives_that_need_two_samples_per_group_are_refused(source: Colored) -> None:
    recipe = recipes.iid(ipc=4, iterations=1, network=NET, centralization_weight=0)
    with pytest.raises(ValueError, match=r"one has 1\..*two for each group of a class"):
        condense_tensors(*source.tensors, recipe, groups=rare())


def test_clusters_stay_within_groups(source: Colored) -> None:
    recipe = recipes.bdm("dm", ipc=4, k=3, features="raw", iterations=2, batch=8, network=NET)
    images, labels = condense_tensors(*source.tensors, recipe, groups=rare())
    assert labels.bincount().tolist() == [4, 4, 4]
    assert torch.isfinite(images).all()


def test_debiased_equals_its_base_with_groups(source: Colored) -> None:
    options: dict[str, Any] = {"ipc": 4, "iterations": 2, "batch": 8, "network": NET}
    first, _ = condense_tensors(*source.tensors, recipes.debiased("dm", **options), groups=rare())
    second, _ = condense_tensors(*source.tensors, recipes.dm(**options), groups=rare())
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match=r"no class has more than one group\. Give groups="):
        condense_tensors(*source.tensors, recipes.debiased("dm", **options))


def test_a_group_learns_from_its_own_samples_only(tiny_images: TensorDataset) -> None:
    """Changing the red samples of a class does not change the synthetic blue ones."""
    images, labels = tiny_images.tensors
    changed = images.clone()
    red = torch.tensor([color == "red" for color in COLOR])
    changed[red] = changed[red].flip(-1)  # the same pixels, so the same standardization
    first, _ = condense_tensors(images, labels, small(), groups=COLOR)
    second, _ = condense_tensors(changed, labels, small(), groups=COLOR)
    for label in range(3):
        blue, reds = slice(4 * label, 4 * label + 2), slice(4 * label + 2, 4 * label + 4)
        torch.testing.assert_close(first[blue], second[blue], rtol=0, atol=1e-4)
        assert float((first[reds] - second[reds]).abs().max()) > 0.1


def test_one_group_per_class_equals_no_groups(source: Colored) -> None:
    grouped, _ = condense_tensors(*source.tensors, small(), groups=source.tensors[1])
    alone, _ = condense_tensors(*source.tensors, small())
    assert torch.equal(grouped, alone)


def test_strings_and_their_ranks_give_the_same_groups() -> None:
    rows, labels = torch.randn(6, 2), torch.zeros(6).long()
    named, ranked = (real(rows, labels, groups) for groups in (list("bacbac"), [1, 0, 2] * 2))
    assert torch.equal(named.groups, ranked.groups)


def test_the_function_gets_pil_samples(tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path)
    assert values(lambda sample, label: sample.mode, FashionMNIST(tmp_path)) == ["L"] * 30
    items = ListDataset([(torch.ones(3), 0), (torch.zeros(3), 1)])
    assert values(lambda sample, label: label, items) == [0, 1]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--no-evaluate", "--ipc", 4, "--out", tmp_path)
    small_words = [word for word in SMALL if word not in ("--no-cache",)]
    assert main(list(map(str, ["build", "cli_sources:colored", *small_words, *words, "--groups", "color"]))) == 0
    assert "36 -> 12" in capsys.readouterr().out
    error = fails(capsys, "build", "cli_sources:colored", *SMALL, "--groups", "shade")
    assert "groups='shade': Colored has no attribute of that name" in error
    assert "'color'" in error
