"""Recipe: a method as a named composition of loss terms, synthetic data and an optimizer.

A recipe is a frozen dataclass: at once configuration, documentation and cache key. The state of a run is in
`condensed_data.engine.run`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, NonNegative
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec
from condensed_data.core.torch_settings import own_settings
from condensed_data.core.validation import check_choice, check_count, require
from condensed_data.data.augment import Augment
from condensed_data.data.known_datasets import KNOWN
from condensed_data.data.whitening import Whitening
from condensed_data.methods.base import Objective, Pool, Sampler, SyntheticSpec
from condensed_data.methods.lamb import Lamb
from condensed_data.methods.stopping import EarlyStopping, Plateau
from condensed_data.methods.synthetic.soft_labels import Teacher
from condensed_data.networks.registry import check_outputs
from condensed_data.training.protocol import OrderedTraining, Training


@dataclass(frozen=True)
class Optimizer(Spec):
    """The optimizer of the learned tensors.

    Args:
        kind: "sgd", "adam", "adamw" or "lamb" (`condensed_data.methods.lamb`).
        lr: learning rate, positive.
        momentum, betas: of SGD, and of the others, each in [0, 1).
        rates: learning rates of single learned tensors, as ((name, lr), ...).
        milestones: iterations after which all learning rates are multiplied by `decay`.
        decay: factor at each milestone, positive.
        final: fraction in [0, 1] of all learning rates to which half a cosine brings them by the last iteration; 1 for
            none.
        weight_decay: of "adamw", at least 0; the others have none.
        plateau: lowers all learning rates when the loss stops falling; None for none.
    """

    kind: str | DataDefault = "sgd"
    lr: float | DataDefault = 1.0
    momentum: float = 0.5
    betas: tuple[float, float] = (0.9, 0.999)
    rates: tuple[tuple[str, float | DataDefault], ...] = ()
    milestones: tuple[int, ...] | DataDefault = ()
    decay: float = 0.5
    final: float = 1.0
    weight_decay: NonNegative = 0.0
    plateau: Plateau | None = None

    def __post_init__(self) -> None:
        check_choice("Optimizer", "kind", self.kind, ("sgd", "adam", "adamw", "lamb"), or_default=True)
        for lr in (self.lr, *(lr for _, lr in self.rates)):
            if not isinstance(lr, DataDefault) and not 0 < lr < math.inf:
                raise ValueError(f"Optimizer(lr={lr}) must be positive and finite.")
        if not isinstance(self.milestones, DataDefault) and not all(at > 0 for at in self.milestones):
            raise ValueError(f"Optimizer(milestones={self.milestones}) must be positive numbers of iterations.")
        if not 0 < self.decay < math.inf:
            raise ValueError(f"Optimizer(decay={self.decay}) must be positive and finite.")
        require(0 <= self.final <= 1, "Optimizer", "final", self.final, "a fraction in [0, 1]")
        require(0 <= self.momentum < 1, "Optimizer", "momentum", self.momentum, "in [0, 1)")
        require(all(0 <= beta < 1 for beta in self.betas), "Optimizer", "betas", self.betas, "in [0, 1)")

    def start(self, learned: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        """A torch optimizer over the learned tensors, given by name."""
        rates = dict(self.rates)
        lrs = {name: specs.require_resolved(rates.get(name, self.lr)) for name in learned}
        groups = [{"params": [tensor], "lr": lrs[name], "initial_lr": lrs[name]} for name, tensor in learned.items()]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, momentum=self.momentum)
        if self.kind == "adamw":
            return torch.optim.AdamW(groups, betas=self.betas, weight_decay=self.weight_decay)
        return (Lamb if self.kind == "lamb" else torch.optim.Adam)(groups, betas=self.betas)

    def tune(self, optimizer: torch.optim.Optimizer, iteration: int, iterations: int) -> None:
        """Set the learning rates for the iteration after `iteration` completed ones, of `iterations`."""
        factor = self.decay ** sum(at <= iteration for at in specs.require_resolved(self.milestones))
        cosine = (1 + math.cos(math.pi * min(1.0, iteration / max(1, iterations)))) / 2
        factor *= self.final + (1 - self.final) * cosine
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


@dataclass(frozen=True)
class Term(Spec):
    """One summand of a loss: an objective on the pairs of a sampler, under the networks of a pool.

    Terms with equal pools, samplers and augmentations share their networks and pairs.

    Raises:
        ValueError: for a pool whose networks lack what the objective needs.
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
        name: used in titles, file names and tags.
        synthetic: the synthetic data, that is, what is learned.
        terms: the loss; none for a coreset, which learns nothing.
        optimizer: of the synthetic data.
        iterations: updates of the samples of all classes.
        ipc: samples stored per class (for factorized data: the storage budget, in samples).
        step_per: "iteration" sums the loss over all classes and terms and takes one step; "class" takes a step for
            each class; "class and term" takes a step for each class by the first term alone, then for each class by
            the second, and so on, as DANCE and NCFM do.
        num_blocks: compute the classes of a step in this many fixed blocks, which gives the same bits on any number of
            processes, see `condensed_data.engine.distributed.gradient_exchange`; None for all at once in one process,
            and 64 blocks in several.
        whitening: "zca" learns, and trains on the result, in a space where all values of a sample are uncorrelated,
            see `condensed_data.data.whitening`; stored samples are mapped back. "none" standardizes channels.
        soft_labels: learn class probabilities together with the samples; requires an objective that reads labels. Their
            learning rate is that of "labels" in the optimizer's `rates`.
        labels_from: a `Teacher` or a module that predicts the class probabilities of the finished samples, see
            `condensed_data.methods.synthetic.soft_labels.labeler`.
        early_stopping: criterion to end before the last iteration; None for none.
        training: how to train on the result.
        paper, deviations: the source, and the differences from it. Not part of a cache key.

    Raises:
        ValueError: for soft labels that cannot be learned, and for iterations of a recipe that learns nothing.
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
    early_stopping: EarlyStopping | None = None
    training: Training | OrderedTraining = field(default_factory=Training)
    paper: str = field(default="", compare=False)
    deviations: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_count(None, "ipc", self.ipc)
        check_count(None, "iterations", self.iterations, least=0, or_default=True)
        check_choice(None, "step_per", self.step_per, ("iteration", "class", "class and term"))
        check_count("Recipe", "num_blocks", self.num_blocks, optional=True)
        check_choice(None, "whitening", self.whitening, ("none", "zca"), or_default=True)
        if not self.terms and self.iterations != 0:
            raise ValueError(
                f"Recipe(iterations={self.iterations}) must be 0, because recipe {self.name} learns nothing: it "
                "selects samples. Omit iterations."
            )
        if self.step_per != "iteration" and self.optimizer.kind == "lamb":
            raise ValueError(
                "Optimizer('lamb') scales a step by the norms of whole tensors, which hold the samples of all classes: "
                "it cannot step class by class. Use step_per='iteration', or another optimizer."
            )
        self._check_labels()

    def _check_labels(self) -> None:
        scored = self.synthetic.learns_scores
        others = [type(term.objective).__name__ for term in self.terms if not term.objective.reads_scores]
        if scored and others:
            raise ValueError(
                f"Recipe {self.name} cannot learn scores with {type(self.synthetic).__name__}: {', '.join(others)} "
                "needs classes or probabilities. Use soft_labels=True, or an objective that regresses."
            )
        if not self.soft_labels:
            return
        if scored:
            raise ValueError(
                f"soft_labels=True and {type(self.synthetic).__name__} both learn the labels. Use one of them."
            )
        if self.labels_from is not None:
            raise ValueError(
                "soft_labels=True and labels_from= are mutually exclusive: learn labels, or take them from a teacher."
            )
        if not any(term.objective.reads_labels for term in self.terms):
            names = ", ".join(type(term.objective).__name__ for term in self.terms)
            reason = f"{names} does not read them" if names else "it learns nothing"
            raise ValueError(
                f"Recipe {self.name} cannot learn labels with soft_labels=True: {reason}. Let a teacher label its "
                "samples: labels_from=Teacher()."
            )

    @own_settings()
    def check(self, sample_shape: tuple[int, ...]) -> None:
        for term in self.terms:
            term.sampler.check_synthetic(self.synthetic)
        if self.whitening == "zca":
            Whitening.check(sample_shape)

    @own_settings()
    def check_outputs(self, num_classes: int, sample_shape: tuple[int, ...]) -> None:
        """Raise ValueError if a network of the resolved recipe has fewer outputs than classes."""
        for path, value in specs.iter_fields(self):
            if path.rpartition(".")[2] == "network":
                check_outputs(value, num_classes, sample_shape)

    @own_settings()
    def resolve(
        self,
        sample_shape: Sequence[int],
        classes: Sequence[str],
        ipc: int | None = None,
        samples: int | None = None,
        dataset: str | None = None,
    ) -> Recipe:
        """The recipe with every `DataDefault` replaced by its value: this is what is run, shown, stored and hashed.

        Args:
            sample_shape: shape of one sample.
            classes: class names; empty for classes that the source does not name.
            ipc: replaces the recipe's own.
            samples: size of the source; None for that of the published ones.
            dataset: name of a dataset with published settings, such as "cifar10"; None for any other.
        """
        own = self.ipc if ipc is None else ipc
        return self.resolve_for(DatasetInfo(tuple(sample_shape), tuple(classes), own, all(classes), samples, dataset))

    def resolve_for(self, info: DatasetInfo) -> Recipe:
        """The recipe for data with these properties, with their `ipc`; see `resolve`."""
        return specs.resolve(replace(self, ipc=info.ipc), info)

    def set(self, **fields: Any) -> Recipe:
        """A copy with other fields, by path with `__` for the dot (`optimizer__lr=0.1`) or by a name that is unique."""
        recipe = self
        for path, value in fields.items():
            recipe = specs.set_field(recipe, path.replace("__", "."), value)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form, see `condensed_data.core.spec`."""
        return specs.to_json(self)


@dataclass(frozen=True)
class DefaultIterations(DataDefault):
    """The published number of iterations, and proportionally fewer for sources smaller than the published ones.

    The published sources have 50,000 samples and more (CIFAR 50,000, MNIST 60,000, SVHN 73,257), ImageNet subsets about
    13,000; one of 1,400 does not need as many iterations.
    """

    published: Count | DataDefault = 20_000
    samples: Count = 50_000

    def __call__(self, info: DatasetInfo) -> int:
        known = KNOWN[info.dataset].samples if info.dataset in KNOWN else self.samples
        fraction = 1.0 if info.samples is None else min(1.0, info.samples / min(known, self.samples))
        published = self.published(info) if isinstance(self.published, DataDefault) else self.published
        return max(1, round(published * fraction))
