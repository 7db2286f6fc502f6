"""CAFE's dynamic bi-level schedule: re-initialize or train the network depending on its accuracy.

Wang et al., CAFE: Learning to Condense Dataset by Aligning Features, CVPR 2022,
https://arxiv.org/abs/2203.01531, section 3.4, and the authors' code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from condensed_data.core.batch import NetworkView
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.methods.base import PoolState, SyntheticData
from condensed_data.methods.pools.network_slot import NetworkPool
from condensed_data.methods.pools.trained_network import TrainedNetworkState, synthetic_epochs
from condensed_data.networks.modes import temporary_mode
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, run_steps

ROWS = 1024  # of one forward pass


@dataclass(frozen=True)
class DynamicBilevel(NetworkPool):
    """A network that is replaced when its accuracy stops changing, and trained until training changes it.

    After each iteration the network's accuracy on random real training samples is measured. If the last `window`
    accuracies vary (largest minus smallest) by less than `outer`, a new random network replaces it. Otherwise it is
    trained on the synthetic samples, one epoch at a time with a measurement after each, until the last `window` of
    these vary by more than `inner`.

    Deviations: accuracies are compared as in the paper; the authors' code never resets its accumulators, so that it
    compares smoothed ones, and its thresholds, which are the defaults here, are tuned to those. Both of its loops are
    unbounded; here `period` and `epochs` bound them.

    Args:
        outer: variation of accuracies, a fraction, below which a network is replaced (the paper's lambda 1).
        inner: variation, a fraction, above which its training stops (lambda 2).
        window: measurements that are compared, at least 2.
        queries: random real training samples per class of one measurement.
        period: most iterations that a network is used.
        epochs: most epochs over the synthetic samples between two iterations.
        sgd: how it is trained.
    """

    outer: float = 0.04
    inner: float = 0.03
    window: int = 10
    queries: int = 128
    period: int | DataDefault = 50
    epochs: int | DataDefault = 50
    sgd: SGDConfig = field(default_factory=SGDConfig)
    trains_on_synthetic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("queries", "period", "epochs"):
            check_count("DynamicBilevel", name, getattr(self, name), or_default=name != "queries")
        check_count("DynamicBilevel", "window", self.window, least=2)
        for name in ("outer", "inner"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"DynamicBilevel({name}={getattr(self, name)!r}) must be in [0, 1].")

    def start(self, context: Context) -> PoolState:
        return _DynamicBilevelState(self, context)


class _DynamicBilevelState(TrainedNetworkState):
    def __init__(self, spec: DynamicBilevel, context: Context) -> None:
        super().__init__(context, spec.network, spec.sgd)
        self.spec, real = spec, context.real
        self.class_members = [(real.labels == label).nonzero()[:, 0] for label in range(real.num_classes)]
        self._replace(0)

    def network_at(self, iteration: int) -> NetworkView:
        return self._normalized(iteration)

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        rng = RandomStreams(self.context.rng.seed_for("bilevel", iteration))
        self.age += 1
        self.accuracies.append(self._accuracy(rng, 0))
        variation = _variation(self.accuracies)
        if self.age >= require_resolved(self.spec.period) or (variation is not None and variation < self.spec.outer):
            assert self.network_index is not None
            self._replace(self.network_index + 1)
        else:
            self._train(synthetic_data, rng)

    def _replace(self, index: int) -> None:
        self._start_network(index)
        self.age = 0  # iterations since the network was initialized
        self.accuracies: deque[float] = deque(maxlen=self.spec.window)

    def _train(self, synthetic_data: SyntheticData, rng: RandomStreams) -> None:
        accuracies: deque[float] = deque(maxlen=self.spec.window)
        for epoch in range(require_resolved(self.spec.epochs)):
            epoch_rng = RandomStreams(rng.seed_for("epoch", epoch))
            batches = synthetic_epochs(synthetic_data, self.sgd, 1, epoch_rng, self.context.device)
            run_steps(self.trainer, batches, epoch_rng)
            accuracies.append(self._accuracy(rng, epoch + 1))
            variation = _variation(accuracies)
            if variation is not None and variation > self.spec.inner:
                break

    def _accuracy(self, rng: RandomStreams, measurement: int) -> float:
        """Accuracy on random real training samples, as a fraction."""
        real = self.context.real
        queries = []
        for label, members in enumerate(self.class_members):
            count = min(self.spec.queries, len(members))
            queries.append(members[rng.choice("query", measurement, label, len(members), count)])
        rows = torch.cat(queries)
        correct = []
        with temporary_mode(self.slot.module, training=False), torch.no_grad():
            for chunk in rows.split(ROWS):
                x, y = real.batch(chunk, self.context.device)
                correct.append((self.slot.net.logits(x).argmax(1) == y).sum())
        return int(torch.stack(correct).sum()) / len(rows)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "age": self.age, "accuracies": list(self.accuracies)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._replace(state["network_index"])
        super().load_state_dict(state)
        self.age = state["age"]
        self.accuracies.extend(state["accuracies"])


def _variation(accuracies: deque[float]) -> float | None:
    """Largest minus smallest accuracy; None while the window is not full."""
    return max(accuracies) - min(accuracies) if len(accuracies) == accuracies.maxlen else None
