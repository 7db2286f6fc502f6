"""The settings that the authors of DC, DSA, DM, DD, IDC and IDM give by dataset and samples per class."""

from __future__ import annotations

from typing import Any

import pytest

from condensed_data import recipes
from condensed_data.data.known_datasets import known_info
from condensed_data.methods.recipe import Recipe


def published(name: str, dataset: str, ipc: int, **options: Any) -> Recipe:
    return recipes.get(name, **options).resolve_for(known_info(dataset, ipc))


@pytest.mark.parametrize("dataset", ["mnist", "svhn", "cifar100"])
@pytest.mark.parametrize(
    ("ipc", "loops"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10)), (200, (50, 10))],
)
def test_loops_of_dc(dataset: str, ipc: int, loops: tuple[int, int]) -> None:
    for name in ("dc", "dsa"):
        recipe = published(name, dataset, ipc)
        assert (recipe.terms[0].pool.period, recipe.terms[0].pool.epochs) == loops
        assert recipe.iterations == 1000 * loops[0]


def test_loops_of_dc_between_the_published_points() -> None:
    pools = [published("dc", "cifar10", ipc).terms[0].pool for ipc in range(1, 60)]
    assert [pool.period for pool in pools] == [min(ipc, 50) for ipc in range(1, 60)]
    assert all(10 <= pool.epochs <= 50 for pool in pools[2:])


def test_settings_of_dm_and_dd() -> None:
    assert [published("dm", "cifar10", ipc).optimizer.lr for ipc in (1, 50, 100, 1250)] == [1, 1, 10, 10]
    assert [published("dm", "cifar100", ipc).optimizer.lr for ipc in (50, 125)] == [1, 1]
    assert [published("dd", name, 10).synthetic.lr for name in ("mnist", "cifar10")] == [0.02, 0.001]
    assert published("dc", "mnist", 10, network="mlp").optimizer.lr == 0.01


@pytest.mark.parametrize(
    ("dataset", "ipc", "weight", "batch", "pool"),
    [
        ("cifar10", 1, 0.5, 5000, (5, 100, 10, 100)),
        ("cifar10", 10, 0.5, 256, (30, 100, 10, 100)),
        ("cifar10", 50, 0.1, 256, (30, 100, 10, 500)),
        ("cifar100", 10, 0.1, 256, (30, 100, 50, 100)),
        ("tiny-imagenet", 50, 0.8, 256, (30, 100, 50, 1000)),
        ("imagenet-subset", 1, 3.0, 128, (50, 50, 10, 200)),
    ],
)
def test_settings_of_idm(dataset: str, ipc: int, weight: float, batch: int, pool: tuple[int, ...]) -> None:
    recipe = published("idm", dataset, ipc)
    term = recipe.terms[1]
    queue = term.pool
    assert (term.weight, term.sampler.batch, recipe.iterations) == (weight, batch, 20_000)
    assert (queue.interval, queue.capacity, queue.steps, queue.reset) == pool


def test_rates_of_idc() -> None:
    assert published("idc", "cifar100", 20).optimizer.lr == pytest.approx(1e-2)
    assert published("idc", "svhn", 1).optimizer.lr == pytest.approx(5e-4)
    assert published("idc", "mnist", 50).optimizer.lr == pytest.approx(5e-4)
    assert published("idc", "fashion-mnist", 10).optimizer.lr == pytest.approx(1e-4 * 28**2 / 32**2)
    assert published("idc", "cifar10", 10, distance="l1").optimizer.lr == pytest.approx(1e-4)
    assert [published("idc", name, 10).terms[0].pool.samples for name in ("mnist", "svhn", "cifar10")] == [
        512,
        512,
        2048,
    ]
    subset = published("idc", "imagenet-subset", 10)
    assert (subset.synthetic.factor, subset.iterations, subset.terms[0].pool.sgd.cutmix) == (3, 50_000, 1)


@pytest.mark.parametrize("name", ["idc", "idc_i"])
def test_idc_mixes_and_erases_where_the_authors_do(name: str) -> None:
    mnist, fashion = (published(name, dataset, 10) for dataset in ("mnist", "fashion-mnist"))
    whole = name == "idc"
    assert mnist.terms[0].augment.always == (("color",) if whole else ("color", "cutout"))
    assert mnist.terms[0].pool.sgd.cutmix == (0.0 if whole else 0.5)
    assert fashion.terms[0].augment.always == ("color", "cutout")
    assert fashion.terms[0].pool.sgd.cutmix == 0.5
    assert mnist.optimizer.lr / fashion.optimizer.lr == pytest.approx(32**2 / 28**2)
    assert published("idc", "mnist", 10, factor=1).terms == published("idc_i", "mnist", 10).terms
