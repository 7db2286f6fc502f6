"""The entry exam that every recipe passes: it runs, learns, repeats, resumes and survives saving.

The recipes are in `support/exam.py`.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import exam
import pytest
import torch
from exam import EXAM, GROUPED, LEARNING, NET, build, learned, learned_tensors, start, with_short_pools
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core import spec as specs
from condensed_data.engine.distributed.work_plan import WorkUnit
from condensed_data.methods.objectives import Distribution
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.networks import MLP, ConvNet, ConvNet1d
from condensed_data.training.pretraining import Pretraining


@pytest.fixture(params=EXAM)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return EXAM[request.param]()


@pytest.fixture(params=LEARNING)
def learning(request: pytest.FixtureRequest) -> Recipe:
    return LEARNING[request.param]()


def test_every_recipe_of_the_package_is_examined() -> None:
    own = {name for name in recipes.names() if recipes.function(name).__module__.startswith("condensed_data.")}
    assert own == {key.split()[0] for key in EXAM | GROUPED}


def test_it_runs_and_repeats(recipe: Recipe, tiny_images: TensorDataset) -> None:
    exam.runs_and_repeats(recipe, tiny_images)


def test_another_seed_gives_other_samples(learning: Recipe, tiny_images: TensorDataset) -> None:
    assert not torch.equal(build(tiny_images, learning).images, build(tiny_images, learning, seed=1).images)


def test_every_learned_tensor_moves(learning: Recipe, tiny_images: TensorDataset) -> None:
    exam.every_learned_tensor_moves(learning, tiny_images)


def test_it_resumes_to_the_same_bits(learning: Recipe, tiny_images: TensorDataset, tmp_path: Path) -> None:
    exam.resumes_to_the_same_bits(learning, tiny_images, tmp_path)


def test_it_survives_saving(recipe: Recipe, tiny_images: TensorDataset, tmp_path: Path) -> None:
    exam.survives_saving(recipe, tiny_images, tmp_path)


def test_chunks_give_the_gradient_of_the_whole(learning: Recipe, tiny_images: TensorDataset) -> None:
    whole, cut = start(tiny_images, learning), start(tiny_images, learning)
    if not cut.parts.separable:
        with pytest.raises(torch.OutOfMemoryError, match=r"sampler\.batch"):
            cut.gradient.halve(WorkUnit((0, 1, 2), tuple(range(len(cut.losses))), False))
        return
    cut.gradient.num_chunks = 3
    whole.step()
    cut.step()
    for name, tensor in learned_tensors(whole).items():
        torch.testing.assert_close(learned_tensors(cut)[name], tensor, rtol=1e-4, atol=1e-5)


def test_groups(learning: Recipe, tiny_images: TensorDataset) -> None:
    made = build(tiny_images, replace(learning, ipc=4), groups=[index % 2 for index in range(len(tiny_images))])
    assert torch.isfinite(made.images).all()


SHAPES = {
    "gray 28": ((1, 28, 28), NET),
    "RGB 32": ((3, 32, 32), NET),
    "odd RGB": ((3, 17, 13), NET),
    "signals": ((2, 40), ConvNet1d(width=8, depth=2)),
    "vectors": ((20,), MLP(width=16)),
}


def of_shape(name: str, shape: str, **options: Any) -> None:
    size, network = SHAPES[shape]
    draw = torch.Generator().manual_seed(0)
    source = TensorDataset(torch.randn(24, *size, generator=draw), torch.arange(24) % 3 * 5)
    recipe = with_short_pools(recipes.get(name, ipc=1, iterations=2, batch=4, network=network, **options))
    made = build(source, recipe)
    assert torch.isfinite(made.images).all()
    assert made.images.shape[1:] == size
    assert sorted(set(made.targets)) == [0, 5, 10]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["dm", "dc", "dsa", "dd"])
def test_samples_of_any_shape(name: str, shape: str) -> None:
    of_shape(name, shape)


LEARN = [name for name in recipes.names() if recipes.get(name, ipc=2).terms]
CONVOLVE = {"idc_i", "idc", "iid"}  # these match convolutions, or need several samples per class
# tested above or in files of their own; debiased needs groups, bdm_published is bdm
ELSEWHERE = {"dm", "dc", "dsa", "dd", "haba", "fred", "kfs", "mtt", "debiased", "bdm_published"}
OPTIONS: dict[str, dict[str, Any]] = {"bdm": {"features": "raw", "k": 2}, "iid": {"base": "idm"}}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in LEARN if name not in ELSEWHERE])
def test_samples_of_any_shape_in_the_other_recipes(name: str, shape: str) -> None:
    options = OPTIONS.get(name, {}) | ({"extractor": SHAPES[shape][1]} if name == "iid" else {})
    if shape == "vectors" and name in CONVOLVE:
        with pytest.raises(ValueError, match=r"has no such layers|at least two synthetic samples"):
            of_shape(name, shape, **options)
    else:
        of_shape(name, shape, **options)


# Short runs on 8x8 images, whose cells would be only 4x4 (so factor=1). By default 100 iterations and one sample per
# class; other learning rates where the published ones are meant for a hundred times as many steps.
NARROW = ConvNet(width=32, depth=2)
SHORT: dict[str, dict[str, Any]] = {
    "dm": {},
    "dc": {},
    "dsa": {},
    "cafe": {"iterations": 60},
    "iid": {"iterations": 60, "ipc": 2, "extractor": NARROW},
    "ncfm": {"lr": 0.01},
    "frepo": {"lr": 0.03},
    "idc": {"lr": 3e-4},
    "idc_i": {"lr": 3e-4},
    "bdm": {"base": "dm", "features": "raw"},
}
BRIEF = {"pool.pretrain": Pretraining(epochs=5, networks=2), "pool.interval": 5, "pool.queries": 16}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in LEARN if name in SHORT or name not in ELSEWHERE])
def test_it_beats_random_samples_on_digits(name: str) -> None:
    from condensed_data.data.catalog import load

    options = {"iterations": 100, "ipc": 1, "batch": 64, "network": NARROW} | SHORT.get(name, {})
    if "factor" in inspect.signature(recipes.function(name)).parameters:
        options["factor"] = 1
    train, test = load("digits", "train"), load("digits", "test")
    recipe = recipes.get(name, **options)
    for path in BRIEF.keys() & {f"pool.{field}" for term in recipe.terms for field, _ in specs.iter_fields(term.pool)}:
        recipe = specs.set_field(recipe, path, BRIEF[path])
    made = CondensedDataset(train, recipe, progress=False)
    chosen = [
        CondensedDataset(train, recipes.random(ipc=options["ipc"]), seed=seed, progress=False) for seed in range(3)
    ]
    scores = [one.evaluate(test, NARROW, runs=1, training="quick", progress=False).mean for one in (made, *chosen)]
    assert scores[0] > sum(scores[1:]) / 3 + 0.03


def test_equal_terms_add_up(tiny_images: TensorDataset) -> None:
    """Terms that share pool, sampler and augmentation use one network and one pair: their weights add up."""
    base = learned("dm")
    term = base.terms[0]
    halves = tuple(replace(term, objective=Distribution(), weight=0.5) for _ in range(2))
    assert term.sampler == PerGroup(8)
    torch.testing.assert_close(
        build(tiny_images, replace(base, terms=halves)).images,
        build(tiny_images, base).images,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", GROUPED)
def test_debiasing_needs_groups(name: str, tiny_images: TensorDataset) -> None:
    groups = [index % 2 for index in range(len(tiny_images))]
    made = build(tiny_images, GROUPED[name](), groups=groups)
    base = GROUPED[name]()
    ungated = replace(base, terms=tuple(specs.set_field(term, "sampler.grouped", False) for term in base.terms))
    assert torch.equal(made.images, build(tiny_images, ungated, groups=groups).images)
    with pytest.raises(ValueError, match="Give groups="):
        build(tiny_images, base)


@pytest.mark.parametrize("name", ["bdm", "debiased"])
def test_a_base_without_batches_by_group_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Use a base that does"):
        recipes.get(name, base="random")


def test_one_sample_per_class_is_refused_where_it_has_no_effect() -> None:
    with pytest.raises(ValueError, match="ipc=2"):
        recipes.iid("dm", ipc=1)


def test_published_numbers() -> None:
    """Learning rates, batches and loops at the published points, from the authors' code."""
    facts = ((1, 28, 28), [f"class {index}" for index in range(10)])

    def at(name: str, ipc: int, shape: Any = facts[0]) -> Recipe:
        return recipes.get(name, ipc=ipc).resolve(shape, facts[1], samples=60_000)

    assert [dict(specs.iter_fields(at("dc", ipc)))["terms.0.pool.period"] for ipc in (1, 10, 50)] == [
        1,
        10,
        50,
    ]
    assert [dict(specs.iter_fields(at("dc", ipc)))["terms.0.pool.epochs"] for ipc in (1, 10, 50)] == [
        1,
        50,
        10,
    ]
    assert at("idc", 10).optimizer.lr == pytest.approx(1e-4 * 28 * 28 / 32**2)
    assert at("idc", 1, (3, 32, 32)).optimizer.lr == pytest.approx(5e-4)
    assert [at("idm", ipc).terms[1].weight for ipc in (1, 10, 50)] == [0.5, 0.5, 0.1]
    assert [dict(specs.iter_fields(at("idm", ipc)))["terms.0.sampler.batch"] for ipc in (1, 10)] == [
        5000,
        256,
    ]
    assert at("cafe", 1).optimizer.milestones == (12_000, 16_000, 18_000)
    assert at("dance", 10).optimizer.lr == pytest.approx(0.1)
