"""Methods that learn a compact parametrization of samples: codes and decoders (HaBa, KFS), or frequencies (FreD).

`haba` and `fred` take any base recipe and replace its pixels, inside wrappers such as the step sizes of `mtt` or the
multi-formation of `idc`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.objectives import Distribution, Diversity
from condensed_data.methods.pools import Critic, DefaultNetwork, TrainedOnReal
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.parametrization import CoefficientRate, optimizer_of, with_parametrization
from condensed_data.methods.recipes.registry import get_base, register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.decoder_pairs import DecoderPairs
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import (
    Factorized,
    Frequency,
    Hallucinator,
    LatentDecoder,
    MultiFormation,
    Pixels,
)
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols

__all__ = ["fred", "haba", "kfs"]

HABA_RATES = {"mtt": 100.0}  # of SGD, by base
FRED_RATES = {name: CoefficientRate(rate) for name, rate in (("mtt", 1e8), ("dm", 1e6), ("dc", 1e3))}


@register
def haba(
    base: str | Recipe = "dm",
    ipc: Count | None = None,
    bases: int | None = None,
    hallucinators: int = 5,
    contrast: float = 0.1,
    start: str = "random",
    lr: float | None = None,
    optimizer: str = "adam",
    **options: Any,
) -> Recipe:
    """HaBa: samples are decoded from bases of each class by hallucinators that all classes share.

    Liu S. et al., NeurIPS 2022, https://arxiv.org/abs/2210.16774, equations 2 to 6.

    Args:
        base: the method to combine with: the name of a recipe, or a recipe.
        ipc: storage budget for bases and hallucinators, in samples per class; None for the default of the base.
        bases: per class; None for as many as the budget allows.
        hallucinators: decoders; each makes one sample of every basis.
        contrast: weight of the adversarial contrastive constraint, which makes samples of one basis differ; 0 removes
            it. The published 0.1 suits the loss of `mtt`, which is about 1; that of `dm` is tens to hundreds and needs
            10 to 100.
        start: initialize hallucinators at "random" or near "identity".
        lr: learning rate for bases and hallucinators. By default 0.03 with "adam", tuned on Fashion-MNIST with `dm` at
            ipc 2 and 60 to 200 iterations, where 0.03 and 0.1 did equally well, and 0.01 worse by 3 points; with "sgd"
            the published 100, which is for `mtt`.
        optimizer: "adam", or the authors' "sgd" with momentum 0.95.
        options: further arguments of a base given by name, such as `iterations`, `batch` and `network`.

    Raises:
        ValueError: for a base that does not learn pixels, for a contrast with less than two hallucinators, or for "sgd"
            without `lr` with a base for which none is published.
    """
    if not contrast >= 0:
        raise ValueError(f"haba(contrast={contrast!r}) must be at least 0.")
    if contrast and hallucinators < 2:
        raise ValueError(
            f"haba(hallucinators={hallucinators!r}, contrast={contrast!r}) needs at least two samples of "
            "each basis. Use hallucinators=2 or more, or contrast=0."
        )
    recipe = get_base("haba", base, ipc, _as_published(base, "haba") | options)

    def factorized(pixels: Pixels) -> SyntheticSpec:
        return Factorized(Hallucinator(start=start), hallucinators, bases, pixels.init)

    combined = with_parametrization(recipe, "haba", factorized)
    network = getattr(recipe.terms[0].pool, "network", DefaultNetwork())
    augment = SiameseAugment(DefaultDSAOps(), per_sample=True)
    constraint = Term(Diversity(), Critic(network, augment=augment), DecoderPairs(), augment, contrast)
    terms = tuple(map(_one_decoder_a_step, combined.terms))
    in_cells = isinstance(recipe.synthetic, MultiFormation)  # samples of one basis are not successive
    return replace(
        combined,
        terms=(*terms, constraint) if contrast else terms,
        optimizer=optimizer_of(combined, recipe, optimizer, lr, HABA_RATES, 0.95),
        training=recipe.training if in_cells else protocols.haba(hallucinators),
        paper="Liu S. et al., Dataset Distillation via Factorization, NeurIPS 2022, arXiv:2210.16774",
        deviations=f"{recipe.deviations} Adam instead of SGD, whose published rate is for mtt (optimizer='sgd', with "
        "momentum 0.95 for the step size too, instead of 0.9). With other bases than mtt, whose code the authors did "
        "not publish, every step uses all samples of a class instead of those of one random hallucinator. In training "
        "and test, samples are standardized once; the authors also standardize every batch.",
    )


@register
def fred(
    base: str | Recipe = "dm",
    ipc: int | None = None,
    fraction: float = 1 / 16,
    lr: float | None = None,
    optimizer: str = "adam",
    **options: Any,
) -> Recipe:
    """FreD: samples are parametrized by the coefficients of their cosine transform that vary most within the class.

    Shin et al., NeurIPS 2023, https://arxiv.org/abs/2311.08819.

    Args:
        base, options: see `haba`.
        ipc: storage budget, in samples per class, which holds 1 / `fraction` times as many samples; None for the
            default of the base.
        fraction: of the frequencies that are kept, in (0, 1]; the authors keep 64 of 1,024 for CIFAR-10 at ipc 1.
        lr: learning rate for the coefficients. By default 0.03 with "adam" (on Fashion-MNIST with `dm` at ipc 1 and 100
            iterations, 0.03 and 0.1 did equally well: 70.6 and 69.9 %); with "sgd" that of the authors' scripts for
            CIFAR-10 with `mtt`, `dm` or `dc`, converted by `CoefficientRate`.
        optimizer: "adam", or the authors' "sgd" with momentum 0.5.

    Raises:
        ValueError: for a base that does not learn pixels, or for "sgd" without `lr` with a base for which none is
            published.
    """
    recipe = get_base("fred", base, ipc, _as_published(base, "fred") | options)
    combined = with_parametrization(recipe, "fred", lambda pixels: Frequency(fraction, pixels.init))
    return replace(
        combined,
        optimizer=optimizer_of(combined, recipe, optimizer, lr, FRED_RATES, 0.5),
        paper="Shin et al., Frequency Domain-based Dataset Distillation, NeurIPS 2023, arXiv:2311.08819",
        deviations=f"{recipe.deviations} Adam instead of SGD (optimizer='sgd'), and an orthonormal transform, with "
        "which a step of SGD moves coefficients whose frequency is 0 along one or both sides twice or four times as "
        "far as the authors'. Every channel keeps the frequencies that vary most over the real samples of the class; "
        "the authors keep the same ones in all channels, by the channels' mean in the initial samples.",
    )


@register
def kfs(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    decoders: int = 2,
    codes: int | None = None,
    channels: int = 2,
    width: int = 16,
    fit: int = 500,
    lr: float = 0.01,
    network: NetworkLike | DataDefault | None = None,
    init: coresets.Init | None = None,
) -> Recipe:
    """KFS: every pair of a latent code of a class and a small decoder shared by all classes makes a sample; loss of DM.

    Lee, Lee and Hwang, 2022, https://arxiv.org/abs/2208.10494.

    Args:
        ipc: storage budget for codes and decoders, in samples per class.
        iterations, batch, network: see `dm`.
        decoders: each makes one sample of every code.
        codes: per class; None for as many as the budget allows.
        channels, width: channels of a code and inside a decoder, see `LatentDecoder`.
        fit: pretraining steps in which decoded samples learn to reproduce those of `init`.
        lr: learning rate of Adam for codes and decoders.
        init: targets of `fit`; random real samples by default.
    """
    pool = TrainedOnReal(DefaultNetwork() if network is None else network, samples=64)
    return Recipe(
        name="kfs",
        synthetic=Factorized(LatentDecoder(channels, width), decoders, codes, init or coresets.Random(), fit),
        terms=(Term(Distribution(), pool, PerGroup(batch), SiameseAugment(DefaultDSAOps())),),
        optimizer=Optimizer("adam", lr=lr),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        paper="Lee, Lee and Hwang, Dataset Condensation with Latent Space Knowledge Factorization and Sharing, 2022, "
        "arXiv:2208.10494",
        deviations="No code was published: the sizes of codes and decoders, the network's schedule (one step on 64 "
        "real samples per iteration, a new network every 100 iterations), Adam and its rate, and pretraining on real "
        "samples are ours.",
    )


def _as_published(base: str | Recipe, paper: str) -> dict[str, Any]:
    """Arguments for a base given by name whose published settings change with the parametrization."""
    settings: dict[str, dict[str, Any]] = {"mtt": {"settings": paper}}
    return settings.get(base, {}) if isinstance(base, str) else {}


def _one_decoder_a_step(term: Term) -> Term:
    """The term with training steps that decode their codes by one random decoder, as HaBa's."""
    sampler = term.sampler
    if not isinstance(sampler, TrainingSteps) or sampler.order == "stored":
        return term
    return replace(term, sampler=replace(sampler, one_decoder=True))
