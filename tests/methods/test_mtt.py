"""The recipe mtt: published settings, errors, experts by an executor, and training at the learned step size."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.cli.main import main
from condensed_data.data.catalog import load
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.networks import ConvNet
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import quick

NET = ConvNet(width=8, depth=1)
QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "precision": "fp32"}
FASHION = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
DIGITS = [f"{number} - name" for number in range(10)]
ANIMALS = [f"animal {letter}" for letter in "abcdefghij"]


def small(**options: Any) -> Recipe:
    return recipes.mtt(2, 3, **{"steps": 3, "experts": 2, "epochs": 2, "ahead": 1, "network": NET, **options})


def settings(recipe: Recipe, shape: tuple[int, ...], classes: list[str]) -> tuple[Any, ...]:
    found: Any = recipe.resolve(shape, classes)
    pool, student = found.terms[0].pool, found.terms[0].sampler
    rates = dict(found.optimizer.rates)
    row = (student.steps, pool.ahead, pool.pretrain.epochs, found.optimizer.lr, rates["step_sizes"])
    return (*row, found.synthetic.lr, found.whitening)


PUBLISHED = [
    ("MNIST", 1, (1, 28, 28), DIGITS, (50, 2, 6, 100, 1e-7, 1e-2, "none")),
    ("MNIST", 10, (1, 28, 28), DIGITS, (30, 2, 16, 1000, 1e-5, 1e-2, "none")),
    ("Fashion-MNIST", 1, (1, 28, 28), FASHION, (50, 2, 6, 100, 1e-7, 1e-2, "none")),
    ("Fashion-MNIST", 10, (1, 28, 28), FASHION, (60, 2, 16, 1000, 1e-5, 1e-2, "none")),
    ("SVHN", 50, (3, 32, 32), DIGITS, (40, 2, 41, 1000, 1e-5, 1e-3, "none")),
    ("CIFAR-10", 1, (3, 32, 32), ANIMALS, (50, 2, 3, 100, 1e-7, 1e-2, "zca")),
    ("CIFAR-10", 10, (3, 32, 32), ANIMALS, (30, 2, 21, 100, 1e-5, 1e-3, "zca")),
    ("CIFAR-10", 50, (3, 32, 32), ANIMALS, (30, 2, 41, 1000, 1e-5, 1e-3, "none")),
    ("CIFAR-100", 1, (3, 32, 32), ANIMALS * 10, (20, 3, 22, 1000, 1e-5, 1e-2, "zca")),
    ("CIFAR-100", 10, (3, 32, 32), ANIMALS * 10, (20, 2, 21, 1000, 1e-5, 1e-2, "none")),
    ("CIFAR-100", 50, (3, 32, 32), ANIMALS * 10, (80, 2, 41, 1000, 1e-5, 1e-2, "zca")),
    ("Tiny-ImageNet", 10, (3, 64, 64), ANIMALS * 20, (20, 2, 41, 1e4, 1e-4, 1e-2, "none")),
    ("ImageNet subsets", 1, (3, 128, 128), ANIMALS, (20, 2, 11, 1e5, 1e-6, 1e-2, "none")),
    ("beyond the last", 500, (3, 32, 32), ANIMALS, (30, 2, 41, 1000, 1e-5, 1e-3, "none")),
    ("too large to whiten", 1, (3, 64, 64), ANIMALS, (50, 2, 3, 100, 1e-7, 1e-2, "none")),
    ("signals", 1, (2, 40), ANIMALS, (50, 2, 6, 100, 1e-7, 1e-2, "none")),
    ("vectors", 1, (20,), ANIMALS, (50, 2, 6, 100, 1e-7, 1e-2, "none")),
]


@pytest.mark.parametrize(("name", "ipc", "shape", "classes", "expected"), PUBLISHED)
def test_published_settings(
    name: str, ipc: int, shape: tuple[int, ...], classes: list[str], expected: tuple[Any, ...]
) -> None:
    assert settings(recipes.mtt(ipc), shape, classes) == expected


def test_settings_between_published_points_are_interpolated() -> None:
    ends = [settings(recipes.mtt(ipc), (1, 28, 28), FASHION)[:6] for ipc in (1, 10)]
    for ipc in range(2, 10):
        middle = settings(recipes.mtt(ipc), (1, 28, 28), FASHION)[:6]
        for low, value, high in zip(ends[0], middle, ends[1], strict=True):
            assert low <= value <= high
    root = settings(recipes.mtt(3), (1, 28, 28), FASHION)
    assert root[3] == pytest.approx(100 * 10 ** math.log10(3), rel=0.01)


def test_steps_take_as_many_samples_as_published() -> None:
    for classes, ipc, rows in ((ANIMALS * 10, 10, None), (ANIMALS * 10, 50, 125), (ANIMALS, 50, None)):
        found: Any = recipes.mtt(ipc).resolve((3, 32, 32), classes)
        assert found.terms[0].sampler.synthetic == rows
    assert isinstance(recipes.mtt(50, batch=7).terms[0].sampler, TrainingSteps)
    assert recipes.mtt(50, batch=7).terms[0].sampler.synthetic == 7


def test_experts_of_small_sources_take_as_many_steps_as_the_student() -> None:
    for samples, ahead in ((60_000, 2), (6_400, 2), (6_000, 3), (1_400, 9), (60, 50)):
        pool: Any = recipes.mtt(1).resolve((1, 28, 28), FASHION, samples=samples).terms[0].pool
        assert (pool.ahead, pool.pretrain.epochs) == (ahead, 4 + ahead)
    pool = recipes.mtt(1, epochs=7).resolve((1, 28, 28), FASHION, samples=60).terms[0].pool
    assert (pool.ahead, pool.pretrain.epochs) == (7, 7)
    pool = recipes.mtt(1, steps=12).resolve((1, 28, 28), FASHION, samples=1_400).terms[0].pool
    assert (pool.ahead, pool.pretrain.epochs) == (2, 6)


def test_arguments_replace_the_defaults() -> None:
    recipe = recipes.mtt(10, steps=7, ahead=3, epochs=9, lr=5.0, whitening="none")
    assert settings(recipe, (3, 32, 32), ANIMALS)[:4] == (7, 3, 9, 5.0)
    with pytest.raises(ValueError, match=r"settings='idc'\) must be one of 'mtt', 'haba', 'fred'"):
        recipes.mtt(settings="idc")
    with pytest.raises(ValueError, match=r"ahead=5\) must not exceed pretrain.epochs=2"):
        recipes.mtt(10, ahead=5, epochs=2)
    with pytest.raises(ValueError, match=r"ahead=2\) must not exceed pretrain.epochs=1"):
        recipes.mtt(10, ahead=2, epochs=1)


def test_a_pool_without_experts_is_refused_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = (
        "Cannot use Trajectory with the RandomInit pool: it needs an expert's later weights. Use the Experts pool."
    )
    with pytest.raises(ValueError, match=sentence):
        replace(recipes.mtt().terms[0], pool=RandomInit())
    assert main(["build", "digits", "--recipe", "mtt", "--set", "pool=RandomInit()"]) == 1
    assert sentence in capsys.readouterr().err


def test_the_result_is_trained_on_at_its_learned_step_size(tiny_images: TensorDataset, tmp_path: Path) -> None:
    recipe = small().set(optimizer__rates=(("step_sizes", 1e-2),))
    made = CondensedDataset(tiny_images, recipe, cache=False, **QUIET)
    assert isinstance(made.training, Training)
    assert made.stored is not None
    assert made.training.lr == float(made.stored["step_sizes"][0]) != 0.01
    assert made.training.label == "mtt, learned rate protocol"
    made.save(tmp_path / "set")
    assert CondensedDataset.load(tmp_path / "set").training == made.training
    assert isinstance(made.recipe, Recipe)
    assert replace(made.training, name="mtt", lr=0.01) == made.recipe.training


def test_any_executor_gives_the_same_samples(
    tiny_images: TensorDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = QUIET | {"progress": True}
    alone = CondensedDataset(tiny_images, small(), cache=False, **QUIET)
    with ThreadPoolExecutor(2) as executor:
        made = CondensedDataset(tiny_images, small(), cache=tmp_path, executor=executor, **shown)
    told = capsys.readouterr()
    assert torch.equal(made.images, alone.images)
    assert "experts: 2 of 2 to train for 2 epochs each, " in told.out
    assert "training networks on real samples" in told.err
    longer = CondensedDataset(tiny_images, small(experts=3, unroll="constant"), cache=tmp_path, **shown)
    assert "experts: 1 of 3 to train" in capsys.readouterr().out
    assert not torch.equal(longer.images, made.images)


@pytest.mark.parametrize("shape", [(3, 9, 7), (2, 16), (6,)])
def test_samples_of_any_shape(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    source = TensorDataset(torch.randn(24, *shape, generator=draw), torch.arange(24) % 3 * 5)
    network = "mlp" if len(shape) == 1 else "convnet-w8-d1"
    made = CondensedDataset(source, small(network=network, batch=4), cache=False, **QUIET)
    assert made.images.shape == (6, *shape)
    assert bool(made.images.isfinite().all())


@pytest.mark.slow
def test_the_command_line_trains_experts_in_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "build",
        "digits",
        "--recipe",
        "mtt",
        "--ipc",
        "1",
        "--iterations",
        "2",
        "--no-evaluate",
        "--no-cache",
    ]
    words += [
        "--set",
        "pretrain.networks=2",
        "--set",
        "pretrain.epochs=2",
        "--set",
        "pool.ahead=2",
        "--set",
        "sampler.steps=3",
    ]
    words += ["--set", "network=ConvNet(width=8, depth=1)", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "two"), "--jobs", "2"]) == 0
    assert "experts: 2 of 2 to train" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    one, two = (CondensedDataset.load(tmp_path / name) for name in ("one", "two"))
    assert torch.equal(one.images, two.images)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("unroll", ["full", "constant"])
def test_it_beats_random_samples_on_digits(unroll: str) -> None:
    train, test = load("digits", "train"), load("digits", "test")
    how: dict[str, Any] = {"cache": False, **QUIET}
    recipe = recipes.mtt(1, 40, experts=4, lr=10.0, network="convnet-w16-d2", unroll=unroll)
    made = CondensedDataset(train, recipe, **how)
    chosen = [CondensedDataset(train, recipes.random(1), seed=seed, **how) for seed in range(2)]
    short = replace(quick(), name="short", epochs=100)
    scores = [one.evaluate(test, "convnet-w16-d2", 1, training=short, progress=False).mean for one in (made, *chosen)]
    assert scores[0] > sum(scores[1:]) / 2 + 0.05
