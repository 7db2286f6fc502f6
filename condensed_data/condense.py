"""The one loop: a recipe, its run, and what can go wrong on the way.

Each sweep, a pool lends a network, a sampler pairs real with synthetic samples, an augmentation is applied to
both, an objective turns (network, pair) into a number, and the synthetic data steps down its gradient.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data import networks
from condensed_data import spec as specs
from condensed_data.evaluate import Training
from condensed_data.parts import (
    Augment,
    Batch,
    Context,
    Draw,
    Drawer,
    Lender,
    Loss,
    Objective,
    Pair,
    Pool,
    Sampler,
    Synthesis,
    Synthetic,
)
from condensed_data.progress import Callback, Callbacks, Progress
from condensed_data.spec import Facts, Rule, Spec

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

    Raises:
        ValueError: for an unknown kind or a learning rate that is not positive.
    """

    kind: str = "sgd"
    lr: float | Rule = 1.0
    momentum: float = 0.5
    betas: tuple[float, float] = (0.9, 0.999)
    rates: tuple[tuple[str, float | Rule], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in OPTIMIZERS:
            raise ValueError(f"Optimizer(kind={self.kind!r}) is unknown; known: {', '.join(OPTIMIZERS)}.")
        for lr in (self.lr, *(lr for _, lr in self.rates)):
            if not isinstance(lr, Rule) and not 0 < lr < math.inf:
                raise ValueError(f"Optimizer(lr={lr}) must be positive and finite.")

    def start(self, learned: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        """A torch optimiser over the learned tensors."""
        rates = dict(self.rates)
        groups = [{"params": [tensor], "lr": rates.get(name, self.lr)} for name, tensor in learned.items()]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, momentum=self.momentum)
        cls = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return cls(groups, betas=self.betas)


@dataclass(frozen=True)
class Term(Spec):
    """One summand of a loss: an objective, seen through the networks of a pool on the pairs of a sampler.

    Terms with equal pools, samplers and augmentations share their networks and pairs.
    """

    objective: Objective
    pool: Pool
    sampler: Sampler
    augment: Augment
    weight: float | Rule = 1.0


@dataclass(frozen=True)
class Recipe(Spec):
    """A method: a named composition of parts.

    Args:
        name: for titles, file names and tags.
        synthetic: what is learned.
        terms: the loss; none for a coreset, which learns nothing.
        optimizer: how the synthetic data steps.
        sweeps: passes of synthetic steps over all classes.
        ipc: samples stored per class (for factorised sets: the budget, in samples).
        step: "sweep" sums the loss over all classes and steps once; "class" steps class by class.
        training: how to train on the result.
        paper, deviations: what it follows and where it departs from it. No part of a cache key.

    Raises:
        ValueError: for `ipc`, `sweeps` or `step` out of range.
    """

    name: str
    synthetic: Synthetic
    terms: tuple[Term, ...] = ()
    optimizer: Optimizer = field(default_factory=Optimizer)
    sweeps: int | Rule = 0
    ipc: int = 10
    step: str = "sweep"
    training: Training = field(default_factory=Training)
    paper: str = field(default="", compare=False)
    deviations: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.ipc, bool) or not isinstance(self.ipc, int) or self.ipc < 1:
            raise ValueError(f"ipc={self.ipc!r} must be a positive whole number: samples per class.")
        if not isinstance(self.sweeps, Rule) and (not isinstance(self.sweeps, int) or self.sweeps < 0):
            raise ValueError(f"sweeps={self.sweeps!r} must be a whole number of at least 0.")
        if self.step not in ("sweep", "class"):
            raise ValueError(f"step={self.step!r} must be 'sweep' or 'class'.")

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
        facts = Facts(tuple(sample_shape), tuple(classes), recipe.ipc, all(classes), samples)
        return specs.resolve(recipe, facts)

    def set(self, **fields: Any) -> Recipe:
        """A copy with other fields, by dotted path with `__` for the dot, or by a name that occurs once."""
        recipe = self
        for path, value in fields.items():
            recipe = specs.assign(recipe, path.replace("__", "."), value)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """The canonical form; see `condensed_data.spec`."""
        tree: dict[str, Any] = specs.to_json(self)
        return {key: value for key, value in tree.items() if key not in ("paper", "deviations")}


@dataclass(frozen=True)
class PublishedSweeps(Rule):
    """The published number of sweeps, and proportionally fewer for sources smaller than the published ones.

    The published sets have 50,000 samples and more; a set of 1,400 does not need the same number of passes.
    """

    published: int = 20_000
    samples: int = 50_000

    def __call__(self, facts: Facts) -> int:
        if facts.samples is None:
            return self.published
        return max(1, round(self.published * min(1.0, facts.samples / self.samples)))


class DivergedError(ArithmeticError):
    """The loss became NaN, infinite or huge.

    Attributes:
        sweep: the last sweep whose result was good.
        outcome: the last good result, where the run was a build's; condensed: the same as a `CondensedDataset`.
    """

    outcome: Any = None
    condensed: Any = None

    def __init__(self, message: str, sweep: int) -> None:
        super().__init__(message)
        self.sweep = sweep


class Run:
    """One condensation under way: everything that changes, apart from the recipe that does not.

    Attributes:
        recipe: resolved.
        synthesis: what is learned.
        sweep: completed sweeps.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.context, self.sweep = recipe, context, 0
        self.synthesis: Synthesis = recipe.synthetic.start(context)
        self.lenders: dict[Pool, Lender] = {}
        self.drawers: dict[Sampler, Drawer] = {}
        self.losses: list[Loss] = []
        for term in recipe.terms:
            if term.sampler not in self.drawers:
                self.drawers[term.sampler] = term.sampler.start(context, self.synthesis)
            draw = self.drawers[term.sampler].draw(0, self.blocks()[0])
            term.objective.check_sizes(draw.real_sizes, draw.synthetic_sizes)
        for term in recipe.terms:  # afterwards, because some pools train for hours when they start
            if term.pool not in self.lenders:
                self.lenders[term.pool] = term.pool.start(context)
            self.losses.append(term.objective.start(context))
        self.optimizer = recipe.optimizer.start(self.synthesis.learned) if recipe.terms else None
        self.pieces = 1  # parts that a step's gradient is accumulated from; more where memory ends
        self._ahead = _Ahead(self) if context.real.store.far_from(context.device) else None

    def step(self) -> Tensor:
        """One sweep: every class meets its real samples once. Returns the summed loss, a scalar on the device."""
        total = torch.zeros((), device=self.context.device)
        for groups in self.blocks():
            total += self._descend(groups)
        for lender in self.lenders.values():
            lender.learn(self.sweep, self.synthesis)
        self.sweep += 1
        return total

    def blocks(self) -> list[list[int]]:
        """The groups of every optimiser step of a sweep."""
        groups = range(self.context.real.num_groups)
        return [list(groups)] if self.recipe.step == "sweep" else [[group] for group in groups]

    def loss(self, groups: Sequence[int]) -> Tensor:
        """The differentiable loss of the coming sweep over these groups."""
        nets = {pool: lender.lend(self.sweep) for pool, lender in self.lenders.items()}
        pairs: dict[tuple[Sampler, Augment], Pair] = {}
        total = torch.zeros((), device=self.context.device)
        for term, loss in zip(self.recipe.terms, self.losses, strict=True):
            key = (term.sampler, term.augment)
            if key not in pairs:
                pairs[key] = self._pair(term, groups)
            total = total + term.weight * loss(nets[term.pool], pairs[key])
        return total

    def _pair(self, term: Term, groups: Sequence[int]) -> Pair:
        real, synthesis = self.context.real, self.synthesis
        if self._ahead is None:
            draw = self.drawers[term.sampler].draw(self.sweep, groups)
            rows = real[draw.real]
        else:
            draw, rows = self._ahead.take(term.sampler, groups)
        applied = term.augment.draw(self.context.streams, self.sweep, groups, real.sample_shape)
        labels = real.labels[draw.real].to(self.context.device, non_blocking=True)
        sides = (
            Batch(rows.to(self.context.device, non_blocking=True), labels, draw.real_sizes),
            Batch(synthesis.decode(draw.synthetic), synthesis.targets(draw.synthetic), draw.synthetic_sizes),
        )
        first, second = (replace(side, x=applied(side)) for side in sides)
        return Pair(first, second, synthesis.step_sizes, self.sweep)

    def _descend(self, groups: Sequence[int]) -> Tensor:
        """One optimiser step on the summed loss of these groups; its detached loss."""
        assert self.optimizer is not None
        while True:
            try:
                total = self._gradients(groups)
                break
            except torch.OutOfMemoryError:
                self._halve(groups)
        self.optimizer.step()
        self.synthesis.clamp()
        return total

    def _gradients(self, groups: Sequence[int]) -> Tensor:
        """Leave the gradient in the learned tensors: the sum over groups, accumulated piece by piece."""
        learned = list(self.synthesis.learned.values())
        total = torch.zeros((), device=self.context.device)
        for tensor in learned:
            tensor.grad = None
        for piece in _pieces(groups, self.pieces):
            loss = self.loss(piece)
            # Not loss.backward(): that would also fill the gradients of the networks.
            for tensor, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
                tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)
            total += loss.detach()
        return total

    def _halve(self, groups: Sequence[int]) -> None:
        """Go on with half as many groups at once, after the device ran out of memory.

        Raises:
            torch.OutOfMemoryError: where nothing is left to halve, or the objective needs all groups together.
        """
        if self.pieces >= len(groups) or not self.separable:
            raise torch.OutOfMemoryError(
                "The device's memory does not hold one step. Use a smaller sampler.batch, ipc or network, or "
                "device='cpu'."
            )
        self.pieces *= 2
        torch.cuda.empty_cache()

    @property
    def separable(self) -> bool:
        """Whether the loss is a sum over groups, so that its gradient can be accumulated group by group."""
        nets = (lender.lend(self.sweep) for lender in self.lenders.values())
        coupled = any(networks.couples_samples(net.module) for net in nets)
        return not coupled and all(term.objective.separable for term in self.recipe.terms)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run of the same recipe and source needs to go on to the same bits."""
        return {
            "sweep": self.sweep,
            "synthesis": self.synthesis.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
            "lenders": [lender.state_dict() for lender in self.lenders.values()],
            "drawers": [drawer.state_dict() for drawer in self.drawers.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.sweep = state["sweep"]
        self.synthesis.load_state_dict(state["synthesis"])
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])
        for parts, stored in ((self.lenders, "lenders"), (self.drawers, "drawers")):
            for part, part_state in zip(parts.values(), state[stored], strict=True):
                part.load_state_dict(part_state)


def _pieces(groups: Sequence[int], count: int) -> list[Sequence[int]]:
    """`groups` in at most `count` parts of nearly equal length."""
    length = -(-len(groups) // count)
    return [groups[start : start + length] for start in range(0, len(groups), length)]


class _Ahead:
    """Fetches the real samples of the next step while this one computes: they come from a file or another memory."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="condensed-data-ahead")
        self.coming: dict[tuple[Sampler, int, tuple[int, ...]], Future[tuple[Draw, Tensor]]] = {}

    def take(self, sampler: Sampler, groups: Sequence[int]) -> tuple[Draw, Tensor]:
        """The draw of the current sweep over these groups, and its samples."""
        run, key = self.run, (sampler, self.run.sweep, tuple(groups))
        found = self.coming.pop(key, None)
        now = self._fetch(*key) if found is None else found.result()
        if run.drawers[sampler].ahead:
            steps = [piece for block in run.blocks() for piece in _pieces(block, run.pieces)]
            place = steps.index(list(groups)) + 1
            later = (run.sweep, steps[place]) if place < len(steps) else (run.sweep + 1, steps[0])
            self.coming = {
                (sampler, later[0], tuple(later[1])): self.thread.submit(
                    self._fetch, sampler, later[0], later[1]
                )
            }
        return now

    def _fetch(self, sampler: Sampler, sweep: int, groups: Sequence[int]) -> tuple[Draw, Tensor]:
        draw = self.run.drawers[sampler].draw(sweep, groups)
        return draw, self.run.context.real[draw.real]


def condense(run: Run, callbacks: Sequence[Callback] = ()) -> Synthesis:
    """Run to the last sweep of the recipe.

    Raises:
        DivergedError: when the loss is NaN, infinite or 1,000 times the largest of the first ten; the run then
            holds the last good synthetic data.
    """
    watch = _Watch(run)
    listeners = Callbacks(tuple(callbacks))
    progress = None
    for progress in _sweeps(run, watch):
        listeners.on_sweep(progress)
    if progress is not None:
        listeners.on_end(progress)
    return run.synthesis


def _sweeps(run: Run, watch: _Watch) -> Iterator[Progress]:
    """Run the sweeps, and report those whose loss is read: all on a CPU, a few a second on an accelerator."""
    started, first = time.perf_counter(), run.sweep
    read = -math.inf
    while run.sweep < run.recipe.sweeps:
        loss = run.step()
        now = time.perf_counter()
        last = run.sweep == run.recipe.sweeps
        # Reading the loss waits for an accelerator; ten times a second keeps it busy.
        if loss.device.type == "cpu" or last or now - read > 0.1:
            read = now
            value = float(loss)
            watch.check(value)
            seconds = time.perf_counter() - started
            rate = (run.sweep - first) / seconds
            yield Progress(
                sweep=run.sweep,
                sweeps=int(run.recipe.sweeps),
                loss=value,
                seconds=seconds,
                sweeps_per_second=rate,
                eta_seconds=(int(run.recipe.sweeps) - run.sweep) / rate,
                recipe=run.recipe.name,
                resumed_at=first,
            )


class _Watch:
    """Keeps the last good synthetic data and stops a run that diverges."""

    def __init__(self, run: Run) -> None:
        self.run, self.seen, self.largest = run, 0, 0.0
        self.good, self.good_sweep, self.kept = run.synthesis.state_dict(), run.sweep, time.perf_counter()

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._stop(f"became {loss}")
        if self.seen >= 10 and abs(loss) > 1000 * self.largest:
            self._stop(f"grew to {loss:.3g}, more than 1,000 times where it began")
        self.seen += 1
        if self.seen <= 10:
            self.largest = max(self.largest, abs(loss))
        if time.perf_counter() - self.kept > 1 or self.seen <= 10:
            self._keep()

    def _keep(self) -> None:
        state = self.run.synthesis.state_dict()
        if all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            self.good, self.good_sweep, self.kept = state, self.run.sweep, time.perf_counter()

    def _stop(self, what: str) -> None:
        self.run.synthesis.load_state_dict(self.good)
        lr, sweep = self.run.recipe.optimizer.lr, self.run.sweep
        low = (
            " Or compute in full precision with precision='fp32'."
            if self.run.context.precision != "fp32"
            else ""
        )
        raise DivergedError(
            f"The loss {what} at sweep {sweep}. The likely cause is a learning rate that is too high for these "
            f"samples: optimizer.lr={lr:g}; try {lr / 10:g}.{low} The last good state, of sweep {self.good_sweep}, "
            "is kept.",
            self.good_sweep,
        )
