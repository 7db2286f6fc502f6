"""From real samples to the ones that a memory keeps, by any recipe that learns samples.

Letters: n real samples, N kept ones, K cells (a class of one task).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.device import choose_precision
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.source import inspect
from condensed_data.engine.job import CondensationJob
from condensed_data.methods import coresets, recipes
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.centroids import Centroids
from condensed_data.methods.pools import DefaultNetwork
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import MultiFormation, Pixels, Reduced
from condensed_data.methods.synthetic.low_resolution import reduce
from condensed_data.training.context import Context
from condensed_data.training.protocol import OrderedTraining

FAST_ITERATIONS = 150
SMALL_ITERATIONS = (
    1000  # at half the sides an iteration takes a quarter of the time, and more of them went on to help
)
FEW = 60  # samples of a class: measured at 20, 40 and 80 of Fashion-MNIST at 14 x 14 pixels


@dataclass(frozen=True)
class NarrowNetwork(DataDefault):
    """The usual network with 32 channels, which take a tenth of the time, normalized by groups of them.

    Normalization by single channels, the usual one, would hide how bright samples are; networks without it that
    are trained on the memory need that.
    """

    def __call__(self, facts: DatasetInfo) -> Any:
        name = networks.default_name(facts.sample_shape)
        return networks.network(name if name == "mlp" else f"{name}-w32-gn")


@dataclass(frozen=True)
class AutoInit(coresets.Init):
    """Few samples begin at the centroids of k-means, many at random real ones.

    Few centroids say more of a class than as many of its samples; many are more alike than its samples are, and
    networks learn less from them.

    Args:
        few: samples of a class up to which they are few.
    """

    few: int = FEW

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        start = Centroids() if max(sizes) <= self.few else coresets.Random()
        return start.samples(context, sizes)


@dataclass(frozen=True)
class AutoLearningRate(DataDefault):
    """A learning rate for what `AutoInit` begins: 1 for few samples; 0.2 for many, whose variety larger ones undo."""

    few: int = FEW

    def __call__(self, facts: DatasetInfo) -> float:
        return 1.0 if facts.ipc <= self.few else 0.2


def fast(
    iterations: int = FAST_ITERATIONS,
    lr: float | None = None,
    batch: int = 64,
    init: coresets.Init | None = None,
) -> Recipe:
    """The default of a memory: distribution matching from a good start, which few iterations change for the better.

    Args:
        iterations: optimization steps an update.
        lr: of SGD with momentum 0.5; `AutoLearningRate` from the usual start, else 1.
        batch: real samples per class and step.
        init: where the samples begin; `AutoInit`.

    References:
        Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023,
        https://arxiv.org/abs/2110.04181.
    """
    begun = recipes.dm(iterations=iterations, batch=batch, init=init or AutoInit(), network=NarrowNetwork())
    rate = (AutoLearningRate() if init is None else 1.0) if lr is None else lr
    return begun.set(name="fast", optimizer__lr=rate)


def chosen(recipe: str | Recipe | None, factor: int, reduced_inputs: bool = False) -> Recipe:
    """The recipe of a memory, storing samples at 1/factor of their sides.

    Args:
        recipe: None for `fast`; a name or a call as text, such as "dm" or "dc(lr=0.2)", whose iterations are then cut
            to `FAST_ITERATIONS` (`SMALL_ITERATIONS` for reduced inputs) and whose usual networks are `NarrowNetwork`; or a Recipe,
            taken as it is.
        factor: what a recipe's own multi-formation is replaced by.
        reduced_inputs: compare samples as they are stored, instead of enlarged again with real ones at full size.

    Raises:
        TypeError: for anything else.
        ValueError: for reduced inputs that are not smaller; for recipes whose result is more than samples with labels,
            or cannot be reduced.
    """
    iterations = SMALL_ITERATIONS if reduced_inputs else FAST_ITERATIONS
    if isinstance(recipe, str):
        named = recipes.parse(recipe)
        recipe = _shortened(named, iterations) if named.terms else named
    recipe = fast(iterations) if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe={recipe!r} must be a name, a Recipe or None.")
    if isinstance(recipe.training, OrderedTraining):
        raise ValueError(
            f"recipe {recipe.name} makes samples for one training run in one order; a memory is drawn from in any. "
            "Use another recipe, such as 'dm'."
        )
    if recipe.soft_labels or recipe.labels_from is not None:
        raise ValueError(
            f"recipe {recipe.name} gives soft labels, which no host of Avalanche reads. Use "
            "CondensedBuffer(logits=True) with DER, or a recipe without them."
        )
    if reduced_inputs and factor == 1:
        raise ValueError("reduced_inputs=True needs a factor above 1, at which samples are kept.")
    stored = _stored_as(recipe, factor)
    return replace(
        recipe, synthetic=stored.inner if reduced_inputs and isinstance(stored, Reduced) else stored
    )


def _shortened(recipe: Recipe, iterations: int) -> Recipe:
    terms = []
    for term in recipe.terms:
        pool: Any = term.pool
        usual = isinstance(getattr(pool, "network", None), DefaultNetwork)
        terms.append(replace(term, pool=replace(pool, network=NarrowNetwork())) if usual else term)
    return replace(recipe, iterations=iterations, terms=tuple(terms))


def _stored_as(recipe: Recipe, factor: int) -> SyntheticSpec:
    part = recipe.synthetic
    if isinstance(part, MultiFormation | Reduced):
        part = part.inner
    if factor == 1:
        return part
    if not isinstance(part, Pixels):
        raise ValueError(
            f"factor={factor} stores smaller samples, and recipe {recipe.name} stores a {type(part).__name__}. "
            "Use factor=1, or a recipe that learns pixels."
        )
    return Reduced(part, factor)


def condense(
    sources: Sequence[Tensor],
    counts: Sequence[int],
    recipe: Recipe,
    factor: int,
    seed: int,
    device: torch.device,
    precision: str = "auto",
) -> list[Tensor]:
    """Condense the samples of K cells together.

    Args:
        sources: of every cell, samples (n, *shape) float32, of the size that `compares_full_size` says.
        counts: samples to keep of every cell, at least 1.
        recipe: from `chosen`.
        factor: what it was chosen with.
        seed: non-negative.
        device, precision: where and how to compute.

    Returns:
        Of every cell, `counts[k]` samples as they are stored, float32 in the value space of `sources`.

    Raises:
        ValueError: for a single cell where the recipe learns from labels; for a recipe that whitens reduced samples.
    """
    _check_cells(recipe, len(sources))
    samples = torch.cat(list(sources))
    labels = torch.arange(len(sources)).repeat_interleave(torch.tensor([len(rows) for rows in sources]))
    recipe = replace(recipe, ipc=max(counts))
    shape = tuple(samples.shape[1:])
    # the weights that are learned come from the tape, also where a host calls without one
    with preserve_rng_state(), torch.enable_grad():
        source = inspect(TensorDataset(samples, labels))
        specs.validate(recipe, shape)
        _check_whitening(recipe, factor, shape, len(samples))
        job = CondensationJob(
            source, recipe, seed, device, choose_precision(precision, device), progress=False
        )
        result = job.run_uncached()
    rows = result.images
    if compares_full_size(recipe):
        assert result.stored is not None
        rows = result.metadata.space.restore(result.stored["images"])
    kept = [rows[result.labels == cell] for cell in range(len(sources))]
    return [_first(found, count, recipe) for found, count in zip(kept, counts, strict=True)]


def compares_full_size(recipe: Recipe) -> bool:
    """Whether a recipe compares what it stores enlarged, with samples at full size; else both as they are stored."""
    return isinstance(recipe.synthetic, Reduced)


def reads_labels(recipe: Recipe) -> bool:
    """Whether a recipe learns from what tells classes apart."""
    return any(term.objective.reads_labels for term in recipe.terms)


def _first(rows: Tensor, count: int, recipe: Recipe) -> Tensor:
    if len(rows) < count:
        raise ValueError(
            f"recipe {recipe.name} made {len(rows)} samples of a class where {count} are kept. Use a recipe that "
            "learns pixels."
        )
    return rows[:count]


def _check_cells(recipe: Recipe, cells: int) -> None:
    if cells > 1 or not reads_labels(recipe):
        return
    raise ValueError(
        f"recipe {recipe.name} learns from what tells classes apart, and only one class came. Use a recipe that "
        "compares samples, such as 'dm', or experiences of two classes and more."
    )


def _check_whitening(recipe: Recipe, factor: int, shape: tuple[int, ...], samples: int) -> None:
    if factor > 1 and recipe.resolve(shape, (), samples=samples).whitening != "none":
        raise ValueError(
            f"recipe {recipe.name} whitens samples, and factor={factor} stores them smaller. Use factor=1, or "
            "recipe.set(whitening='none')."
        )


def small(samples: Tensor, factor: int) -> Tensor:
    """Real samples as a memory keeps them: (n, *shape) -> (n, *shape / factor)."""
    return reduce(samples.float(), factor)


def names_of(recipe: Recipe) -> dict[str, Any] | None:
    """The recipe in JSON, or None where it holds a callable without a name."""
    try:
        return recipe.to_json()
    except specs.UnnamedCallableError:
        return None
