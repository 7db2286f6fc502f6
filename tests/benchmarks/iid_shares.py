"""How much each term of a recipe adds to the gradient of the synthetic samples, and how far these are from centers.

Letters: B synthetic samples, D features.
"""

from __future__ import annotations

from statistics import fmean

import torch
from rows import Row
from torch import Tensor

from condensed_data import CondensedDataset
from condensed_data.core.device import choose_precision
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import Centralization
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import default_root
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache

DRAWS = 3  # iterations whose networks, batches and augmentations are averaged over
CPU = torch.device("cpu")


def shares(real: RealData, condensed: CondensedDataset, seed: int) -> Row:
    """Measured at the initial samples of a result and at its last ones.

    Returns:
        `start` and `end`, each the mean over `DRAWS` iterations: by the name of each term's objective the norm of its
        gradient, weight included, over the sum of these norms; and, with centralization, `distance`, the median of the
        squared distances of augmented samples to the mean of their class under an extractor.
    """
    recipe = condensed.recipe
    assert isinstance(recipe, Recipe)
    store = PretrainedCache(default_root() / "networks", condensed.metadata.fingerprint)
    precision = choose_precision("auto", CPU)
    context = Context(real, recipe.ipc, RandomStreams(seed), CPU, precision, compiles=False, network_store=store)
    run = CondensationRun(recipe, context)
    start = _measure(run)
    final = condensed.stored or {"images": real.space.standardize(condensed.images)}
    run.synthetic_data.load_state_dict(final)
    return {"start": start, "end": _measure(run)}


def _measure(run: CondensationRun) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for iteration in range(DRAWS):
        run.parts.iteration = iteration
        norms = {type(term.objective).__name__: _norm(run, number) for number, term in enumerate(run.recipe.terms)}
        for name, norm in norms.items():
            found.setdefault(name, []).append(norm / sum(norms.values()))
        for term in run.recipe.terms:
            if isinstance(term.objective, Centralization):
                pair = run.draw(term, range(run.context.real.num_groups)).materialize(run.context, run.synthetic_data)
                embedded = run.pool_states[term.pool].network_at(iteration).embed(pair.synthetic.x).detach()
                centers = pair.synthetic.repeat_per_block(pair.synthetic.means(embedded))
                found.setdefault("distance", []).append(float((embedded - centers).square().sum(1).median()))
    return {name: fmean(values) for name, values in found.items()}


def _norm(run: CondensationRun, number: int) -> float:
    """The norm of the gradient of one term, over all learned tensors."""
    learned: list[Tensor] = list(run.synthetic_data.learned.values())
    gradients = torch.autograd.grad(run.loss(range(run.context.real.num_groups), [number]), learned)
    return float(sum(gradient.double().square().sum() for gradient in gradients)) ** 0.5


def text_of(parts: dict[str, float]) -> str:
    """Such as "Distribution 60 %, Covariance 25 %, Centralization 15 %, distance 3.1"."""
    named = [f"{name} {100 * share:.1f} %" for name, share in parts.items() if name != "distance"]
    return ", ".join(named + ([f"distance {parts['distance']:.2f}"] if "distance" in parts else []))
