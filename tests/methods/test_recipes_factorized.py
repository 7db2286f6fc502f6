"""Recipes with a compact parametrization: any base, any shape, storage budget, plots of decoders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods.objectives import Diversity
from condensed_data.methods.pools import Critic
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes.parametrization import CoefficientRate
from condensed_data.methods.synthetic import Factorized, Frequency, MultiFormation, WithSteps
from condensed_data.methods.synthetic.frequency import transform
from condensed_data.networks import ConvNet, ConvNet1d

NET = ConvNet(width=4, depth=1)
SMALL = {"iterations": 1, "batch": 4, "network": NET}
FEW_STEPS = {"experts": 1, "epochs": 2, "ahead": 1, "steps": 2}


def source(shape: tuple[int, ...]) -> TensorDataset:
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(24, *shape, generator=draw), torch.arange(24) % 3)


def build(shape: tuple[int, ...], recipe: Recipe) -> CondensedDataset:
    return CondensedDataset(source(shape), recipe, cache=False, progress=False, device="cpu")


def core(part: Any) -> Any:
    return core(part.inner) if hasattr(part, "inner") else part


@pytest.mark.parametrize("method", ["haba", "fred"])
def test_wrappers_of_the_synthetic_data_of_a_base_stay(method: str) -> None:
    kinds: dict[str, list[type]] = {
        "dm": [],
        "idc": [MultiFormation],
        "mtt": [WithSteps],
    }
    for base, around in kinds.items():
        part: Any = recipes.get(method, base=base, ipc=3).synthetic
        for kind in around:
            assert isinstance(part, kind)
            part = part.inner
        assert isinstance(part, Factorized if method == "haba" else Frequency)
        assert part.init == core(recipes.get(base).synthetic).init


def test_the_constraint_is_a_separate_term() -> None:
    condensed = recipes.haba("dm", network=NET, contrast=0.3)
    base = recipes.dm(network=NET)
    assert condensed.terms[:-1] == base.terms
    assert isinstance(condensed.terms[-1].objective, Diversity)
    augment = SiameseAugment(DefaultDSAOps(), per_sample=True)
    assert condensed.terms[-1].pool == Critic(NET, augment=augment)
    assert condensed.terms[-1].augment == augment
    assert condensed.terms[-1].weight == 0.3
    assert recipes.haba("dm", network=NET, contrast=0).terms == base.terms
    assert recipes.haba(base).terms[:-1] == base.terms
    assert recipes.haba(base).name == "haba_dm"


def test_learned_step_sizes_have_their_own_learning_rate() -> None:
    recipe = recipes.haba("mtt", ipc=10).resolve((1, 28, 28), [""] * 10)
    (rate,) = recipe.optimizer.rates
    assert isinstance(recipe.synthetic, WithSteps)
    assert rate == ("step_sizes", pytest.approx(1e-3 * recipe.synthetic.lr))
    assert recipes.fred("dm").optimizer.rates == ()


def test_trajectories_are_matched_in_the_published_number_of_iterations_with_the_published_floor() -> None:
    shape, classes = (3, 32, 32), [f"animal {letter}" for letter in "abcdefghij"]
    for method, ipc, row in (
        ("haba", 2, (50, 3, 1e-2, "zca")),
        ("haba", 11, (30, 21, 1e-3, "zca")),
        ("haba", 51, (30, 21, 1e-2, "zca")),
        ("fred", 1, (50, 6, 1e-2, "none")),
        ("fred", 10, (40, 16, 1e-2, "none")),
        ("fred", 50, (30, 41, 1e-3, "none")),
    ):
        found: Any = recipes.get(method, base="mtt").resolve(shape, classes, ipc, dataset="cifar10")
        pool, student = found.terms[0].pool, found.terms[0].sampler
        assert (student.steps, pool.pretrain.epochs, found.synthetic.lr, found.whitening) == row
        assert found.iterations == 15_000
        assert found.synthetic.smallest == 1e-3
        assert student.one_decoder == (method == "haba")
    assert recipes.haba("mtt", iterations=7).iterations == 7
    given: Any = recipes.haba(recipes.mtt(ipc=3)).resolve(shape, classes)
    assert given.iterations == 5_000  # a base that is a recipe stays as it is


def test_the_optimizer_of_the_authors_is_one_argument_away() -> None:
    shape, classes = (3, 32, 32), [f"animal {letter}" for letter in "abcdefghij"]
    mtt = recipes.mtt(settings="haba", ipc=2).resolve(shape, classes)
    haba = recipes.haba("mtt", ipc=2, optimizer="sgd").resolve(shape, classes)
    assert haba.optimizer == replace(mtt.optimizer, lr=100.0, momentum=0.95)
    assert dict(haba.optimizer.rates)["step_sizes"] == 1e-7  # that of the base
    for base, rate in (("mtt", 1e8), ("dm", 1e6), ("dc", 1e3)):
        fred = recipes.fred(base, ipc=1, optimizer="sgd").resolve(shape, classes)
        assert (fred.optimizer.kind, fred.optimizer.momentum) == ("sgd", 0.5)
        assert fred.optimizer.lr == pytest.approx(rate / 64**2)
    assert recipes.haba("dm", optimizer="sgd", lr=0.5).optimizer.lr == 0.5
    with pytest.raises(ValueError, match=r"haba_dm: no learning rate of SGD.*'dm'.*Give lr=.*optimizer='adam'"):
        recipes.haba("dm", optimizer="sgd")
    with pytest.raises(ValueError, match="'adam', 'sgd'"):
        recipes.fred("dm", optimizer="adamw")


def test_a_step_of_sgd_moves_pixels_as_the_transform_of_the_authors_does() -> None:
    n, rate = 8, 1e3
    where = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(torch.pi * (2 * where + 1) * where[:, None] / (2 * n))  # frequency, pixel
    theirs = cosines.T / n  # pixels from coefficients, which are twice the sums over pixels times cosines
    theirs[:, 0] /= 2
    gradient = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = theirs @ (rate * theirs.T @ gradient @ theirs) @ theirs.T
    ours = CoefficientRate(rate)(DatasetInfo((1, n, n), ("a", "b"), 1))
    spectrum = transform(gradient[None, None])
    spectrum[:, :, 0] /= 2  # the deviation: frequencies of 0 move twice as far
    spectrum[:, :, :, 0] /= 2
    torch.testing.assert_close(ours * transform(spectrum, inverse=True)[0, 0], moved)


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 10, 7), (2, 12)])
@pytest.mark.parametrize("method", ["haba", "kfs", "fred"])
def test_samples_of_any_shape_with_sides(method: str, shape: tuple[int, ...]) -> None:
    network = NET if len(shape) == 3 else ConvNet1d(width=4, depth=1)
    sizes = {
        "haba": {"hallucinators": 2, "bases": 1},
        "kfs": {"channels": 1, "width": 2, "codes": 2, "fit": 2},
        "fred": {"fraction": 0.25},
    }
    condensed = build(shape, recipes.get(method, ipc=5, **{**SMALL, "network": network}, **sizes[method]))
    assert condensed.images.shape[1:] == shape
    assert torch.isfinite(condensed.images).all()
    assert condensed.stored_floats <= 5 * 3 * condensed.images[0].numel() + (32 if method == "fred" else 0)


@pytest.mark.parametrize("base", ["dc", "dsa", "mtt", "idm"])
def test_bases_that_are_not_in_the_exam(base: str) -> None:
    options = SMALL | (FEW_STEPS if base == "mtt" else {})
    for method, sizes in (("haba", {"hallucinators": 2}), ("fred", {"fraction": 0.25})):
        condensed = build((1, 8, 8), recipes.get(method, base=base, ipc=5, **options, **sizes))
        assert torch.isfinite(condensed.images).all()
        assert condensed.metadata.recipe_name == f"{method}_{base}"


def test_an_impossible_base_is_refused_with_an_alternative() -> None:
    for name in ("haba", "fred"):
        with pytest.raises(ValueError, match=r"base='random', which learns nothing. Use dm, dc, dsa"):
            recipes.get(name, base="random")
        with pytest.raises(ValueError, match=r"already parametrized by Factorized.*learns pixels"):
            recipes.get(name, base="kfs")
        with pytest.raises(ValueError, match="Unknown recipe 'nothing'"):
            recipes.get(name, base="nothing")
        with pytest.raises(ValueError, match=r"cannot pass further arguments.*recipe\.set"):
            recipes.get(name, base=recipes.dm(), iterations=3)
        with pytest.raises(ValueError, match=r"vectors? of shape|samples of shape"):
            build((5,), recipes.get(name, base="dm", ipc=2, iterations=1))
    with pytest.raises(ValueError, match=r"haba\(hallucinators=1, contrast=0.1\).*contrast=0"):
        recipes.haba(hallucinators=1)
    with pytest.raises(ValueError, match=r"contrast=-1.*at least 0"):
        recipes.haba(contrast=-1)


def test_a_budget_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ipc=1 is a budget of 192 numbers.*5 decoders.*Use ipc=4 or more"):
        build((1, 8, 8), recipes.haba("dm", ipc=1, **SMALL))
    with pytest.raises(ValueError, match=r"ipc=1 is a budget of.*or fewer decoders"):
        build((1, 8, 8), recipes.kfs(ipc=1, **SMALL))
    with pytest.raises(ValueError, match="9 codes per class"):
        build((1, 8, 8), recipes.haba("dm", ipc=4, bases=9, **SMALL))


def test_diversity_separates_samples_of_one_code() -> None:
    recipe = recipes.haba("dm", ipc=5, hallucinators=2, **{**SMALL, "iterations": 30})
    free, apart = (build((1, 8, 8), replace(recipe).set(terms__1__weight=weight)) for weight in (1e-9, 300.0))

    def gap(condensed: CondensedDataset) -> float:
        pairs = condensed.images.unflatten(0, (-1, 2)).flatten(2)
        return float(1 - torch.cosine_similarity(pairs[:, 0], pairs[:, 1], dim=1).mean())

    assert gap(apart) > gap(free)
