"""Search spaces: mappings from names to choices or ranges, and what a configuration of a space means.

    space = convnet_space() | {"lr": Range(1e-3, 1e-1, log=True), "augment": ("none", "dsa", "crop+flip")}

A configuration is a mapping from the same names to values. Names that are fields of `Training` (lr, optimizer,
batch_size, weight_decay, augment, ...) change how the network is trained; `build_model` reads the other names.
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
from condensed_data.core.annotations import Count, Natural, check_fields, checked
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import Spec
from condensed_data.data.augment import Augment, DefaultDSAOps, Identity, SiameseAugment
from condensed_data.networks import ConvNet
from condensed_data.training.protocol import Training

Config = Mapping[str, Any]
TRAINING_FIELDS = frozenset(field.name for field in fields(Training)) - {"name"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both bounds are. `log`: uniform on a logarithmic scale.

    Raises:
        ValueError: unless low < high, both finite, and low > 0 with log=True.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Range({self.low!r}, {self.high!r}) needs finite bounds with low < high.")
        if self.log and self.low <= 0:
            raise ValueError(f"Range({self.low!r}, {self.high!r}, log=True) needs low > 0.")

    @property
    def is_integer(self) -> bool:
        """Whether the range holds integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, fraction: float) -> float:
        """The number at this fraction of the range, in [0, 1)."""
        low, high = float(self.low), self.high + float(self.is_integer)
        value = low * (high / low) ** fraction if self.log else low + fraction * (high - low)
        return min(int(value), int(self.high)) if self.is_integer else value


ValueSpace = Mapping[str, Range | Sequence[Any]]


@checked
def convnet_space(
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (1, 2, 3, 4),
    norms: Sequence[str] = ("none", "batch", "layer", "instance", "group"),
    activations: Sequence[str] = ("sigmoid", "relu", "leakyrelu"),
    poolings: Sequence[str] = ("none", "max", "avg"),
) -> dict[str, tuple[Any, ...]]:
    """The 720 ConvNets of the architecture searches with DC, DSA and DM; give narrower widths on small machines.

    Source: Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, section 4.3 and appendix.
    """
    choices = {"width": widths, "depth": depths, "norm": norms, "activation": activations, "pooling": poolings}
    return {name: tuple(values) for name, values in choices.items()}


@checked
def convnet(config: Config) -> ConvNet:
    """The network of a configuration of `convnet_space`; other names are ignored."""
    known = {field.name for field in fields(ConvNet)}
    return ConvNet(**{name: value for name, value in config.items() if name in known})


def check_space(space: ValueSpace) -> None:
    """Check that a space can be searched.

    Raises:
        ValueError: for a space without names, without choices for a name, or with choices that JSON cannot hold.
    """
    if not space:
        raise ValueError("space={} has no names, so there is nothing to search. Give at least one.")
    for name, choices in space.items():
        if isinstance(choices, Range):
            continue
        if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
            raise ValueError(f"space[{name!r}]={choices!r} must be a Range or a non-empty list of choices.")
        invalid = [choice for choice in choices if not isinstance(choice, str | int | float | bool | None)]
        if invalid:
            raise ValueError(
                f"space[{name!r}] holds {invalid[0]!r}, but choices must be strings, numbers, booleans or None. Use a "
                "name, and translate it in build_model."
            )


@checked
def grid(space: ValueSpace) -> list[dict[str, Any]]:
    """Every configuration of a space of choices.

    Raises:
        ValueError: for a space with a `Range`, which cannot be enumerated.
    """
    check_space(space)
    ranges = [name for name, choices in space.items() if isinstance(choices, Range)]
    if ranges:
        raise ValueError(f"space[{ranges[0]!r}] is a Range, which a grid cannot enumerate. Use sample(space, n).")
    listed: list[Sequence[Any]] = [choices for choices in space.values() if not isinstance(choices, Range)]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*listed)]


@checked
def sample(space: ValueSpace, count: Count, seed: Natural = 0) -> list[dict[str, Any]]:
    """`count` random configurations; those of a space of choices are distinct, and all of it if it has fewer."""
    check_space(space)
    generator = RandomStreams(seed).numpy("space")
    if not any(isinstance(choices, Range) for choices in space.values()):
        everything = grid(space)
        return [everything[index] for index in generator.permutation(len(everything))[:count]]

    def draw(choices: Range | Sequence[Any]) -> Any:
        if isinstance(choices, Range):
            return choices.at(generator.random())
        return choices[int(generator.integers(len(choices)))]

    return [{name: draw(choices) for name, choices in space.items()} for _ in range(count)]


def suggest(trial: Any, space: ValueSpace) -> dict[str, Any]:
    """The configuration that an Optuna trial suggests for a space."""
    config = {}
    for name, choices in space.items():
        if isinstance(choices, Range):
            suggest_number = trial.suggest_int if choices.is_integer else trial.suggest_float
            config[name] = suggest_number(name, choices.low, choices.high, log=choices.log)
        else:
            config[name] = trial.suggest_categorical(name, list(choices))
    return config


def to_python(config: Config) -> dict[str, Any]:
    """A configuration with NumPy scalars converted to Python numbers."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}


def key_of(config: Config) -> str:
    """Canonical JSON of a configuration, independent of the order of its names.

    Raises:
        TypeError: for values that JSON cannot hold.
    """

    def encode(value: Any) -> Any:
        if isinstance(value, Spec):
            return specs.to_json(value)
        raise TypeError(
            f"The configuration holds {value!r}, which JSON cannot hold. Use a name, and translate it in build_model."
        )

    return json.dumps(to_python(config), sort_keys=True, default=encode)


def training_of(config: Config, base: Training) -> Training:
    """The base protocol, changed by the training fields of a configuration.

    Raises:
        ValueError: for an invalid value, or an unknown augmentation.
    """
    changes = {name: value for name, value in config.items() if name in TRAINING_FIELDS}
    if isinstance(changes.get("augment"), str):
        changes["augment"] = augmentation(changes["augment"])
    return replace(base, **changes) if changes else base


def augmentation(name: str) -> Augment:
    """An augmentation by name: "none", "dsa", or some of its operations, such as "crop+flip"."""
    if name == "none":
        return Identity()
    return SiameseAugment(DefaultDSAOps() if name == "dsa" else tuple(name.split("+")), per_sample=True)
