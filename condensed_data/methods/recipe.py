"""What a method is: terms, an optimizer and a synthetic part, put together under a name.

A recipe is frozen: at once configuration, documentation and cache key. What changes while it runs is in `run.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec
from condensed_data.core.validation import check_count
from condensed_data.data.augment import Augment
from condensed_data.data.whitening import Whitening
from condensed_data.methods.base import Objective, Pool, Sampler, SyntheticSpec
from condensed_data.methods.stopping import EarlyStopping
from condensed_data.methods.synthetic.soft_labels import Teacher
from condensed_data.training.evaluate import Training
from condensed_data.training.protocol import OrderedTraining

WHITENINGS = ("none", "zca")
OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Optimizer(Spec):
    """How the learned tensors step down their gradient.

    Args:
        kind: "sgd", "adam" or "adamw".
        lr: learning rate, positive.
        momentum: of SGD.
        betas: of Adam.
        rates: other learning rates by name of the learned tensor, as ((name, lr), ...).
        milestones: iterations after which all learning rates are multiplied by `decay`.
        decay: positive.

    Raises:
        ValueError: for an unknown kind, or a learning rate, milestone or decay that is not positive.
    """

    kind: str = "sgd"
    lr: float | DataDefault = 1.0
    momentum: float = 0.5
    betas: tuple[float, float] = (0.9, 0.999)
    rates: tuple[tuple[str, float | DataDefault], ...] = ()
    milestones: tuple[int, ...] | DataDefault = ()
    decay: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in OPTIMIZERS:
            raise ValueError(f"Optimizer(kind={self.kind!r}) is unknown; known: {', '.join(OPTIMIZERS)}.")
        for lr in (self.lr, *(lr for _, lr in self.rates)):
            if not isinstance(lr, DataDefault) and not 0 < lr < math.inf:
                raise ValueError(f"Optimizer(lr={lr}) must be positive and finite.")
        if not isinstance(self.milestones, DataDefault) and not all(at > 0 for at in self.milestones):
            raise ValueError(
                f"Optimizer(milestones={self.milestones}) must be positive numbers of iterations."
            )
        if not 0 < self.decay < math.inf:
            raise ValueError(f"Optimizer(decay={self.decay}) must be positive and finite.")

    def start(self, learned: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        """A torch optimizer over the learned tensors."""
        rates = dict(self.rates)
        chosen = {name: specs.require_resolved(rates.get(name, self.lr)) for name in learned}
        groups = [
            {"params": [tensor], "lr": chosen[name], "initial_lr": chosen[name]}
            for name, tensor in learned.items()
        ]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, momentum=self.momentum)
        cls = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return cls(groups, betas=self.betas)

    def tune(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        """Set the learning rates for the iteration after `iteration` completed ones."""
        factor = self.decay ** sum(at <= iteration for at in specs.require_resolved(self.milestones))
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


@dataclass(frozen=True)
class Term(Spec):
    """One summand of a loss: an objective, seen through the networks of a pool on the pairs of a sampler.

    Terms with equal pools, samplers and augmentations share their networks and pairs.

    Raises:
        ValueError: for a pool that does not know what the objective asks of its networks.
    """

    objective: Objective
    pool: Pool
    sampler: Sampler
    augment: Augment
    weight: float | DataDefault = 1.0

    def __post_init__(self) -> None:
        self.objective.check_pool(self.pool)


@dataclass(frozen=True)
class Recipe(Spec):
    """A method: a named composition of parts.

    Args:
        name: for titles, file names and tags.
        synthetic: what is learned.
        terms: the loss; none for a coreset, which learns nothing.
        optimizer: how the synthetic data steps.
        iterations: passes of synthetic steps over all classes.
        ipc: samples stored per class (for factorized sets: the budget, in samples).
        step_per: "iteration" sums the loss over all classes and steps once; "class" steps class by class.
        num_blocks: the classes of a step are computed in so many fixed blocks, which gives the same bits on any number of
            processes, see `condensed_data.engine.distributed.gradient_exchange`;
            None for all at once in one process, and 64 blocks in several.
        whitening: "zca" learns, and trains on the result, in a space where all values of a sample are uncorrelated,
            see `condensed_data.data.whitening`; stored samples are mapped back. "none" standardizes channels.
        soft_labels: learn class probabilities together with the samples; an objective must read labels. Their
            learning rate is that of "labels" in the optimizer's `rates`.
        labels_from: what gives the finished samples their class probabilities: a `Teacher`, or a module, see
            `condensed_data.methods.synthetic.soft_labels.labeler`.
        stop: when to end before the last iteration; None for never.
        training: how to train on the result.
        paper, deviations: what it follows and where it departs from it. No part of a cache key.

    Raises:
        ValueError: for `ipc`, `iterations`, `step_per`, `num_blocks` or `whitening` out of range; for labels that cannot be
            learned.
    """

    name: str
    synthetic: SyntheticSpec
    terms: tuple[Term, ...] = ()
    optimizer: Optimizer = field(default_factory=Optimizer)
    iterations: int | DataDefault = 0
    ipc: int = 10
    step_per: str = "iteration"
    num_blocks: int | None = None
    whitening: str | DataDefault = "none"
    soft_labels: bool = False
    labels_from: Teacher | Callable[[Tensor], Tensor] | None = None
    stop: EarlyStopping | None = None
    training: Training | OrderedTraining = field(default_factory=Training)
    paper: str = field(default="", compare=False)
    deviations: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_count(None, "ipc", self.ipc)
        check_count(None, "iterations", self.iterations, 0)
        if self.step_per not in ("iteration", "class"):
            raise ValueError(f"step_per={self.step_per!r} must be 'iteration' or 'class'.")
        if self.num_blocks is not None:
            check_count("Recipe", "num_blocks", self.num_blocks)
        if not isinstance(self.whitening, DataDefault) and self.whitening not in WHITENINGS:
            raise ValueError(f"whitening={self.whitening!r} must be one of: {', '.join(WHITENINGS)}.")
        self._check_labels()

    def _check_labels(self) -> None:
        if not isinstance(self.soft_labels, bool):
            raise ValueError(f"soft_labels={self.soft_labels!r} must be True or False.")
        teaches = isinstance(self.labels_from, Teacher) or callable(self.labels_from)
        if self.labels_from is not None and not teaches:
            raise ValueError(f"labels_from={self.labels_from!r} must be a Teacher() or a module.")
        if not self.soft_labels:
            return
        if self.labels_from is not None:
            raise ValueError(
                "soft_labels=True and labels_from= exclude each other: learn labels, or ask a teacher."
            )
        if not any(term.objective.reads_labels for term in self.terms):
            names = ", ".join(type(term.objective).__name__ for term in self.terms)
            reason = f"{names} does not look at them" if names else "it learns nothing"
            raise ValueError(
                f"Recipe {self.name} cannot learn labels with soft_labels=True: {reason}. Have a teacher label its "
                "samples: labels_from=Teacher()."
            )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Refuse to whiten samples that are too large."""
        if self.whitening == "zca":
            Whitening.check(sample_shape)

    def resolve(
        self,
        sample_shape: Sequence[int],
        classes: Sequence[str],
        ipc: int | None = None,
        samples: int | None = None,
    ) -> Recipe:
        """The recipe with every rule made concrete for this data; this is what is run, shown, stored and hashed.

        Args:
            sample_shape: of one sample.
            classes: class names, or an empty name for classes that the source does not name.
            ipc: replaces the recipe's own.
            samples: size of the source; None for the size of the published ones.
        """
        recipe = self if ipc is None else replace(self, ipc=ipc)
        facts = DatasetInfo(tuple(sample_shape), tuple(classes), recipe.ipc, all(classes), samples)
        return specs.resolve(recipe, facts)

    def set(self, **fields: Any) -> Recipe:
        """A copy with other fields, by dotted path with `__` for the dot, or by a name that occurs once."""
        recipe = self
        for path, value in fields.items():
            recipe = specs.set_field(recipe, path.replace("__", "."), value)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """The canonical form; see `condensed_data.core.spec`."""
        tree: dict[str, Any] = specs.to_json(self)
        return tree


@dataclass(frozen=True)
class DefaultIterations(DataDefault):
    """The published number of iterations, and proportionally fewer for sources smaller than the published ones.

    The published sets have 50,000 samples and more; a set of 1,400 does not need the same number of passes.
    """

    published: int = 20_000
    samples: int = 50_000

    def __call__(self, facts: DatasetInfo) -> int:
        share = 1.0 if facts.samples is None else min(1.0, facts.samples / self.samples)
        return max(1, round(self.published * share))
