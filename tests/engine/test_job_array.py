"""Job arrays: the merged shards are the bits of one process, and what is no whole set is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli_tools import fails
from exam import GROUPED, LEARNING, build
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset
from condensed_data.cli.main import main
from condensed_data.engine.job_array import parse_shard
from condensed_data.methods.objectives import CharacteristicFunction
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Factorized
from condensed_data.storage.result import CondensationResult
from condensed_data.storage.shards import merge

# whose samples of a class depend on that class alone
TOGETHER = [
    name
    for name, make in LEARNING.items()
    if all(term.objective.separable and not term.pool.trains_on_synthetic for term in make().terms)
    # all classes share decoders, and a sampling network learns from all classes
    and not isinstance(make().synthetic, Factorized)
    and not any(isinstance(term.objective, CharacteristicFunction) for term in make().terms)
]


def independent(name: str) -> Recipe:
    """A recipe in blocks, which does not stop by the loss of all classes."""
    return LEARNING[name]().set(num_blocks=64, early_stopping=None)


def parts(name: str, source: TensorDataset, folder: Path, count: int) -> list[CondensationResult]:
    """The shards of a recipe, as they come from disk, the last one first."""
    recipe = independent(name)
    for number in range(1, count + 1):
        build(source, recipe, shard=f"{number}/{count}").save(folder / str(number))
    return [CondensationResult.load(folder / str(number)) for number in range(count, 0, -1)]


@pytest.mark.parametrize("name", TOGETHER)
def test_merged_shards_are_the_bits_of_one_process(name: str, tiny_images: TensorDataset, tmp_path: Path) -> None:
    merged = merge(parts(name, tiny_images, tmp_path, 2))
    whole = build(tiny_images, independent(name))
    assert torch.equal(merged.images, whole.images)
    assert torch.equal(merged.labels, whole.labels)
    assert merged.metadata.stored_floats == whole.stored_floats
    merged.save(tmp_path / "merged")
    assert torch.equal(CondensedDataset.load(tmp_path / "merged").images, whole.images)


def test_a_shard_is_a_set_of_its_classes(tiny_images: TensorDataset, tmp_path: Path) -> None:
    made = build(tiny_images, LEARNING["dm"](), shard="1/3")
    assert set(made.targets) == {0}
    assert len(made) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dsa", "networks of TrainedOnSynthetic learn from the samples of all classes"),
        ("cafe", "Discrimination needs all classes together"),
        ("iid on dm", "stops by the loss of all classes"),
        ("ncfm", "its learning rate follows the loss of all classes"),
        ("mtt", "Trajectory needs all classes together"),
        ("kfs", "all classes share the learned decoders"),
    ],
)
def test_recipes_whose_classes_look_at_each_other_say_so(name: str, reason: str, tiny_images: TensorDataset) -> None:
    with pytest.raises(ValueError, match=reason):
        build(tiny_images, LEARNING[name](), shard="1/2")


def test_groups_and_too_many_shards_are_refused(tiny_images: TensorDataset) -> None:
    groups = [index % 2 for index in range(len(tiny_images))]
    with pytest.raises(ValueError, match="Omit groups="):
        build(tiny_images, GROUPED["debiased on dm"]().set(ipc=4), groups=groups, shard="1/2")
    with pytest.raises(ValueError, match="at most 3 shards, not 4"):
        build(tiny_images, LEARNING["dm"](), shard="4/4")
    for text in ("0/2", "3/2", "2", "a/b", "-1/2"):
        with pytest.raises(ValueError, match="must be NUMBER/COUNT"):
            parse_shard(text)


def test_what_is_no_whole_set_is_refused(tiny_images: TensorDataset, tmp_path: Path) -> None:
    second, first = parts("dm", tiny_images, tmp_path, 2)
    with pytest.raises(ValueError, match="classes are missing"):
        merge([first])
    with pytest.raises(ValueError, match="both have class"):
        merge([first, second, first])
    other = replace(second, metadata=replace(second.metadata, seed=7))
    with pytest.raises(ValueError, match="their seed differs: 0 and 7"):
        merge([first, other])


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "build",
        "digits",
        "--ipc",
        "1",
        "--iterations",
        "2",
        "--set",
        "network=convnet-d1-w4",
        "--quiet",
    ]
    assert "needs --out" in fails(capsys, *words, "--shard", "1/2")
    for number in (1, 2):
        assert main([*words, "--no-cache", "--shard", f"{number}/2", "--out", str(tmp_path / str(number))]) == 0
    assert main(["merge", str(tmp_path / "2"), str(tmp_path / "1"), "--out", str(tmp_path / "all")]) == 0
    assert CondensedDataset.load(tmp_path / "all").targets == list(range(10))
    assert "classes are missing" in fails(capsys, "merge", tmp_path / "1", "--out", tmp_path / "some")
