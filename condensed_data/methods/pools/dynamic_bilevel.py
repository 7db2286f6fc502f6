"""Networks renewed and trained by what they can do: the dynamic bi-level optimization of CAFE.

Wang et al., CAFE: Learning to Condense Dataset by Aligning Features, CVPR 2022,
https://arxiv.org/abs/2203.01531, section 3.4, and the authors' code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault
from condensed_data.core.validation import check_count
from condensed_data.methods.base import NetworkView, Pool, PoolState, SyntheticData
from condensed_data.methods.pools.inner_loop import normalize, synthetic_epochs
from condensed_data.methods.pools.module_slot import NetworkSlot
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps


@dataclass(frozen=True)
class DynamicBilevel(Pool):
    """A network lives until matching stops to change what it can do, and is trained until training does.

    After each iteration the network's accuracy on random real training samples is measured. Where the spread
    (largest minus smallest) of the last `window` of these is below `outer`, a new random network follows. Else it
    is trained on the synthetic samples, an epoch at a time with a measurement after each, until the spread of the
    last `window` measurements is above `inner`.

    Deviations: the paper's plain accuracies are compared; the authors' code never resets its accumulators, so
    that it compares smoothed ones, and its thresholds, which are the defaults here, belong to these. Both of
    its loops have no bound; here `period` and `epochs` bound them.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        outer: spread of accuracies, a fraction, below which a network is replaced (the paper's lambda 1).
        inner: spread above which its training stops (lambda 2).
        window: measurements that are compared.
        queries: random real training samples per class of one measurement.
        period: iterations that a network lives at most.
        epochs: over the synthetic samples between two iterations at most.
        descent: the steps.

    Raises:
        ValueError: for numbers that are not positive, thresholds outside [0, 1], or a window of less than 2.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    outer: float = 0.04
    inner: float = 0.03
    window: int = 10
    queries: int = 128
    period: int | DataDefault = 50
    epochs: int | DataDefault = 50
    sgd: SGDConfig = field(default_factory=SGDConfig)
    learns_from_samples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("queries", "period", "epochs"):
            check_count("DynamicBilevel", name, getattr(self, name))
        check_count("DynamicBilevel", "window", self.window, least=2)
        for name in ("outer", "inner"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"DynamicBilevel({name}={getattr(self, name)!r}) must be a fraction in [0, 1]."
                )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _DynamicBilevelState(self, context)


class _DynamicBilevelState(PoolState):
    def __init__(self, spec: DynamicBilevel, context: Context) -> None:
        self.spec, self.context, self.number = spec, context, 0
        self.slot = NetworkSlot(spec.network, context)
        self.normalized: int | None = None
        self._renew(0)

    def network_at(self, iteration: int) -> NetworkView:
        if iteration != self.normalized:
            self.normalized = iteration
            normalize(self.slot.module, self.context, iteration)
        return self.slot.net

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        rng = RandomStreams(self.context.rng.seed_for("bilevel", iteration))
        self.lived += 1
        self.measured.append(self._accuracy(rng, 0))
        period = self.spec.period
        assert not isinstance(period, DataDefault)
        if self.lived >= period or (self._full(self.measured) and _spread(self.measured) < self.spec.outer):
            self._renew(self.number + 1)
        else:
            self._train(synthetic_data, rng)

    def _train(self, synthetic_data: SyntheticData, rng: RandomStreams) -> None:
        measured: deque[float] = deque(maxlen=self.spec.window)
        epochs = self.spec.epochs
        assert not isinstance(epochs, DataDefault)
        for epoch in range(epochs):
            own = RandomStreams(rng.seed_for("epoch", epoch))
            batches = synthetic_epochs(synthetic_data, self.spec.sgd, 1, own, self.context.device)
            run_steps(self.descender, batches, own)
            measured.append(self._accuracy(rng, epoch + 1))
            if self._full(measured) and _spread(measured) > self.spec.inner:
                break

    def _accuracy(self, rng: RandomStreams, number: int) -> float:
        """Share of random real training samples that the network classifies correctly."""
        real, hits, seen = self.context.real, [], 0
        rows = torch.cat([self._queried(rng, number, label) for label in range(real.num_classes)])
        module = self.slot.module
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        with torch.no_grad():
            for piece in rows.split(1024):
                x, y = real.batch(piece, self.context.device)
                hits.append((self.slot.net.logits(x).argmax(1) == y).sum())
                seen += len(piece)
        for part, mode in modes:
            part.training = mode
        return int(torch.stack(hits).sum()) / seen

    def _queried(self, rng: RandomStreams, number: int, label: int) -> Tensor:
        members = self.classes[label]
        count = min(self.spec.queries, len(members))
        return members[rng.choice("query", number, label, len(members), count)]

    @cached_property
    def classes(self) -> list[Tensor]:
        """Indices of the real samples of every class."""
        labels = self.context.real.labels
        return [(labels == label).nonzero()[:, 0] for label in range(self.context.real.num_classes)]

    def _full(self, measured: deque[float]) -> bool:
        return len(measured) == self.spec.window

    def _renew(self, number: int) -> None:
        self.number, self.lived, self.normalized = number, 0, None
        self.measured: deque[float] = deque(maxlen=self.spec.window)
        self.slot.renew(self.context.rng.seed_for("network", number))
        self.descender = self._sgd_trainer()

    def _sgd_trainer(self) -> SGDTrainer:
        real = self.context.real
        return SGDTrainer(
            self.slot.module, self.spec.sgd, real.num_classes, real.sample_shape, self.context.precision
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "lived": self.lived,
            "measured": list(self.measured),
            "network": self.slot.module.state_dict(),
            "optimizer": self.descender.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._renew(state["number"])
        self.lived = state["lived"]
        self.measured.extend(state["measured"])
        self.slot.module.load_state_dict(state["network"])
        self.descender.optimizer.load_state_dict(state["optimizer"])


def _spread(measured: deque[float]) -> float:
    return max(measured) - min(measured)
