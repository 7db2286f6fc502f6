"""What is searched: a plain mapping from names to choices or ranges, and what a configuration means.

    space = convnet_space() | {"lr": Range(1e-3, 1e-1, log=True), "augment": ("none", "dsa", "crop+flip")}

A configuration is a mapping from the same names to values. Names that are fields of `Training` (lr, optimizer,
batch_size, weight_decay, augment, ...) change how the network is trained; `build_model` reads the others.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from condensed_data.core import spec as specs
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import Spec
from condensed_data.data.augment import Augment, DefaultDSAOps, Identity, SiameseAugment
from condensed_data.networks import ConvNet
from condensed_data.training.protocol import Training

Config = Mapping[str, Any]
TRAINED = frozenset(field.name for field in fields(Training)) - {"name"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are integers.

    Args:
        low, high: the bounds, low < high.
        log: draw evenly on a logarithmic scale.

    Raises:
        ValueError: for bounds out of order, or not positive with log=True.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Range({self.low!r}, {self.high!r}) needs finite bounds with low < high.")
        if self.log and self.low <= 0:
            raise ValueError(f"Range({self.low!r}, {self.high!r}, log=True) needs low > 0.")

    @property
    def whole(self) -> bool:
        """Whether its numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """The number at this share in [0, 1) of the range."""
        low, high = float(self.low), self.high + float(self.whole)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(int(value), int(self.high)) if self.whole else value


ValueSpace = Mapping[str, Range | Sequence[Any]]


def convnet_space(
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (1, 2, 3, 4),
    norms: Sequence[str] = ("none", "batch", "layer", "instance", "group"),
    activations: Sequence[str] = ("sigmoid", "relu", "leakyrelu"),
    poolings: Sequence[str] = ("none", "max", "avg"),
) -> dict[str, tuple[Any, ...]]:
    """The 720 ConvNets on which DC, DSA and DM were searched; give narrower widths on small machines.

    Source: Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, section 4.3 and appendix.
    """
    return {
        "width": tuple(widths),
        "depth": tuple(depths),
        "norm": tuple(norms),
        "activation": tuple(activations),
        "pooling": tuple(poolings),
    }


def convnet(config: Config) -> ConvNet:
    """The network of a configuration of `convnet_space`; other names are left alone."""
    known = {field.name for field in fields(ConvNet)}
    return ConvNet(**{name: value for name, value in config.items() if name in known})


def check(space: ValueSpace) -> None:
    """Refuse a space that cannot be searched.

    Raises:
        ValueError: for a space without names, choices that are empty or of values that no file can hold.
    """
    if not space:
        raise ValueError("space={} has no names: there is nothing to search.")
    for name, choices in space.items():
        if isinstance(choices, Range):
            continue
        if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
            raise ValueError(
                f"space[{name!r}]={choices!r} must be a Range or a list of choices with at least one."
            )
        odd = [one for one in choices if not isinstance(one, str | int | float | bool | None)]
        if odd:
            raise ValueError(
                f"space[{name!r}] holds {odd[0]!r}: choices are text, numbers, booleans or None. Give a name, and "
                "translate it in build_model."
            )


def grid(space: ValueSpace) -> list[dict[str, Any]]:
    """Every configuration of a space of choices.

    Raises:
        ValueError: for a space with a `Range`, which has no end.
    """
    check(space)
    ranges = [name for name, choices in space.items() if isinstance(choices, Range)]
    if ranges:
        raise ValueError(
            f"space[{ranges[0]!r}] is a Range, and a grid has choices only. Use sample(space, n)."
        )
    listed: list[Sequence[Any]] = [choices for choices in space.values() if not isinstance(choices, Range)]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*listed)]


def sample(space: ValueSpace, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Random different configurations.

    Args:
        count: how many; the whole grid where it has no more.
        seed: the same seed gives the same configurations.
    """
    check(space)
    draw = RandomStreams(seed).numpy("space")
    if not any(isinstance(choices, Range) for choices in space.values()):
        everything = grid(space)
        chosen = draw.permutation(len(everything))[:count]
        return [everything[index] for index in chosen]
    return [{name: _drawn(choices, draw) for name, choices in space.items()} for _ in range(count)]


def _drawn(choices: Range | Sequence[Any], draw: np.random.Generator) -> Any:
    return (
        choices.at(draw.random()) if isinstance(choices, Range) else choices[int(draw.integers(len(choices)))]
    )


def suggest(trial: Any, space: ValueSpace) -> dict[str, Any]:
    """What an Optuna trial suggests for a space."""
    return {name: _suggested(trial, name, choices) for name, choices in space.items()}


def _suggested(trial: Any, name: str, choices: Range | Sequence[Any]) -> Any:
    if not isinstance(choices, Range):
        return trial.suggest_categorical(name, list(choices))
    ask = trial.suggest_int if choices.whole else trial.suggest_float
    return ask(name, choices.low, choices.high, log=choices.log)


def plain(config: Config) -> dict[str, Any]:
    """A configuration with NumPy's numbers as Python's own."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}


def key_of(config: Config) -> str:
    """Canonical JSON of a configuration, whatever the order of its names.

    Raises:
        TypeError: for values that have no canonical form.
    """

    def other(value: Any) -> Any:
        if isinstance(value, Spec):
            return specs.to_json(value)
        raise TypeError(
            f"A configuration holds {value!r}, which no file can hold. Give a name, and translate it in build_model."
        )

    return json.dumps(plain(config), sort_keys=True, default=other)


def training_of(config: Config, base: Training) -> Training:
    """The base protocol with what a configuration says about training.

    Raises:
        ValueError: for a value out of its range, or an unknown augmentation.
    """
    changes = {name: value for name, value in config.items() if name in TRAINED}
    if isinstance(changes.get("augment"), str):
        changes["augment"] = augmentation(changes["augment"])
    return replace(base, **changes) if changes else base


def augmentation(name: str) -> Augment:
    """An augmentation by name: "none", "dsa", or operations of it, such as "crop+flip".

    Raises:
        ValueError: for an unknown operation.
    """
    if name == "none":
        return Identity()
    return SiameseAugment(DefaultDSAOps() if name == "dsa" else tuple(name.split("+")), per_sample=True)
