"""How good is a set that depends on its order: networks trained by its own steps, tested on real samples.

Letters: N samples, M test samples, K classes.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.core.tensor_hash import content_hash
from condensed_data.core.validation import check_count
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.networks.state_dicts import load_state
from condensed_data.training.compute import accuracy
from condensed_data.training.evaluate import network_name
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import OrderedTraining
from condensed_data.training.trainer import check_samples

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class InitialNetworks:
    """The networks that training begins with.

    Attributes:
        network: (num_classes, sample_shape) -> Module.
        num_classes: K.
        sample_shape: of one sample.
        states: state dictionaries, one a network; none for new random ones.
        head: of these, see `networks.states.load_state`.
        seed: network i begins where that of `evaluate_tensors` begins.
        count: of the networks.
    """

    network: Callable[..., nn.Module]
    num_classes: int
    sample_shape: tuple[int, ...]
    states: tuple[StateDict, ...]
    head: str
    seed: int
    count: int

    @staticmethod
    def of(
        replay: TrainingSchedule,
        network: Any,
        initial: StateDict | Sequence[StateDict] | None,
        runs: int,
        seed: int,
        num_classes: int,
        sample_shape: tuple[int, ...],
    ) -> InitialNetworks:
        """Check everything; see `evaluate_replay`."""
        check_count(None, "runs", runs)
        chosen = replay.network if network is None else network
        if chosen is None:
            raise ValueError("This set was learned for a network that its file cannot hold. Give network=...")
        states = _states(replay, initial)
        head = replay.initial.head if initial is not None else "loaded"
        function = networks.network(chosen)
        count = len(states) or runs
        made = InitialNetworks(function, num_classes, tuple(sample_shape), states, head, seed, count)
        networks.probe(made[0], made.sample_shape)
        return made

    def __getitem__(self, run: int) -> nn.Module:
        if not 0 <= run < self.count:
            raise IndexError(run)
        rng = RandomStreams(RandomStreams(self.seed).seed_for("evaluation", run))
        module = networks.build(self.network, self.num_classes, self.sample_shape, rng.seed_for("network"))
        if self.states:
            load_state(
                module, self.states[run], self.head, "initial" if self.count == 1 else f"initial[{run}]"
            )
        return module

    def __iter__(self) -> Iterator[nn.Module]:
        return (self[run] for run in range(self.count))


def _states(
    replay: TrainingSchedule, initial: StateDict | Sequence[StateDict] | None
) -> tuple[StateDict, ...]:
    kept = replay.initial
    if initial is None:
        if kept.kind == "given":
            raise ValueError(
                "The networks of this set begin at weights that were trained elsewhere and are not kept with it. "
                "Give initial=, their state dictionary or a list of them."
            )
        return () if kept.weights is None else (kept.weights,)
    states = (initial,) if isinstance(initial, Mapping) else tuple(initial)
    if not states:
        raise ValueError("initial=[] holds no state dictionary. Give one or more, or leave it out.")
    digests = [content_hash(state) for state in states] if kept.digest else []
    if any(digest != kept.digest for digest in digests):
        raise ValueError(
            f"initial= has the digest {digests[0][:12]}..., this set was learned for {str(kept.digest)[:12]}... Give "
            "the weights that it was learned for."
        )
    return states


def evaluate_replay(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    replay: TrainingSchedule,
    num_classes: int,
    network: Any = None,
    initial: StateDict | Sequence[StateDict] | None = None,
    runs: int = 5,
    seed: int = 0,
    eight_bit: Tensor | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    progress: bool = False,
) -> Evaluation:
    """Train networks by the set's own steps and test each after the last one.

    Args:
        images, labels, test_images, test_labels, num_classes, eight_bit: see `evaluate_tensors`.
        replay: the steps.
        network: by default that of the set.
        initial: weights to begin with, one network each; by default those of the set, which is one network where
            they are always the same.
        runs: networks to train where they begin at new random weights.
        seed: of these.
        device, precision: where and how to compute; the same as while condensing gives the same bits.
        progress: show a bar over the networks.

    Raises:
        ValueError: for data or weights that do not fit the set or the network.
        FloatingPointError: if a network's weights end as NaN or infinite.
    """
    started = time.perf_counter()
    check_samples("images", images, "labels", labels, num_classes)
    check_samples("test_images", test_images, "test_labels", test_labels, num_classes)
    shape = tuple(images.shape[1:])
    beginnings = InitialNetworks.of(replay, network, initial, runs, seed, num_classes, shape)
    name = network_name(replay.network if network is None else network)
    test, how = (test_images, test_labels), (torch.device(device), precision)
    scores = list(_scores(replay, beginnings, images, labels, test, name, progress, *how))
    rounded = []
    if eight_bit is not None:
        rounded = list(
            _scores(replay, beginnings, eight_bit, labels, test, f"{name}, 8 bits", progress, *how)
        )
    per_class = zip(*(found.tolist() for _, found in scores), strict=True)
    return Evaluation(
        name,
        OrderedTraining(),
        tuple(overall for overall, _ in scores),
        tuple(None if math.isnan(values[0]) else statistics.fmean(values) for values in per_class),
        tuple(overall for overall, _ in rounded),
        time.perf_counter() - started,
    )


def _scores(
    replay: TrainingSchedule,
    beginnings: InitialNetworks,
    images: Tensor,
    labels: Tensor,
    test: tuple[Tensor, Tensor],
    name: str,
    progress: bool,
    device: torch.device,
    precision: str,
) -> Iterator[tuple[float, Tensor]]:
    """Overall and per-class accuracy of every network."""
    from tqdm.auto import tqdm

    x, y = images.to(device), labels.to(device)
    for module in tqdm(beginnings, name, beginnings.count, unit="network", leave=False, disable=not progress):
        trained = replay.train(module.to(device), x, y, precision)
        if not all(bool(weight.isfinite().all()) for weight in trained.parameters()):
            raise FloatingPointError(
                f"Training a {type(trained).__name__} by the steps of this set ended in weights that are no numbers. "
                "Use the network and the weights that it was learned for."
            )
        yield accuracy(trained, *test, precision=precision, num_classes=beginnings.num_classes)
