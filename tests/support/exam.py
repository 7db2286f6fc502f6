"""The entry exam: every recipe with settings for a fast run, and the checks that each one passes.

A new recipe adds one line to `LEARNING` (or `CHOOSING`, if it selects real samples).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data import CondensedDataset, recipes
from condensed_data.core import spec as specs
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.clustering import NearestToCentroids
from condensed_data.methods.synthetic import MultiFormation
from condensed_data.methods.synthetic.soft_labels import Teacher
from condensed_data.networks import ConvNet
from condensed_data.storage import checkpoint
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining

CPU = torch.device("cpu")
ITERATIONS = 4
NET = ConvNet(width=8, depth=2)
TEACHER = Teacher(NET, Pretraining(epochs=8))
BATCH_NET = ConvNet(width=8, depth=2, norm="batch")


def learned(name: str, **options: Any) -> Recipe:
    return recipes.get(name, ipc=2, iterations=ITERATIONS, batch=8, network=NET, **options)


def coreset(name: str) -> Recipe:
    recipe = recipes.get(name, ipc=2)
    if "features" in dict(_fields(recipe)):
        return recipe.set(synthetic__init__features="raw")
    return recipe.set(pretrain=Pretraining(epochs=1))


def _fields(recipe: Recipe) -> list[tuple[str, Any]]:
    init = recipe.synthetic.init  # type: ignore[attr-defined]
    return list(vars(init).items())


def with_short_pools(recipe: Recipe) -> Recipe:
    """The recipe with networks that are replaced after two iterations and trained for one epoch."""
    short = {"pool.epochs": 1, "pool.period": 2, "pool.samples": 16, "pool.interval": 2, "pool.steps": 1}
    terms = []
    for term in recipe.terms:
        known = {f"pool.{field}" for field, _ in specs.iter_fields(term.pool)}
        for path in short.keys() & known:
            term = specs.set_field(term, path, short[path])
        if "pool.pretrain" in known:
            term = specs.set_field(term, "pool.pretrain", Pretraining(epochs=1, networks=1))
        terms.append(term)
    return replace(recipe, terms=tuple(terms))


def quick(name: str, **options: Any) -> Recipe:
    return with_short_pools(learned(name, **options))


def mtt(**options: Any) -> Recipe:
    return learned("mtt", steps=3, experts=2, epochs=2, ahead=1, lr=10.0, **options)


def iid(base: str) -> Recipe:
    return with_short_pools(learned("iid", base=base, extractor=NET))


def unrolled(**options: Any) -> Recipe:
    return learned("dd", step_size=0.1, **({"steps": 1, "epochs": 2} | options))


def haba(base: str, **options: Any) -> Recipe:
    """HaBa with a budget of two bases per class."""
    return quick("haba", base=base, hallucinators=2, **options).set(ipc=4)


LEARNING = {
    "dm": lambda: learned("dm"),
    "dc": lambda: quick("dc"),
    "dsa": lambda: quick("dsa"),
    "idc_i": lambda: quick("idc_i", lr=0.01),
    "idc": lambda: quick("idc", lr=0.01),
    "idc of nine cells": lambda: quick("idc", lr=0.01, factor=3),
    "idm": lambda: quick("idm"),
    "cafe": lambda: quick("cafe"),
    "cafe with augmentation": lambda: quick("cafe", augment=True),
    "iid on dm": lambda: iid("dm"),
    "iid on idm": lambda: iid("idm"),
    "m3d": lambda: quick("m3d"),
    "dance": lambda: quick("dance", lr=0.1),
    "ncfm": lambda: quick("ncfm").set(objective__frequencies=8),
    "frepo": lambda: learned("frepo").set(updates=2),
    "bdm on dc": lambda: quick("bdm", k=3, features="raw"),
    "bdm on dm": lambda: quick("bdm", base="dm", k=3, features="raw", weights="uniform"),
    "bdm on idm": lambda: quick("bdm", base="idm", k=3, features="raw"),
    "bdm_published": lambda: with_short_pools(recipes.bdm_published(2, "raw", batch=8, iterations=ITERATIONS)).set(
        network=BATCH_NET
    ),
    "dsa with the nearest to centroids": lambda: quick("dsa", within=NearestToCentroids("raw", period=2)),
    "dm in several formations": lambda: replace(learned("dm"), synthetic=MultiFormation()),
    "dm class by class": lambda: replace(learned("dm"), step_per="class"),
    "dd": lambda: unrolled(steps=2, epochs=2),
    "dd from fixed weights": lambda: unrolled(fixed=True, unroll="full"),
    "dd over two networks": lambda: unrolled(n_nets=2, unroll="constant"),
    "mtt": lambda: mtt(),
    "mtt in constant memory": lambda: mtt(unroll="constant"),
    "mtt of whitened samples": lambda: mtt(whitening="zca"),
    "mtt with soft labels": lambda: mtt().set(soft_labels=True, rates=(("step_sizes", 1e-5), ("labels", 0.05))),
    "dsa with soft labels": lambda: quick("dsa").set(soft_labels=True),
    "dm of whitened samples, labeled by a teacher": lambda: learned("dm").set(whitening="zca", labels_from=TEACHER),
    "haba on dm": lambda: haba("dm"),
    "haba on idc": lambda: haba("idc"),
    "haba on mtt": lambda: haba("mtt", experts=1, epochs=2, ahead=1, steps=2),
    "kfs": lambda: quick("kfs", channels=1, width=4, codes=3, fit=3),
    "fred on dsa": lambda: quick("fred", base="dsa", fraction=0.25),
}
GROUPED = {
    "debiased on dc": lambda: quick("debiased"),
    "debiased on idc": lambda: quick("debiased", base="idc", lr=0.01),
    "debiased on dm": lambda: quick("debiased", base="dm"),
}
CHOOSING = {name: lambda name=name: coreset(name) for name in ("herding", "k_center", "k_means", "forgetting")}
CHOOSING["random"] = lambda: recipes.random(ipc=2)
EXAM = LEARNING | CHOOSING


def build(source: Any, recipe: Recipe, **options: Any) -> CondensedDataset:
    chosen = {"cache": False, "progress": False, "device": "cpu", "precision": "fp32"} | options
    return CondensedDataset(source, recipe, **chosen)


def start(
    source: Any, recipe: Recipe, groups: Any = None, device: torch.device = CPU, **fields: Any
) -> CondensationRun:
    """A run on the samples of a source; `fields` are those of its `Context`."""
    real = RealData.read(inspect(source), groups, progress=False)
    resolved = recipe.resolve(real.sample_shape, real.class_names, samples=len(real))
    context = Context(real.to(device), resolved.ipc, RandomStreams(0), device, **fields)
    return CondensationRun(resolved, context)


def learned_tensors(run: CondensationRun) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in run.synthetic_data.learned.items()}


def runs_and_repeats(recipe: Recipe, source: Any) -> None:
    first, second = build(source, recipe), build(source, recipe)
    assert torch.isfinite(first.images).all()
    assert torch.equal(first.images, second.images)
    assert set(first.targets) == set(source.tensors[1].tolist())


def every_learned_tensor_moves(recipe: Recipe, source: Any) -> None:
    run = start(source, recipe)
    before = learned_tensors(run)
    for _ in range(2):
        run.step()
    for name, tensor in learned_tensors(run).items():
        assert not torch.equal(tensor, before[name]), name


def resumes_to_the_same_bits(recipe: Recipe, source: Any, folder: Path) -> None:
    whole = start(source, recipe)
    for _ in range(ITERATIONS):
        whole.step()
    first, second = start(source, recipe), start(source, recipe)
    for _ in range(ITERATIONS // 2 + 1):
        first.step()
    checkpoint.write(folder / "state", first.state_dict(), {})
    second.load_state_dict(checkpoint.read(folder / "state", {}))
    while second.iteration < ITERATIONS:
        second.step()
    for name, tensor in learned_tensors(whole).items():
        assert torch.equal(tensor, learned_tensors(second)[name]), name


def survives_saving(recipe: Recipe, source: Any, folder: Path) -> None:
    condensed = build(source, recipe)
    condensed.save(folder / "saved")
    loaded = CondensedDataset.load(folder / "saved")
    assert torch.equal(condensed.images, loaded.images)
    assert condensed.targets == loaded.targets
    assert condensed.recipe == loaded.recipe


def core(recipe: Recipe, source: Any, folder: Path) -> None:
    """The checks that every recipe that learns must pass."""
    runs_and_repeats(recipe, source)
    every_learned_tensor_moves(recipe, source)
    resumes_to_the_same_bits(recipe, source, folder)
    survives_saving(recipe, source, folder)
