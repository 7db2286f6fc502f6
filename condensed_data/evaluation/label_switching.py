"""Measures label switching: how often networks trained on a few synthetic samples mistake one class for another.

A robustness study of dataset distillation (Wang, Zhu, Torralba and Efros, 2018, https://arxiv.org/abs/1811.10959,
section 3.5): samples are learned from real ones in which a class has the label of another, so that well-trained
networks misclassify this class after one step on them, and keep their accuracy on the rest.

    trained = pretrain(source, network, Pretraining(epochs=20, networks=25))
    recipe = recipes.dd(ipc=1, steps=1, epochs=1, relabel=((0, 1),), lr=0.02, pool=GivenWeights(network, trained[:20]))
    print(attack(CondensedDataset(source, recipe), test_set, initial=trained[20:]))

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.device import choose_device
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.sizes import mean_percent
from condensed_data.core.torch_settings import own_settings
from condensed_data.engine.evaluate import schedule_for, standardized
from condensed_data.engine.evaluate_replay import initial_networks
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import NetworkLike
from condensed_data.storage.interfaces import CondensedSamples
from condensed_data.training.compute import predict


@dataclass(frozen=True)
class SwitchRates:
    """Predictions on the test samples; one value per network, fractions in [0, 1].

    Attributes:
        switched: fraction of the attacked class that is predicted as the other one: the success of the attack.
        others: accuracy on the samples of all other classes.
    """

    switched: tuple[float, ...]
    others: tuple[float, ...]

    def __str__(self) -> str:
        return f"switched {mean_percent(self.switched)}, accuracy on other classes {mean_percent(self.others)}"


@dataclass(frozen=True)
class LabelSwitch:
    """Networks before and after the training steps of a condensed dataset.

    Attributes:
        pair: (class, other), class indices.
        before, after: the same networks.
    """

    pair: tuple[int, int]
    before: SwitchRates
    after: SwitchRates

    def __str__(self) -> str:
        networks = len(self.after.switched)
        return f"class {self.pair[0]} as {self.pair[1]}, {networks} networks: {self.before} -> {self.after}"


@own_settings()
@checked
def attack(
    condensed: CondensedSamples,
    test_set: Any,
    pair: tuple[int, int] | None = None,
    *,
    initial: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] | None = None,
    network: NetworkLike | None = None,
    runs: Count = 5,
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    num_workers: Natural = 0,
    progress: bool = False,
) -> LabelSwitch:
    """Repeat the training steps of a condensed dataset, and compare the predictions of networks before and after.

    Args:
        condensed: an order-dependent dataset, such as one condensed with `recipes.dd(relabel=...)`.
        test_set: real samples with their true labels.
        pair: (class, other), class indices; by default the first of the recipe's `relabel`.
        initial, network, runs, seed: see `CondensedDataset.evaluate`.
        device, precision, num_workers, progress: see `CondensedDataset`.

    Raises:
        ValueError: for a dataset that is not order-dependent, or an invalid pair.
        SourceError: for a test set of another shape, with other labels or in another value space.
    """
    schedule = schedule_for(condensed, None, initial)
    if schedule is None:
        raise ValueError(
            "attack() needs an order-dependent dataset, such as one condensed with recipes.dd(relabel=...)."
        )
    chosen, metadata = _pair(condensed, pair), condensed.metadata
    torch_device, classes = choose_device(device), len(metadata.classes)
    with preserve_rng_state():
        test, labels = standardized(metadata, "test_set", test_set, num_workers, progress)
        present = set(labels.tolist())
        if chosen[0] not in present or len(present) == 1:
            raise ValueError(
                f"test_set has classes {sorted(present)}, but it needs class {chosen[0]} and at least one other."
            )
        x = metadata.space.standardize(condensed.images).to(torch_device)
        y = condensed.labels.to(torch_device)
        builders = initial_networks(schedule, network, initial, runs, seed, classes, tuple(x.shape[1:]))
        rates: list[list[tuple[float, float]]] = [[], []]
        for build in builders:
            module = build().eval().to(torch_device)
            rates[0].append(_rates(module, test, labels, chosen, precision))
            trained = schedule.train(module, x, y, precision)
            rates[1].append(_rates(trained, test, labels, chosen, precision))
    before, after = (SwitchRates(*zip(*part, strict=True)) for part in rates)
    return LabelSwitch(chosen, before, after)


def _pair(condensed: CondensedSamples, pair: tuple[int, int] | None) -> tuple[int, int]:
    if pair is None:
        terms = condensed.recipe.terms if isinstance(condensed.recipe, Recipe) else ()
        relabeled = [one for term in terms for one in getattr(term.objective, "relabel", ())]
        if not relabeled:
            raise ValueError("pair=None: the recipe of this dataset relabels nothing. Give pair=(class, other).")
        pair = relabeled[0]
    classes = len(condensed.metadata.classes)
    if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= label < classes for label in pair):
        raise ValueError(f"pair={pair!r} must be two different class indices from 0 to {classes - 1}.")
    return pair[0], pair[1]


def _rates(
    module: nn.Module, test: Tensor, labels: Tensor, pair: tuple[int, int], precision: str
) -> tuple[float, float]:
    """Fraction of the class that is predicted as the other one, and accuracy on the rest."""
    predicted, attacked = predict(module, test, precision=precision), labels == pair[0]
    switched = (predicted[attacked] == pair[1]).double().mean()
    return float(switched), float((predicted == labels)[~attacked].double().mean())
