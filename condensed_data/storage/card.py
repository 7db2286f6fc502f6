"""The card: README.md of a stored set, for people and, in its YAML head, for the Hub.

The same record gives the same text; there are no dates in it. Letters: K classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from condensed_data import spec as specs
from condensed_data.evaluation.evaluate import Evaluation
from condensed_data.record import Record
from condensed_data.storage import parquet

_TASKS = {
    1: "tabular-classification",
    3: "image-classification",
}  # by dimensions; the Hub has none for signals
_SPACES = {
    "unit": "0 to 1",
    "uint8": "0 to 255",
    "source": "those of the source",
    "standardised": "standardised",
}


def card(record: Record) -> str:
    """Markdown with YAML in front, as the Hub reads it.

    Args:
        record: of the set; its evaluations become a table.
    """
    parts = (_title, _use, _recipe, _evaluations, _normalisation, _training)
    body = "\n\n".join(part(record) for part in parts)
    return f"---\n{_front(record)}---\n\n{body}\n"


def _front(record: Record) -> str:
    """YAML, written as `key: JSON`, which is YAML and safe for any name."""
    fields: dict[str, Any] = {"pretty_name": f"{record.name} condensed by {record.recipe_name}"}
    task = _TASKS.get(len(record.kind.shape))
    if task is not None:
        fields["task_categories"] = [task]
    fields["size_categories"] = [_size_category(_count(record))]
    tags = ("condensed-data", "dataset-condensation", "dataset-distillation")
    fields["tags"] = [*tags, record.recipe_name, f"ipc-{record.ipc}"]
    if parquet.is_possible(record.to_manifest()):
        files = [{"split": "train", "path": "data/train-*.parquet"}]
        fields["configs"] = [{"config_name": "default", "default": True, "data_files": files}]
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items())


def _count(record: Record) -> int:
    return record.ipc * len(record.classes)


def _size_category(count: int) -> str:
    limits = [(1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M")]
    below = "n"
    for limit, name in limits:
        if count < limit:
            return f"{below}<{name}"
        below = f"{name}<n"
    return "n>1M"


def _title(record: Record) -> str:
    shape = " x ".join(map(str, record.kind.shape))
    return (
        f"# {_plain(record.name)}, condensed\n\n"
        f"{_count(record):,} synthetic samples, {record.ipc} for each of {len(record.classes)} classes, that "
        f"stand for the {record.source_samples:,} training samples of {_plain(record.name)}. A sample has "
        f"the shape {shape} and comes out as `{record.kind.name}`.\n\n"
        f"Classes: {', '.join(map(_plain, _shortened(record.classes)))}."
    )


def _shortened(names: tuple[str, ...], most: int = 100) -> list[str]:
    return [*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])]


def _use(record: Record) -> str:
    return (
        "## Use\n\n```python\n"
        "from condensed_data import CondensedDataset\n"
        'train_set = CondensedDataset.load("this/folder")  # an ordinary torch Dataset\n'
        "loader = train_set.loader()\n```"
    )


def _recipe(record: Record) -> str:
    lines = [f"## Recipe\n\n{record.recipe_name}, {record.sweeps:,} sweeps, seed {record.seed}."]
    if record.recipe is None:
        lines.append("It holds a function without a name, so its fields are not stored.")
    else:
        lines.append(f"```json\n{json.dumps(record.recipe, indent=1, sort_keys=True)}\n```")
    if record.environment:
        made = ", ".join(f"{name} {value}" for name, value in sorted(record.environment.items()))
        lines.append(f"Made with {_plain(made)}.")
    return "\n\n".join(lines)


def _evaluations(record: Record) -> str:
    if not record.evaluations:
        return "## Evaluation\n\nNot measured; `condensed-data evaluate FOLDER --test SOURCE --save` does it."
    head = ("network", "protocol", "networks", "accuracy", "after rounding to 8 bits")
    note = (
        "Accuracy on real test samples of networks trained on this set only: mean and deviation over "
        "networks, each after its last step."
    )
    return f"## Evaluation\n\n{note}\n\n{_table(head, map(_cells, record.evaluations))}"


def _cells(evaluation: Evaluation) -> tuple[str, ...]:
    rounded = ""
    if evaluation.eight_bit_mean is not None and evaluation.eight_bit_std is not None:
        rounded = _percent(evaluation.eight_bit_mean, evaluation.eight_bit_std)
    measured = _percent(evaluation.mean, evaluation.std)
    return (evaluation.network, evaluation.training.label, str(evaluation.runs), measured, rounded)


def _percent(mean: float, std: float) -> str:
    return f"{100 * mean:.1f} % ± {100 * std:.1f}"


def _normalisation(record: Record) -> str:
    space = record.space
    rows = zip(map(_number, space.mean.tolist()), map(_number, space.std.tolist()), strict=True)
    kept = list(rows)[:16]
    more = "" if len(kept) == len(space.mean) else f"\n\nThe first 16 of {len(space.mean)} are shown."
    numbered = [(str(channel), *row) for channel, row in enumerate(kept)]
    return (
        f"## Normalisation\n\nStored values are {_SPACES[record.value_space]}. For training, subtract the "
        f"mean and divide by the deviation; `train_set.normalization()` does it.\n\n"
        f"{_table(('channel', 'mean', 'deviation'), numbered)}{more}"
    )


def _training(record: Record) -> str:
    leaves = [(path, value) for path, value in specs.paths(record.training) if not list(specs.paths(value))]
    rows = [(path, repr(value)) for path, value in leaves]
    note = f"How to train on it, the {record.training.label}:"
    return f"## Training\n\n{note}\n\n{_table(('field', 'value'), rows)}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _number(value: float) -> str:
    return f"{value:.6g}"


def _plain(text: str) -> str:
    """Text of others on one line, without a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
