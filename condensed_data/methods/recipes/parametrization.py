"""Replaces the pixels of a recipe by another parametrization of samples, and chooses its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from condensed_data.core import spec as specs
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec
from condensed_data.core.validation import check_choice
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.recipe import Optimizer, Recipe
from condensed_data.methods.synthetic import Pixels, WithSteps
from condensed_data.methods.synthetic.step_sizes import NAME

ADAM_RATE = 0.03
STEP_SIZE_FACTOR = 1e-3  # learning rate of a learned step size, as a fraction of the step size
SMALLEST_STEP = 1e-3  # to which HaBa and FreD clip a learned step size
BASES = "dm, dc, dsa, idc or mtt"


@dataclass(frozen=True)
class ScaledValue(DataDefault):
    """Another default value, multiplied by a factor."""

    value: float | DataDefault
    factor: float = STEP_SIZE_FACTOR

    def __call__(self, info: DatasetInfo) -> float:
        value = self.value(info) if isinstance(self.value, DataDefault) else self.value
        return self.factor * value


@dataclass(frozen=True)
class CoefficientRate(DataDefault):
    """A published learning rate of FreD's coefficients, converted to those of the orthonormal transform.

    The authors' coefficients are sqrt(2 S) times as large for every side of S pixels, and so a step of SGD at their
    rate moves pixels as one at the rate divided by all 2 S. Along a side where the frequency is 0, their coefficients
    are sqrt(4 S) times as large; that such a coefficient would move half as far is left out.
    """

    published: float

    def __call__(self, info: DatasetInfo) -> float:
        return self.published / prod(2 * side for side in info.sample_shape[1:])


def with_parametrization(base: Recipe, name: str, make: Callable[[Pixels], SyntheticSpec]) -> Recipe:
    """The base with the synthetic data that `make` returns in the place of its pixels, inside the same wrappers.

    Raises:
        ValueError: for a base that does not learn pixels.
    """
    if not base.terms:
        raise ValueError(f"Cannot use {name} with base={base.name!r}, which learns nothing. Use {BASES}.")
    return replace(base, name=f"{name}_{base.name}", synthetic=_replace_pixels(base.synthetic, make, name, base.name))


def optimizer_of(
    combined: Recipe,
    base: Recipe,
    kind: str,
    lr: float | None,
    rates: Mapping[str, float | DataDefault],
    momentum: float,
) -> Optimizer:
    """The optimizer of `combined`, which is `base` with other synthetic data.

    Args:
        kind: "adam", whose steps do not depend on the scale of the loss, or "sgd". Step sizes have a rate of their own:
            with "sgd" that of the base.
        lr: learning rate; None for `ADAM_RATE`, or the one that is published for "sgd".
        rates: published rates of "sgd", by the name of the base.
        momentum: of "sgd".
    """
    check_choice(combined.name, "optimizer", kind, ("adam", "sgd"))
    if kind == "adam":
        step_rates = _step_rates(combined.synthetic)
        rate = ADAM_RATE if lr is None else lr
        return replace(base.optimizer, kind=kind, lr=rate, betas=(0.9, 0.999), rates=step_rates)
    if lr is None and base.name not in rates:
        raise ValueError(
            f"{combined.name}: no learning rate of SGD is published with base={base.name!r}. Give lr=, or use "
            "optimizer='adam'."
        )
    return replace(base.optimizer, kind=kind, lr=rates[base.name] if lr is None else lr, momentum=momentum)


def _replace_pixels(
    part: SyntheticSpec, make: Callable[[Pixels], SyntheticSpec], name: str, base: str
) -> SyntheticSpec:
    """`part` with its innermost `Pixels` replaced; plain step sizes stay above `SMALLEST_STEP`."""
    if isinstance(part, Pixels):
        return make(part)
    inner = getattr(part, "inner", None)
    if not isinstance(inner, SyntheticSpec):
        raise ValueError(
            f"Cannot use {name} with base={base!r}: its samples are already parametrized by {type(part).__name__}. "
            f"Use a base that learns pixels, such as {BASES}."
        )
    if isinstance(part, WithSteps) and part.form == "plain":
        part = replace(part, smallest=SMALLEST_STEP)
    return specs.set_field(part, "inner", _replace_pixels(inner, make, name, base))


def _step_rates(part: Spec) -> tuple[tuple[str, float | DataDefault], ...]:
    """The learning rate of learned step sizes, as the optimizer's `rates`.

    Adam changes a tensor by about its learning rate per iteration: here by `STEP_SIZE_FACTOR` of a plain step size, and
    by nearly that fraction if the step size is the softplus of a number far below zero.
    """
    if isinstance(part, WithSteps):
        return ((NAME, ScaledValue(part.lr) if part.form == "plain" else STEP_SIZE_FACTOR),)
    inner = getattr(part, "inner", None)
    return _step_rates(inner) if isinstance(inner, Spec) else ()
