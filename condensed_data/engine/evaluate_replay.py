"""Evaluates an order-dependent dataset: trains networks by its own steps and tests them on real samples.

Letters: N samples, M test samples, K classes.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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


def initial_networks(
    schedule: TrainingSchedule,
    network: Any,
    initial: StateDict | Sequence[StateDict] | None,
    runs: int,
    seed: int,
    num_classes: int,
    sample_shape: tuple[int, ...],
) -> Sequence[Callable[[], nn.Module]]:
    """Functions that build the networks that training starts from, checked; see `evaluate_replay` for the arguments.

    Network i starts from the same weights as network i of `evaluate_tensors`, unless the weights are given.
    """
    check_count("evaluate", "runs", runs)
    chosen = schedule.network if network is None else network
    if chosen is None:
        raise ValueError(
            "This dataset was condensed for a network that could not be stored with it. Give network=, the same "
            "architecture."
        )
    states, function = _states(schedule, initial), networks.network(chosen)
    head = schedule.initial.head if initial is not None else "loaded"

    def build(run: int) -> nn.Module:
        rng = RandomStreams(RandomStreams(seed).seed_for("evaluation", run))
        module = networks.build(function, num_classes, sample_shape, rng.seed_for("network"))
        if states:
            load_state(module, states[run], head, "initial" if len(states) == 1 else f"initial[{run}]")
        return module

    builders = [partial(build, run) for run in range(len(states) or runs)]
    networks.probe(builders[0](), sample_shape)
    return builders


def _states(schedule: TrainingSchedule, initial: StateDict | Sequence[StateDict] | None) -> tuple[StateDict, ...]:
    """The state dictionaries to start from, by default those stored with the schedule."""
    stored = schedule.initial
    if initial is None:
        if stored.kind == "given":
            raise ValueError(
                "The networks of this dataset start from weights that were trained elsewhere and are not stored with "
                "it. Give initial=, their state dictionary or a list of them."
            )
        return () if stored.weights is None else (stored.weights,)
    states = (initial,) if isinstance(initial, Mapping) else initial
    if not isinstance(states, Sequence) or not all(isinstance(state, Mapping) for state in states):
        raise ValueError(
            f"initial={type(initial).__name__} must be a state dictionary, such as module.state_dict(), or a list of "
            "them."
        )
    states = tuple(states)
    if not states:
        raise ValueError("initial=[] contains no state dictionary. Give one or more, or omit it.")
    digests = [content_hash(state) for state in states] if stored.digest else []
    if any(digest != stored.digest for digest in digests):
        raise ValueError(
            f"initial= has the digest {digests[0][:12]}..., but this dataset was condensed for "
            f"{str(stored.digest)[:12]}... Give the weights that it was condensed for."
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
    """Train networks by a dataset's own steps and test each after the last one.

    Args:
        images, labels, test_images, test_labels, num_classes, eight_bit: see `evaluate_tensors`.
        replay: the steps.
        network: by default the one that the dataset was condensed for.
        initial: weights to start from, one network each; by default those of the dataset, which is one network if
            they are always the same.
        runs: networks to train if they start from new random weights.
        seed: of these weights.
        device, precision: where and how to compute; the same as while condensing gives the same bits.
        progress: show a bar over the networks.

    Raises:
        ValueError: for data or weights that do not fit the dataset or the network.
        FloatingPointError: if training produces NaN or infinite weights.
    """
    from tqdm.auto import tqdm

    started = time.perf_counter()
    check_samples("images", images, "labels", labels, num_classes)
    check_samples("test_images", test_images, "test_labels", test_labels, num_classes)
    shape = tuple(images.shape[1:])
    builders = initial_networks(replay, network, initial, runs, seed, num_classes, shape)
    name = network_name(replay.network if network is None else network)

    def scores(samples: Tensor, title: str) -> list[tuple[float, Tensor]]:
        """Overall and per-class accuracy of every network."""
        x, y, found = samples.to(device), labels.to(device), []
        for build in tqdm(builders, title, unit="network", leave=False, disable=not progress):
            trained = replay.train(build().to(device), x, y, precision)
            if not all(bool(weight.isfinite().all()) for weight in trained.parameters()):
                raise FloatingPointError(
                    f"Training {type(trained).__name__} on this dataset's own schedule produced NaN or infinite "
                    "weights. Use the network and the weights that it was condensed for."
                )
            found.append(accuracy(trained, test_images, test_labels, precision=precision, num_classes=num_classes))
        return found

    measured = scores(images, name)
    rounded = [] if eight_bit is None else scores(eight_bit, f"{name}, 8 bits")
    per_class = zip(*(classes.tolist() for _, classes in measured), strict=True)
    return Evaluation(
        name,
        OrderedTraining(),
        tuple(overall for overall, _ in measured),
        tuple(None if math.isnan(values[0]) else statistics.fmean(values) for values in per_class),
        tuple(overall for overall, _ in rounded),
        time.perf_counter() - started,
    )
