"""Methods that learn what samples are made of: codes and decoders, or frequencies, in the place of values.

`haba` and `fred` take any base recipe and exchange what it learns, inside whatever stands around that: the step sizes
of `mtt`, the several formations of `idc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from condensed_data.core.spec import DataDefault, DatasetInfo, Spec
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.objectives import Distribution, Diversity
from condensed_data.methods.pools import Critic, DefaultNetwork, TrainedOnReal
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import get_base, register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.decoder_pairs import DecoderPairs
from condensed_data.methods.synthetic import (
    Factorized,
    Frequency,
    Hallucinator,
    LatentDecoder,
    Pixels,
    WithSteps,
)
from condensed_data.methods.synthetic.step_sizes import NAME

__all__ = ["fred", "haba", "kfs"]

STEP_SHARE = 1e-3  # of itself that Adam moves a learned step size in an iteration
BASES = "dm, dc, dsa, idc or mtt"


@dataclass(frozen=True)
class ScaledValue(DataDefault):
    """A share of another value, by default that of a step size which it may move in an iteration."""

    value: float | DataDefault
    share: float = STEP_SHARE

    def __call__(self, facts: DatasetInfo) -> float:
        value = self.value(facts) if isinstance(self.value, DataDefault) else self.value
        return self.share * value


@register
def haba(
    base: str | Recipe = "dm",
    ipc: int | None = None,
    bases: int | None = None,
    hallucinators: int = 5,
    contrast: float = 0.1,
    start: str = "random",
    lr: float = 0.03,
    **options: Any,
) -> Recipe:
    """Dataset factorization: bases of each class, and hallucinators shared by all classes that make samples of them.

    Args:
        base: whose loss is made small, a name or a recipe.
        ipc: the storage budget, in samples per class, that holds bases and the numbers of all hallucinators; see the
            base; 10.
        bases: bases of a class; None for as many as the budget holds.
        hallucinators: each makes a sample of every basis.
        contrast: weight of the constraint that samples of one basis differ; 0 leaves it out. The published 0.1 stands
            beside the loss of `mtt`, which is about 1; that of `dm` is tens to hundreds and needs 10 to 100.
        start: "random" hallucinators, or those near "identity".
        lr: of Adam, for bases and hallucinators; found on Fashion-MNIST with `dm` at ipc 2 and 60 to 200 iterations, where
            0.03 and 0.1 did equally well, and 0.01 worse by 3 points.
        options: of the base given by name, such as `iterations`, `batch` and `network`.

    Raises:
        ValueError: for a base whose samples are not stored value by value; for one hallucinator that should differ.

    References:
        Liu S. et al., Dataset Distillation via Factorization, NeurIPS 2022, https://arxiv.org/abs/2210.16774,
        equations 2 to 6.
    """
    if not contrast >= 0:
        raise ValueError(f"haba(contrast={contrast!r}) must be at least 0: the weight of the constraint.")
    if contrast and hallucinators < 2:
        raise ValueError(
            f"haba(hallucinators={hallucinators!r}, contrast={contrast!r}) has no two samples of one basis to set "
            "apart. Use 2 hallucinators or more, or contrast=0."
        )
    recipe = get_base("haba", base, ipc, options)

    def factorized(pixels: Pixels) -> SyntheticSpec:
        return Factorized(Hallucinator(start=start), hallucinators, bases, pixels.init)

    made = _made_of_less(recipe, "haba", factorized, lr)
    network = getattr(recipe.terms[0].pool, "network", DefaultNetwork())
    apart = Term(Diversity(), Critic(network), DecoderPairs(), Identity(), contrast)
    return replace(
        made,
        terms=(*made.terms, apart) if contrast else made.terms,
        paper="Liu S. et al., Dataset Distillation via Factorization, NeurIPS 2022, arXiv:2210.16774",
        deviations="Adam in the place of SGD, whose published rate of 100 belongs to one base; every step looks at all "
        "samples of a class instead of those of one hallucinator.",
    )


@register
def fred(
    base: str | Recipe = "dm",
    ipc: int | None = None,
    share: float = 1 / 16,
    lr: float = 0.03,
    **options: Any,
) -> Recipe:
    """Frequency parametrization: samples by the few coefficients of their cosine transform that vary most in the class.

    Args:
        base: whose loss is made small, a name or a recipe.
        ipc: the storage budget, in samples per class, which holds 1 / `share` times as many samples; see the base; 10.
        share: of the frequencies that is kept, in (0, 1]; the authors keep 64 of 1,024 for CIFAR-10 at ipc 1.
        lr: of Adam, for the coefficients; on Fashion-MNIST with `dm` at ipc 1 and 100 iterations 0.03 and 0.1 did equally
            well (70.6 and 69.9 %).
        options: of the base given by name, such as `iterations`, `batch` and `network`.

    Raises:
        ValueError: for a base whose samples are not stored value by value.

    References:
        Shin et al., Frequency Domain-based Dataset Distillation, NeurIPS 2023, https://arxiv.org/abs/2311.08819.
    """
    recipe = get_base("fred", base, ipc, options)
    return replace(
        _made_of_less(recipe, "fred", lambda pixels: Frequency(share, pixels.init), lr),
        paper="Shin et al., Frequency Domain-based Dataset Distillation, NeurIPS 2023, arXiv:2311.08819",
        deviations="An orthonormal transform, and Adam in the place of SGD, whose published rate of 1e8 belongs to one "
        "base and another scale of the transform.",
    )


@register
def kfs(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 256,
    decoders: int = 2,
    codes: int | None = None,
    channels: int = 2,
    width: int = 16,
    fit: int = 500,
    lr: float = 0.01,
    network: Any = None,
    init: coresets.Init | None = None,
) -> Recipe:
    """Latent codes of each class and small decoders shared by all: every pair is a sample, matched as in DM.

    Args:
        ipc: the storage budget, in samples per class; codes and the numbers of all decoders fit into it.
        iterations: optimization steps; as in `dm`.
        batch: real samples per class and step.
        decoders: each makes a sample of every code.
        codes: of a class; None for as many as the budget holds.
        channels, width: of a code and inside a decoder, see `LatentDecoder`.
        fit: steps in which the decoded samples learn to reproduce those of `init` beforehand.
        lr: of Adam, for codes and decoders.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals.
        init: what `fit` imitates; random real samples.

    References:
        Lee, Lee and Hwang, Dataset Condensation with Latent Space Knowledge Factorization and Sharing, 2022,
        https://arxiv.org/abs/2208.10494.
    """
    return Recipe(
        name="kfs",
        synthetic=Factorized(LatentDecoder(channels, width), decoders, codes, init or coresets.Random(), fit),
        terms=(
            Term(
                Distribution(),
                TrainedOnReal(network or DefaultNetwork(), samples=64),
                PerGroup(batch),
                SiameseAugment(DefaultDSAOps()),
            ),
        ),
        optimizer=Optimizer("adam", lr=lr),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        paper="Lee, Lee and Hwang, Dataset Condensation with Latent Space Knowledge Factorization and Sharing, 2022, "
        "arXiv:2208.10494",
        deviations="No code was published: the sizes of codes and decoders, the network's schedule (one step on 64 "
        "real samples an iteration, a new one every 100 iterations), Adam and its rate, and the imitation of real samples "
        "beforehand are ours.",
    )


def _made_of_less(base: Recipe, name: str, make: Callable[[Pixels], SyntheticSpec], lr: float) -> Recipe:
    """The base with other samples, learned by Adam, whose steps do not depend on the scale of the base's loss."""
    if not base.terms:
        raise ValueError(f"Cannot use {name} with base {base.name!r}: it learns nothing. Use {BASES}.")
    synthetic = _exchanged(base.synthetic, make, name, base.name)
    optimizer = replace(base.optimizer, kind="adam", lr=lr, betas=(0.9, 0.999), rates=_step_rates(synthetic))
    return replace(base, name=f"{name}_{base.name}", synthetic=synthetic, optimizer=optimizer)


def _exchanged(
    part: SyntheticSpec, make: Callable[[Pixels], SyntheticSpec], name: str, base: str
) -> SyntheticSpec:
    """`part` with the pixels at its core exchanged."""
    if isinstance(part, Pixels):
        return make(part)
    inner = getattr(part, "inner", None)
    if not isinstance(inner, SyntheticSpec):
        raise ValueError(
            f"Cannot use {name} with base {base!r}: its samples are already made of less by {type(part).__name__}. "
            f"Use a base that stores them value by value, such as {BASES}."
        )
    around: Any = part
    exchanged: SyntheticSpec = replace(around, inner=_exchanged(inner, make, name, base))
    return exchanged


def _step_rates(part: Spec) -> tuple[tuple[str, float | DataDefault], ...]:
    """A learning rate of their own for learned step sizes.

    Adam moves a tensor by about its rate in an iteration: this is `STEP_SHARE` of a plain step size, and nearly that of the
    softplus of a number far below zero.
    """
    if isinstance(part, WithSteps):
        return ((NAME, ScaledValue(part.lr) if part.form == "plain" else STEP_SHARE),)
    inner = getattr(part, "inner", None)
    return _step_rates(inner) if isinstance(inner, Spec) else ()
