"""Label switching: how far training on a few synthetic samples makes networks take one class for another.

A robustness study of dataset distillation (Wang, Zhu, Torralba and Efros, 2018, https://arxiv.org/abs/1811.10959,
section 3.5): samples are learned from real ones of which a class counts as another, so that networks that were good
misclassify it after one step on them, and keep the rest.

    trained = pretrain(source, network, Pretraining(epochs=20, networks=25))
    recipe = recipes.dd(ipc=1, steps=1, epochs=1, relabel=((0, 1),), lr=0.02, pool=GivenWeights(network, trained[:20]))
    print(attack(CondensedDataset(source, recipe), test_set, initial=trained[20:]))

Letters: K classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from condensed_data.core.device import choose_device
from condensed_data.core.rng import preserve_rng_state
from condensed_data.engine.evaluate_replay import InitialNetworks
from condensed_data.methods.recipe import Recipe
from condensed_data.storage import replay as replays
from condensed_data.training.compute import predict

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


@dataclass(frozen=True)
class Switched:
    """What networks made of the test samples; one value a network, fractions in [0, 1].

    Attributes:
        switched: share of the attacked class that was taken for the other one: the success of the attack.
        others: accuracy on the samples of all other classes.
    """

    switched: tuple[float, ...]
    others: tuple[float, ...]

    def __str__(self) -> str:
        values = (f"{100 * statistics.fmean(part):.1f} %" for part in (self.switched, self.others))
        return "switched {}, others right {}".format(*values)


@dataclass(frozen=True)
class Attack:
    """Networks before and after the training steps of a set.

    Attributes:
        pair: (class, other), class indices.
        before, after: the same networks.
    """

    pair: tuple[int, int]
    before: Switched
    after: Switched

    def __str__(self) -> str:
        networks = len(self.after.switched)
        return f"class {self.pair[0]} as {self.pair[1]}, {networks} networks: {self.before} -> {self.after}"


def attack(
    condensed: CondensedDataset,
    test_set: Any,
    pair: tuple[int, int] | None = None,
    *,
    initial: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] | None = None,
    network: Any = None,
    runs: int = 5,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    num_workers: int = 0,
    progress: bool = False,
) -> Attack:
    """Repeat the training steps of a set, and see what they did to the networks.

    Args:
        condensed: a set with steps of its own, as `recipes.dd(relabel=...)` makes.
        test_set: real samples with their true labels.
        pair: (class, other), class indices; by default the first of the recipe's `relabel`.
        initial, network, runs, seed: see `CondensedDataset.evaluate`.
        device, precision, num_workers, progress: how to go about it.

    Raises:
        ValueError: for a set without steps of its own, or a pair that is none.
        SourceError: for a test set that does not fit.
    """
    replay = replays.chosen(condensed, None, initial)
    if replay is None:
        raise ValueError(
            "attack needs a set with training steps of its own, as recipes.dd(relabel=...) makes."
        )
    chosen = _pair(condensed, pair)
    where, classes = choose_device(device), len(condensed.classes)
    with preserve_rng_state():
        test, labels = condensed.standardized("test_set", test_set, num_workers, progress)
        present = set(labels.tolist())
        if chosen[0] not in present or len(present) == 1:
            raise ValueError(
                f"test_set has classes {sorted(present)}: it needs {chosen[0]}, and others beside it."
            )
        x, y = condensed.metadata.space.standardize(condensed.images).to(where), condensed.labels.to(where)
        begin = InitialNetworks.of(replay, network, initial, runs, seed, classes, tuple(x.shape[1:]))
        seen: list[list[tuple[float, float]]] = [[], []]
        for module in begin:
            seen[0].append(_look(module.eval().to(where), test, labels, chosen, precision))
            seen[1].append(_look(replay.train(module, x, y, precision), test, labels, chosen, precision))
    before, after = (Switched(*zip(*part, strict=True)) for part in seen)
    return Attack(chosen, before, after)


def _pair(condensed: CondensedDataset, pair: tuple[int, int] | None) -> tuple[int, int]:
    if pair is None:
        terms = condensed.recipe.terms if isinstance(condensed.recipe, Recipe) else ()
        known = [one for term in terms for one in getattr(term.objective, "relabel", ())]
        if not known:
            raise ValueError("pair=None: the recipe of this set relabels nothing. Give pair=(class, other).")
        pair = known[0]
    classes = len(condensed.classes)
    if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= label < classes for label in pair):
        raise ValueError(f"pair={pair!r} must be two different class indices from 0 to {classes - 1}.")
    return pair[0], pair[1]


def _look(
    module: nn.Module, test: Tensor, labels: Tensor, pair: tuple[int, int], precision: str
) -> tuple[float, float]:
    """Share of the class that is taken for the other one, and accuracy on the rest."""
    predicted, attacked = predict(module, test, precision=precision), labels == pair[0]
    switched = (predicted[attacked] == pair[1]).double().mean()
    return float(switched), float((predicted == labels)[~attacked].double().mean())
