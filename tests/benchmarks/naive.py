"""Naive iterations: loops over classes in fp32, written from the equations, the reference of `iteration.py`.

For one class after the other, its real and its synthetic samples go through the network in whole batches, with the same
augmentation as in the package; the real side without gradients if the method needs none. There is one backward pass and
one step for all classes, or for each class if the method does so. Nothing is compiled, shared between classes or
computed in lower precision. Batch sizes, rates, periods and all random draws are those of the run, so that the first
iterations of both must agree. Everything is computed on the run's device, which a loop may wait for; sample indices and
draws stay on the CPU.

    dm          ||mean f(real) - mean f(synthetic)||^2                   Zhao and Bilen, WACV 2023, equation 4
    dc, dsa     distance of the weight gradients, row by row             Zhao, Mopuri and Bilen, ICLR 2021, algorithm 1
    idc, idc_i  the same with absolute or squared differences            Kim et al., ICML 2022, algorithm 1
    idm         dm + weight * accuracy * cross-entropy                   Zhao G. et al., CVPR 2023
    cafe        layers aligned + real samples classified                 Wang K. et al., CVPR 2022
    m3d         maximum mean discrepancy, Gaussian kernels               Zhang H. et al., AAAI 2024
    dance       dm + cross-entropy, by trained networks                  Zhang H. et al., IJCAI 2024
    ncfm        characteristic functions + cross-entropy                 Wang S. et al., CVPR 2025
    iid         dm or idm + covariances + centers by trained networks    Deng et al., CVPR 2024
    bdm         its base, real samples from one cluster of the class
    debiased    its base, over groups of classes
    haba        its base + contrast of samples of one basis              Liu S. et al., NeurIPS 2022
    fred, kfs   their base or dm                                         Shin et al., NeurIPS 2023; Lee et al., 2022
    mtt         a student's weights against an expert's                  Cazenavette et al., CVPR 2022, equation 2
    dd          the loss of real samples after a student's training      Wang et al., 2018, algorithm 1

`naive_samples.py` decodes samples (pixels, cells, hallucinators, decoders, frequencies), `naive_losses.py` and
`naive_frequencies.py` compute the losses, `naive_unrolled.py` the training runs of mtt and dd, and `naive_pools.py` the
networks and their training between iterations. Pretrained networks are the run's own.

Letters: B rows of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from naive_frequencies import Frequencies
from naive_losses import KNOWN, Group, loss_of
from naive_pools import naive_pool
from naive_samples import samples_of
from naive_unrolled import unrolled_loss
from torch import Tensor

from condensed_data.core.batch import Batch
from condensed_data.core.spec import require_resolved
from condensed_data.data.augment import Augment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import Sampler
from condensed_data.methods.objectives import CharacteristicFunction, Trajectory, Unrolled
from condensed_data.methods.recipe import Recipe, Term
from condensed_data.methods.samplers.decoder_pairs import DecoderPairs
from condensed_data.networks import embed_of


def check(recipe: Recipe) -> None:
    """Reject a recipe that has no naive loop.

    Raises:
        ValueError: if an objective has none, or the recipe learns nothing.
    """
    known = (*KNOWN, Trajectory, Unrolled)
    unknown = [type(term.objective).__name__ for term in recipe.terms if not isinstance(term.objective, known)]
    if unknown or not recipe.terms:
        raise ValueError(f"There is no naive loop for {recipe.name} ({', '.join(unknown) or 'it learns nothing'}).")


class Naive:
    """The method of a run, on its data and from its initial state.

    Args:
        run: in fp32, before its first step. Learned tensors are copied; draws and pretrained networks are shared.

    Raises:
        ValueError: if a part has no naive loop.
    """

    def __init__(self, run: CondensationRun) -> None:
        check(run.recipe)
        self.run, self.recipe, self.iteration = run, run.recipe, 0
        self.samples = samples_of(run)
        self.pools = {term.pool: naive_pool(term.pool, run) for term in self.recipe.terms}
        self.frequencies = {
            term: Frequencies(term.objective, run)
            for term in self.recipe.terms
            if isinstance(term.objective, CharacteristicFunction)
        }
        self.optimizer = self.recipe.optimizer.start(self.samples.learned)

    def matching(self) -> None:
        """The synthetic steps of one iteration."""
        self.recipe.optimizer.tune(self.optimizer, self.iteration, self.run.iterations)
        groups = list(range(self.run.context.real.num_groups))
        terms, step_per = self.recipe.terms, self.recipe.step_per
        for some_terms in [[term] for term in terms] if step_per == "class and term" else [terms]:
            for some in [groups] if step_per == "iteration" else [[group] for group in groups]:
                self._step(some, some_terms)
        self.samples.clamp()

    def _step(self, groups: Sequence[int], terms: Sequence[Term]) -> None:
        compared: dict[tuple[Sampler, Augment], list[Group]] = {}
        losses = []
        for term in terms:
            key = (term.sampler, term.augment)
            if key not in compared and not isinstance(term.objective, Trajectory | Unrolled):
                together = isinstance(term.sampler, DecoderPairs)  # one block, with one operation for all classes
                compared[key] = [self._group(term, some) for some in ([groups] if together else [[g] for g in groups])]
            losses.append(require_resolved(term.weight) * self._loss(term, compared.get(key, [])))
        learned = list(self.samples.learned.values())
        searched = {term: self.frequencies[term] for term in terms if term in self.frequencies}
        ascending = [(weight, term) for term, found in searched.items() for weight in found.weights]
        everything = [*learned, *(weight for weight, _ in ascending)]
        gradients = torch.autograd.grad(torch.stack(losses).sum(), everything)
        for tensor, gradient in zip(learned, gradients[: len(learned)], strict=True):
            tensor.grad = gradient
        for (weight, term), gradient in zip(ascending, gradients[len(learned) :], strict=True):
            weight.grad = -gradient / require_resolved(term.weight)
        self.optimizer.step()
        for found in searched.values():
            found.ascend()

    def _loss(self, term: Term, groups: list[Group]) -> Tensor:
        current = self.pools[term.pool].network_at(self.iteration)
        if isinstance(term.objective, Trajectory | Unrolled):
            return unrolled_loss(term, current, self.samples, self.run, self.iteration)
        if term not in self.frequencies:
            return loss_of(term.objective, current, groups)
        with torch.no_grad():
            features = embed_of(current.module)(groups[0].real[:1]).shape[1]
        return loss_of(term.objective, current, groups, self.frequencies[term].at(self.iteration, features))

    def _group(self, term: Term, groups: Sequence[int]) -> Group:
        real, draw = (
            self.run.context.real,
            self.run.sampler_states[term.sampler].draw(self.iteration, groups),
        )
        applied = term.augment.draw(self.run.context.rng, self.iteration, groups[:1], real.sample_shape)

        def augmented(rows: Tensor) -> Tensor:
            y = torch.full((len(rows),), label, device=rows.device)
            return applied(Batch(rows, y, (len(rows),)))

        label = int(real.group_class[groups[0]])
        rows, _ = real.batch(draw.real, self.run.context.device)
        return Group(label, augmented(rows) if len(rows) else rows, augmented(self.samples.rows(draw.synthetic)))

    def learning(self) -> None:
        """Train the networks after the synthetic steps, and go on to the next iteration."""
        for pool in self.pools.values():
            pool.update(self.iteration, self.samples)
        self.iteration += 1
