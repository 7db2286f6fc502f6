"""The protocols side by side, as Markdown: the page `docs/protocols.md`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from condensed_data.core.spec import DataDefault
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix
from condensed_data.data.dc_augment import DCAugment
from condensed_data.data.frepo_augment import OPERATIONS as FREPO_OPERATIONS
from condensed_data.data.frepo_augment import FRePoAugment
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import PROTOCOLS, FRePoSteps, OnGrayDigits, OnSVHNAtOne

_HEAD = """# Evaluation protocols

Every accuracy names the protocol by which networks were trained: `training="dc"` in Python, `--protocol dc` on the
command line. A protocol is named after its paper, and a recipe's own is that of its paper. Accuracies compare with
published ones only by the same protocol. This page is `condensed_data.training.protocol_table.page()`.

"""
_TAIL = """
`E + 1` epochs: the authors train one epoch more than they name, and the rate drops two epochs after the named one.
Operations: `crop` translates by up to 1/8 of the side (in `dc` 1/7) into a margin, `scale` by 1/1.2 to 1.2 (`dc`: 0.8
to 1.2), `rotate` by up to 15 degrees (`dc`: 45), `flip` mirrors with probability 1/2, `cutout` erases a square of half
the side. In `frepo`, `crop` zooms both sides by 1/1.25 to 1.25, `translate` is by up to 1/8 of the side, borders are
repeated, and a quarter of the side is erased. Where flips are listed, digits and other characters are not flipped;
vectors are neither augmented nor mixed. `mtt` and `haba` train at the rate that is learned with a dataset and stored in
its own protocol.
"""


def page() -> str:
    """The whole page: a table with one row per protocol, and what the docstring of each says."""
    columns = ("protocol", "epochs", "batch", "optimizer", "rate drops", "augmentation", "mixing", "source")
    rows = [columns, ("---",) * len(columns), *(_row(name, make) for name, make in PROTOCOLS.items())]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    details = [f"\n## {name}\n\n{inspect.getdoc(make)}\n" for name, make in PROTOCOLS.items()]
    return _HEAD + table + _TAIL + "".join(details)


def _row(name: str, make: Callable[[], Training]) -> tuple[str, ...]:
    training = make()
    return (
        f"`{name}`",
        _length(training),
        str(training.batch_size) + (f", one of {training.views} views" if training.views > 1 else ""),
        _optimizer(training),
        _drops(training),
        _by_data(training.augment, _augment),
        _by_data(training.cutmix, _mixing),
        str(inspect.getdoc(make)).split(": ", 1)[0] if name != "quick" else "ours",
    )


def _length(training: Training) -> str:
    if isinstance(training.max_steps, FRePoSteps):
        return "1,000 to 40,000 steps"
    return _by_data(training.epochs, lambda epochs: f"{epochs:,}{' + 1' * training.extra_epoch}")


def _by_data(value: Any, show: Callable[[Any], str]) -> str:
    if isinstance(value, OnGrayDigits):
        return f"grayscale digits: {show(value.digits)}; else: {show(value.otherwise)}"
    if isinstance(value, OnSVHNAtOne):
        return f"SVHN at one sample per class: {show(value.special)}; else: {show(value.otherwise)}"
    return show(value)


def _optimizer(training: Training) -> str:
    names = {"sgd": f"SGD, momentum {training.momentum}", "adam": "Adam"}
    kind, loss = names.get(training.optimizer, "AdamW"), ", squared error" * (training.loss == "squared_error")
    return f"{kind}, rate {training.lr}, weight decay {training.weight_decay}{loss}"


def _drops(training: Training) -> str:
    if training.cosine is not None:
        return f"{training.warmup} steps of warm-up, then a cosine to {training.cosine} of it"
    at = ", ".join(str(Fraction(milestone).limit_denominator(12)) for milestone in training.milestones)
    return f"x {training.decay} after {at}" + (", with a new optimizer" if training.reset_momentum else "")


def _augment(augment: Any) -> str:
    if isinstance(augment, DCAugment):
        return f"one of {', '.join(augment.ops)} for every sample"
    if isinstance(augment, FRePoAugment):
        return f"one of {', '.join(FREPO_OPERATIONS)}, drawn per batch"
    if isinstance(augment, SiameseAugment):
        always = ", ".join(_names(augment.always))
        return f"{always} and " * bool(always) + f"one of {', '.join(_names(augment.ops))}, drawn per batch"
    return "none" if isinstance(augment, Identity) else type(augment).__name__


def _names(ops: tuple[str, ...] | DataDefault) -> tuple[str, ...]:
    return ops.ops if isinstance(ops, DefaultDSAOps) else tuple(ops) if isinstance(ops, tuple) else (str(ops),)


def _mixing(cutmix: Any) -> str:
    probability = cutmix.probability if isinstance(cutmix, SpatialCutMix) else cutmix
    return f"CutMix in {100 * probability:.0f} % of the steps" if probability else "none"
