"""The recipe by which a memory condenses: its default, `fast`, and what it makes of a name or a Recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from condensed_data import networks
from condensed_data.core.annotations import checked
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.methods import coresets, recipes
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.centroids import Centroids
from condensed_data.methods.pools import DefaultNetwork
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import LowResolution, MultiFormation, Pixels
from condensed_data.training.context import Context
from condensed_data.training.protocol import OrderedTraining

FAST_ITERATIONS = 150
# at half the sides an iteration takes a quarter of the time, and accuracy kept improving for longer
REDUCED_ITERATIONS = 1000
FEW_SAMPLES = 60  # of a class, at most: measured at 20, 40 and 80 of Fashion-MNIST at 14 x 14 pixels


@dataclass(frozen=True)
class NarrowNetwork(DataDefault):
    """The default network with 32 channels, which takes a tenth of the time, and group normalization.

    The default instance normalization would hide how bright samples are, which networks that are trained on the memory
    without it need.
    """

    def __call__(self, info: DatasetInfo) -> Any:
        name = networks.default_name(info.sample_shape)
        return networks.network(name if name == "mlp" else f"{name}-w32-gn")


@dataclass(frozen=True)
class AutoInit(coresets.Init):
    """Initialize few samples at the centroids of k-means, and many at random real samples.

    A few centroids describe a class better than the same number of its samples; many are more alike than the samples
    of the class are, and networks learn less from them.
    """

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        start = Centroids() if max(sizes) <= FEW_SAMPLES else coresets.Random()
        return start.samples(context, sizes)


@dataclass(frozen=True)
class AutoLearningRate(DataDefault):
    """The learning rate that fits `AutoInit`: 1 for few samples, 0.2 for many, whose variety larger rates destroy."""

    def __call__(self, info: DatasetInfo) -> float:
        return 1.0 if info.ipc <= FEW_SAMPLES else 0.2


@checked
def fast(
    iterations: int = FAST_ITERATIONS,
    lr: float | None = None,
    batch: int = 64,
    init: coresets.Init | None = None,
) -> Recipe:
    """The default recipe of a memory: distribution matching from an initialization that few iterations improve.

    Args:
        iterations: optimization steps per update of the memory.
        lr: of SGD with momentum 0.5; by default `AutoLearningRate`, or 1 with an `init` of your own.
        batch: real samples per class and step.
        init: initialization of the samples; by default `AutoInit`.

    References:
        Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023,
        https://arxiv.org/abs/2110.04181.
    """
    recipe = recipes.dm(iterations=iterations, batch=batch, init=init or AutoInit(), network=NarrowNetwork())
    rate = (AutoLearningRate() if init is None else 1.0) if lr is None else lr
    return recipe.set(name="fast", optimizer__lr=rate)


def memory_recipe(recipe: str | Recipe | None, factor: int, reduced_inputs: bool = False) -> Recipe:
    """The recipe of a memory that stores samples at 1/factor of their sides.

    Args:
        recipe: None for `fast`; text such as "dm" or "dc(lr=0.2)", whose iterations are then cut to `FAST_ITERATIONS`
            (`REDUCED_ITERATIONS` with `reduced_inputs`) and whose default networks become `NarrowNetwork`; or a
            Recipe, used as it is.
        factor: replaces a multi-formation of the recipe.
        reduced_inputs: compare samples as they are stored, instead of enlarging them again and comparing them with
            real ones at full size.

    Raises:
        TypeError: for any other type of `recipe`.
        ValueError: for `reduced_inputs` with factor 1; for a recipe whose result is more than samples with labels, or
            cannot be stored at this factor.
    """
    iterations = REDUCED_ITERATIONS if reduced_inputs else FAST_ITERATIONS
    if isinstance(recipe, str):
        named = recipes.parse(recipe)
        recipe = _shortened(named, iterations) if named.terms else named
    recipe = fast(iterations) if recipe is None else recipe
    _check_recipe(recipe)
    if reduced_inputs and factor == 1:
        raise ValueError("reduced_inputs=True needs a factor above 1. Pass the factor at which samples are stored.")
    synthetic = _stored_at(recipe, factor)
    if reduced_inputs and isinstance(synthetic, LowResolution):
        synthetic = synthetic.inner
    return replace(recipe, synthetic=synthetic)


def _check_recipe(recipe: Any) -> None:
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe={recipe!r} must be the name of a recipe, a Recipe or None.")
    if isinstance(recipe.training, OrderedTraining):
        raise ValueError(
            f"Recipe {recipe.name} makes samples for one training run in one order, but samples are drawn from a "
            "memory in any order. Use another recipe, such as 'dm'."
        )
    if recipe.soft_labels or recipe.synthetic.learns_scores or recipe.labels_from is not None:
        raise ValueError(
            f"Recipe {recipe.name} gives soft labels, which no strategy of Avalanche reads. Use "
            "CondensedBuffer(logits=True) with DER, or a recipe without soft labels."
        )


def _shortened(recipe: Recipe, iterations: int) -> Recipe:
    """The recipe with these iterations, and narrow networks in the place of default ones."""
    terms = []
    for term in recipe.terms:
        pool: Any = term.pool
        is_default = isinstance(getattr(pool, "network", None), DefaultNetwork)
        terms.append(replace(term, pool=replace(pool, network=NarrowNetwork())) if is_default else term)
    return replace(recipe, iterations=iterations, terms=tuple(terms))


def _stored_at(recipe: Recipe, factor: int) -> SyntheticSpec:
    """The synthetic data of a recipe at 1/factor of the sides."""
    synthetic = recipe.synthetic
    if isinstance(synthetic, MultiFormation | LowResolution):
        synthetic = synthetic.inner
    if factor == 1:
        return synthetic
    if not isinstance(synthetic, Pixels):
        raise ValueError(
            f"factor={factor} stores smaller images, but recipe {recipe.name} learns {type(synthetic).__name__}, not "
            "Pixels. Use factor=1, or a recipe that learns pixels."
        )
    return LowResolution(synthetic, factor)
