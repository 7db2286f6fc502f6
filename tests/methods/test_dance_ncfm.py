"""Short runs of DANCE and NCFM equal a loop that follows the authors' code step by step, with PyTorch's own tools.

Letters: K classes, B rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pool_data import context, small_real
from torch import Tensor, nn

from condensed_data import networks, recipes
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import CrossEntropy
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.by_group import PerGroup, SyntheticPerGroup
from condensed_data.methods.stopping import Plateau
from condensed_data.networks import ConvNet
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import initial_network, trained_networks

NETWORK = ConvNet(width=8, depth=1)
TRAINING = Pretraining(epochs=2, networks=2, sgd=SGDConfig(0.05, 0.9, batch_size=16))
Distance = Callable[[Tensor, Tensor, int], Tensor]  # features of real (B, D) and synthetic (B, D), iteration -> scalar


def started(recipe: Recipe) -> tuple[CondensationRun, Context]:
    """A run without augmentation on all samples of two classes."""
    plain = replace(recipe, terms=tuple(replace(term, augment=Identity()) for term in recipe.terms))
    ctx = context(small_real((1, 8, 8), (14, 9)))
    return CondensationRun(plain.resolve((1, 8, 8), ("a", "b")), ctx), ctx


def loaded(weights: dict[str, Tensor]) -> nn.Module:
    module = networks.build(NETWORK, 2, (1, 8, 8), 0)
    module.load_state_dict(weights)
    return module.requires_grad_(False)


def decoded(images: Tensor) -> Tensor:
    """The four quarters of every image, at its size."""
    quarters = [images[:, :, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
    return F.interpolate(torch.cat(quarters), size=8, mode="bilinear")


class Authors:
    """DANCE.py and condense_script.py: a loop over classes by the distance, then one by the cross-entropy."""

    def __init__(self, run: CondensationRun, ctx: Context, distance: Distance) -> None:
        data: Any = run.synthetic_data
        self.low, self.width = data.inner.low, data.inner.width  # the unit range in the standardized space
        self.images = data.inner.units.detach().clone().requires_grad_()
        self.labels, self.ctx, self.distance = run.synthetic_data.labels[::4], ctx, distance
        self.trained = [network.weights for network in trained_networks(ctx, NETWORK, TRAINING)]

    def networks(self, iteration: int) -> tuple[nn.Module, nn.Module]:
        """Interpolated and trained; their draws are the run's."""
        index = int(self.ctx.rng.choice("pretrained", iteration, 0, 2, 1))
        share = float(self.ctx.rng.uniform("interpolate", iteration, [0], 1))
        start, end = initial_network(self.ctx, NETWORK, index).state_dict(), self.trained[index]
        return loaded({name: share * start[name] + (1 - share) * end[name] for name in end}), loaded(end)

    def iterate(self, iteration: int, optimizer: torch.optim.Optimizer) -> float:
        between, end = self.networks(iteration)
        self.images.data = self.images.data.clamp(0, 1)
        total, real = 0.0, self.ctx.real

        def step(loss: Tensor) -> None:
            nonlocal total
            total += float(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        for label in range(2):
            features = between.embed(real[real.members[label]])  # type: ignore[operator]
            step(self.distance(features, between.embed(self.rows(label)), iteration))  # type: ignore[operator]
        for label in range(2):
            logits = end(self.rows(label))
            step(F.cross_entropy(logits, torch.full((len(logits),), label)))
        return total

    def rows(self, label: int) -> Tensor:
        return self.low + self.width * decoded(self.images[self.labels == label])


def squared_difference(real: Tensor, synthetic: Tensor, iteration: int) -> Tensor:
    return (real.mean(0) - synthetic.mean(0)).square().sum()


def characteristic(ctx: Context) -> Distance:
    def distance(real: Tensor, synthetic: Tensor, iteration: int) -> Tensor:
        noise = torch.randn(16, real.shape[1], generator=ctx.rng.torch("frequencies", iteration))
        a, b = (F.normalize(rows, dim=1) @ noise.T for rows in (real, synthetic))
        (x, y), (u, v) = (a.cos().mean(0), a.sin().mean(0)), (b.cos().mean(0), b.sin().mean(0))
        sizes = (x**2 + y**2).sqrt(), (u**2 + v**2).sqrt()
        amplitude = (sizes[0] - sizes[1]) ** 2
        phase = (2 * (sizes[0] * sizes[1] - x * u - y * v)).clamp(min=1e-12)
        return 300 * (0.5 * amplitude + 0.5 * phase).sqrt().mean()

    return distance


def options(**others: Any) -> dict[str, Any]:
    return {"ipc": 2, "iterations": 6, "batch": 64, "network": NETWORK, "pretrain": TRAINING, "factor": 2, **others}


def compare(run: CondensationRun, authors: Authors, optimizer: torch.optim.Optimizer, scheduler: Any = None) -> None:
    start = authors.images.detach().clone()
    for iteration in range(6):
        loss, expected = run.step(), authors.iterate(iteration, optimizer)
        assert float(loss) == pytest.approx(expected, rel=1e-4)
        torch.testing.assert_close(run.synthetic_data.learned["images"], authors.images.clamp(0, 1), rtol=0, atol=1e-5)
        if scheduler is not None:
            scheduler.step(expected / 2)
    assert float((authors.images - start).detach().abs().mean()) > 1e-3


def test_dance_steps_for_each_class_by_each_term() -> None:
    run, ctx = started(recipes.dance(**options(lr=0.05)))
    authors = Authors(run, ctx, squared_difference)
    compare(run, authors, torch.optim.SGD([authors.images], 0.05, momentum=0.5))


def test_ncfm_steps_for_each_class_by_each_term_and_halves_its_rate() -> None:
    recipe = recipes.ncfm(**options(sampling_lr=0.0)).set(objective__frequencies=16)
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, plateau=Plateau(patience=1)))
    run, ctx = started(recipe)
    authors = Authors(run, ctx, characteristic(ctx))
    optimizer = torch.optim.AdamW([authors.images], 1e-3, weight_decay=5e-4)
    compare(run, authors, optimizer, torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1))
    assert optimizer.param_groups[0]["lr"] < 1e-3


def test_the_sampling_network_learns_after_every_step() -> None:
    run, _ = started(recipes.ncfm(**options()).set(objective__frequencies=16))
    run.step()
    loss: Any = run.losses[0]
    assert int(loss.state_dict()["optimizer"]["state"][0]["step"]) == 2


def test_calibration_reads_no_real_samples() -> None:
    for recipe in (recipes.dance(), recipes.ncfm()):
        matching, calibration = recipe.terms
        assert isinstance(calibration.objective, CrossEntropy)
        assert isinstance(calibration.sampler, SyntheticPerGroup)
        assert isinstance(matching.sampler, PerGroup)
        assert calibration.sampler.most == matching.sampler.synthetic
        assert calibration.pool == replace(matching.pool, interpolate=None)  # type: ignore[type-var]


COLOR = ((3, 32, 32), [f"animal {number}" for number in range(10)])
RATES = [
    ("dance", "cifar10", 1, 0.01),
    ("dance", "cifar10", 20, 0.2),
    ("dance", "fashion-mnist", 100, 1.0),
    ("dance", "imagenet-subset", 10, 1.0),
    ("ncfm", "cifar10", 10, 0.001),
    ("ncfm", "cifar100", 10, 0.01),
    ("ncfm", "cifar100", 50, 0.001),
]


@pytest.mark.parametrize(("name", "dataset", "ipc", "lr"), RATES)
def test_published_rates(name: str, dataset: str, ipc: int, lr: float) -> None:
    info = DatasetInfo(COLOR[0], tuple(COLOR[1]), ipc, dataset=dataset)
    recipe = recipes.get(name, ipc=ipc)
    assert recipe.optimizer.lr(info) == pytest.approx(lr)  # type: ignore[operator]
    assert recipe.terms[0].pool.pretrain.epochs(info) == (80 if dataset == "imagenet-subset" else 60)  # type: ignore[attr-defined]


def test_published_samples_and_networks() -> None:
    dance, ncfm = (recipes.get(name, ipc=50).resolve(*COLOR) for name in ("dance", "ncfm"))
    for recipe, networks_, batch, most in ((dance, 5, 64, 200), (ncfm, 20, 128, None)):
        pretrain: Any = recipe.terms[0].pool.pretrain  # type: ignore[attr-defined]
        augment = SiameseAugment(("crop",), ("color",), per_sample=True)
        assert (pretrain.networks, pretrain.sgd) == (networks_, SGDConfig(0.01, 0.9, 5e-4, batch, augment, 0.5))
        rates = [pretrain.lr_at(epoch) for epoch in (0, 39, 40, 49, 50, 59)]
        assert rates == pytest.approx([0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004])
        assert recipe.terms[0].sampler.synthetic == most  # type: ignore[attr-defined]
    assert (ncfm.optimizer.kind, ncfm.optimizer.weight_decay) == ("adamw", 5e-4)
    assert ncfm.optimizer.plateau == Plateau(500, 0.5)
