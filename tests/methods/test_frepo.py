"""FRePo equals a naive loop of the authors' procedure; its defaults are theirs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exam import start
from oracles_ridge import NaiveFRePo
from pyarrow import parquet
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, condense_tensors, networks, recipes
from condensed_data.core import spec as specs
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.frepo_augment import OPERATIONS, FRePoAugment
from condensed_data.methods.objectives import CrossEntropy
from condensed_data.methods.recipe import Optimizer, Recipe
from condensed_data.methods.synthetic import MultiFormation, Pixels, WithScores
from condensed_data.networks import MLP, ConvNet, ConvNet1d, DoublingConvNet
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import frepo, quick

NET = DoublingConvNet(4, 2, "batch")
QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "precision": "fp32", "cache": False}
SHORT = replace(frepo(), name="short", max_steps=60, warmup=10, lr=0.01)


def tiny(**options: Any) -> Recipe:
    return recipes.frepo(2, **({"iterations": 3, "batch": 16, "network": NET} | options))


def color() -> TensorDataset:
    """Three classes of ten samples (3, 8, 8)."""
    labels = torch.arange(30) % 3
    means = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return TensorDataset(means[labels] + torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(2)), labels)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_run_equals_the_naive_loop(mirror: bool) -> None:
    iterations, batch, lr = 12, 16, 0.02
    recipe = tiny(iterations=iterations, batch=batch, lr=lr, mirror=mirror, whitening="none")
    run = start(color(), recipe.set(pool__networks=3, pool__updates=3))
    rng, real = run.context.rng, run.context.real
    images, scores = (run.synthetic_data.learned[name].detach().double() for name in ("images", "labels"))

    def network(number: int) -> Any:
        return networks.build(NET, 3, (3, 8, 8), rng.seed_for("network", number)).double()

    def look(iteration: int) -> int:
        return int(rng.choice("online look", iteration, 0, 3, 1))

    naive = NaiveFRePo(
        images.requires_grad_(), scores.requires_grad_(), network, look, pool=3, updates=3, mirror=mirror
    )
    first = images.detach().clone()
    for iteration in range(iterations):
        rows = rng.choice("real", iteration, 0, len(real), batch)
        decayed = lr * (0.1 + 0.9 * (1 + math.cos(math.pi * iteration / iterations)) / 2)
        loss = naive.iteration(iteration, real[rows].double(), real.labels[rows], decayed)
        assert float(run.step()) == pytest.approx(loss, rel=1e-3)
    assert naive.created > 3  # networks were replaced
    moved = (images - first).norm()
    for name, expected in (("images", images), ("labels", scores)):
        assert (run.synthetic_data.learned[name].detach() - expected.detach()).norm() < 0.01 * moved


def test_published_defaults() -> None:
    recipe = recipes.frepo().resolve((1, 28, 28), ["shirt", "bag"], samples=60_000)
    assert (recipe.iterations, recipe.step_per) == (500_000, "iteration")
    assert recipe.optimizer == Optimizer("lamb", lr=3e-4, final=0.1)
    assert recipe.synthetic == WithScores(Pixels())
    fields = dict(specs.iter_fields(recipe.terms[0]))
    assert (fields["sampler.batch"], fields["sampler.steps"], fields["objective.regularization"]) == (1024, 1, 1e-6)
    assert (fields["pool.networks"], fields["pool.updates"], fields["pool.sgd.lr"]) == (10, 100, 3e-4)
    assert fields["pool.network"] == DoublingConvNet(128, 3, "batch")
    larger = recipes.frepo().resolve((3, 64, 64), ["cat", "dog"])
    assert dict(specs.iter_fields(larger))["terms.0.pool.network"] == DoublingConvNet(depth=4, norm="batch")


@pytest.mark.parametrize(
    ("shape", "classes", "ipc", "mirror", "whitening"),
    [
        ((1, 28, 28), [str(i) for i in range(10)], 10, False, "none"),  # MNIST
        ((1, 28, 28), [f"garment {i}" for i in "abcdefghij"], 50, False, "none"),  # Fashion-MNIST
        ((3, 32, 32), [f"animal {i}" for i in "abcdefghij"], 50, True, "zca"),  # CIFAR-10
        ((3, 32, 32), [f"animal {i}" for i in range(100)], 1, True, "zca"),  # CIFAR-100
        ((3, 32, 32), [f"animal {i}" for i in range(100)], 10, False, "zca"),
        ((3, 64, 64), [f"animal {i}" for i in range(200)], 1, True, "none"),  # Tiny-ImageNet
        ((3, 128, 128), [f"dog {i}" for i in range(10)], 1, True, "none"),  # ImageWoof
        ((3, 32, 32), [str(i) for i in range(10)], 1, False, "zca"),  # SVHN, which the authors do not use
        ((2, 40), ["a walk", "a run"], 1, False, "none"),
        ((20,), ["yes", "no"], 1, False, "none"),
    ],
)
def test_defaults_by_data(shape: Any, classes: list[str], ipc: int, mirror: bool, whitening: str) -> None:
    fields = dict(specs.iter_fields(recipes.frepo(ipc).resolve(shape, classes)))
    assert fields["terms.0.objective.mirror"] is mirror
    assert fields["whitening"] == whitening
    assert isinstance(fields["terms.0.pool.network"], {1: MLP, 2: ConvNet1d, 3: DoublingConvNet}[len(shape)])


@pytest.mark.parametrize(("shape", "network"), [((2, 16), ConvNet1d(4, 1)), ((9,), MLP(8))])
def test_signals_and_vectors(shape: Any, network: Any) -> None:
    x = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    images, scores = condense_tensors(x, torch.arange(12) % 3, tiny(network=network), device="cpu", precision="fp32")
    assert images.shape == (6, *shape)
    assert scores.shape == (6, 3)
    assert bool((scores < 0).any())
    with pytest.raises(ValueError, match=r"RidgeRegression\(mirror=True\) needs images"):
        condense_tensors(x, torch.arange(12) % 3, tiny(network=network, mirror=True), device="cpu", precision="fp32")


@pytest.mark.parametrize("inner", [Pixels(), MultiFormation()])
def test_scores_are_stored_and_evaluated(
    inner: Any, tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    recipe = replace(tiny(iterations=40, lr=0.01), synthetic=WithScores(inner), training=SHORT)
    condensed = CondensedDataset(tiny_images, recipe, soft=True, **QUIET)
    assert condensed.metadata.label_kind == "scores"
    assert condensed.targets == condensed.labels.argmax(1).tolist()
    assert torch.equal(condensed[0][1], condensed.labels[0])
    condensed.save(tmp_path / "saved")
    stored = json.loads((tmp_path / "saved" / "condensed.json").read_text())
    assert (stored["label"], stored["encoding"]["part"]) == ({"kind": "scores"}, type(inner).__name__)
    assert "scores to regress on" in (tmp_path / "saved" / "README.md").read_text()
    table = parquet.read_table(next((tmp_path / "saved" / "data").glob("*.parquet")))
    assert table["label"].to_pylist() == condensed.targets
    loaded = CondensedDataset.load(tmp_path / "saved")
    assert torch.equal(loaded.labels, condensed.labels)
    assert torch.equal(loaded.images, condensed.images)
    options: dict[str, Any] = {"runs": 2, "progress": False, "device": "cpu", "precision": "fp32"}
    regressed = loaded.evaluate(tiny_test_images, DoublingConvNet(4, 2, "none"), **options)
    assert regressed.training.loss == "squared_error"  # type: ignore[union-attr]
    assert regressed.mean > 0.6
    classified = loaded.evaluate(tiny_test_images, ConvNet(8, 1), training=replace(quick(), epochs=60), **options)
    assert classified.mean > 0.6


def test_what_does_not_fit_is_refused(tiny_images: TensorDataset) -> None:
    with pytest.raises(ValueError, match=r"soft_labels=True and WithScores both learn the labels"):
        tiny().set(soft_labels=True)
    with pytest.raises(ValueError, match=r"cannot learn scores with WithScores: CrossEntropy needs classes"):
        tiny().set(terms=(replace(tiny().terms[0], objective=CrossEntropy()),))
    with pytest.raises(ValueError, match=r"Optimizer\('lamb'\) scales a step.*cannot step class by class"):
        tiny().set(step_per="class")
    with pytest.raises(ValueError, match=r"Use TrainingSteps\(steps=1, batch=1024\)"):
        start(tiny_images, tiny(batch=0))


def test_hard_labels_are_regressed_on_too(tiny_images: TensorDataset) -> None:
    condensed = CondensedDataset(tiny_images, tiny().set(synthetic=Pixels()), **QUIET)
    assert condensed.metadata.label_kind == "index"
    assert torch.isfinite(condensed.images).all()


def test_the_protocol() -> None:
    def resolved(classes: int, ipc: int, names: str = "animal") -> Training:
        return specs.resolve(frepo(), DatasetInfo((3, 32, 32), tuple(f"{names} {i}" for i in range(classes)), ipc))

    for (classes, ipc), steps in {
        (10, 1): 1000,
        (10, 10): 2000,
        (10, 50): 5000,
        (200, 1): 20_000,
        (100, 10): 10_000,
        (100, 50): 40_000,
        (10, 12): 2000,
        (2, 1): 1000,
        (10, 20): 2000,
    }.items():
        assert resolved(classes, ipc).steps(classes * ipc) == steps
    assert resolved(10, 1).augment == FRePoAugment(OPERATIONS)
    assert resolved(10, 1, "").augment == FRePoAugment(OPERATIONS[1:])  # digits
    assert frepo().label == "frepo protocol"
    assert resolved(10, 1).label == "frepo protocol, 1000 steps"
