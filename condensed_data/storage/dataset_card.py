"""The card: README.md of a stored set, for people and, in its YAML head, for the Hub.

The same record gives the same text; there are no dates in it. Letters: K classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from condensed_data.core import spec as specs
from condensed_data.core.sizes import percent
from condensed_data.storage import parquet
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluate import Evaluation
from condensed_data.training.protocol import OrderedTraining

_TASKS = {
    1: "tabular-classification",
    3: "image-classification",
}  # by dimensions; the Hub has none for signals
_SPACES = {
    "unit": "0 to 1",
    "uint8": "0 to 255",
    "source": "those of the source",
    "standardized": "standardized",
}
_BASELINES = {"random": "random real samples, as many", "whole set": "the whole real set"}


def card(metadata: Metadata) -> str:
    """Markdown with YAML in front, as the Hub reads it, for a set in a folder.

    Args:
        record: of the set; its evaluations become a table.
    """
    fields: dict[str, Any] = {"pretty_name": pretty_name(metadata)}
    fields |= tasks([metadata]) | {
        "size_categories": [size_category(count(metadata))],
        "tags": tags([metadata]),
    }
    if parquet.is_possible(metadata.to_manifest()):
        files = [{"split": "train", "path": "data/train-*.parquet"}]
        fields["configs"] = [{"config_name": "default", "default": True, "data_files": files}]
    use = (
        "from condensed_data import CondensedDataset\n"
        'train_set = CondensedDataset.load("this/folder")  # an ordinary torch Dataset\n'
        "loader = train_set.loader()"
    )
    return f"---\n{front(fields)}---\n\n{body(metadata, use)}\n"


def body(metadata: Metadata, use: str, picture: str = "", level: int = 1) -> str:
    """Markdown about one set, without YAML.

    Args:
        record: of the set.
        use: Python that loads it, shown as it is.
        picture: path of a picture of it beside README.md; none is shown if empty.
        level: of its title: 1 for the only one of a card.
    """
    shown = f"![samples]({quote(picture)})" if picture else ""
    parts = [_title(metadata), shown, f"## Use\n\n```python\n{use}\n```"]
    parts += [part(metadata) for part in (_recipe, _evaluations, _normalization, _training)]
    parts = [re.sub("^#", "#" * level, part) for part in parts if part]  # a part begins with its heading
    return "\n\n".join(parts)


def front(fields: Mapping[str, Any]) -> str:
    """YAML, written as `key: JSON`, which is YAML and safe for any name."""
    return "".join(f"{key}: {_yaml(value)}\n" for key, value in fields.items())


def _yaml(value: Any) -> str:
    """JSON in which what YAML cannot hold, or takes for the end of a line, is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty_name(metadata: Metadata) -> str:
    """The name that a page of the Hub is found by."""
    return f"{metadata.name} condensed by {metadata.recipe_name}"


def tasks(records: Iterable[Metadata]) -> dict[str, list[str]]:
    """The field `task_categories`, or nothing where the Hub has no name for the tasks."""
    found = {_TASKS.get(len(metadata.kind.shape), "") for metadata in records} - {""}
    return {"task_categories": sorted(found)} if found else {}


def tags(records: Sequence[Metadata]) -> list[str]:
    """What sets are found by: that they are ours, then their recipes, numbers of samples and sources."""
    found = ["condensed-data", "dataset-condensation", "dataset-distillation"]
    found += sorted({metadata.recipe_name for metadata in records})
    found += [f"ipc-{ipc}" for ipc in sorted({metadata.ipc for metadata in records})]
    return found + sorted({source_tag(metadata.name) for metadata in records})


def source_tag(name: str) -> str:
    """The tag of a source, the same for every spelling of it: "Fashion-MNIST" gives "source-fashionmnist".

    Of a data set of the Hub ("hf:user/name@revision:config") it names the repository alone.
    """
    name = re.sub(r"^hf:([^@:]+).*", r"\1", name)
    return "source-" + ("".join(letter for letter in name.casefold() if letter.isalnum()) or "unnamed")[:64]


def count(metadata: Metadata) -> int:
    """Number of samples as decoded."""
    return metadata.samples or metadata.ipc * len(metadata.classes)


def size_category(number: int) -> str:
    """The Hub's name for so many samples."""
    limits = [(1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M")]
    below = "n"
    for limit, name in limits:
        if number < limit:
            return f"{below}<{name}"
        below = f"{name}<n"
    return "n>1M"


def _title(metadata: Metadata) -> str:
    shape, number, classes = " x ".join(map(str, metadata.kind.shape)), count(metadata), len(metadata.classes)
    real = "" if metadata.source_samples is None else f"{metadata.source_samples:,} "
    share = "" if number == metadata.ipc * classes else "decoded from the room of "
    soft = " Labels are class probabilities." if metadata.label_kind == "probs" else ""
    floats = (
        "" if metadata.stored_floats is None else f" They are stored as {metadata.stored_floats:,} numbers."
    )
    return (
        f"# {plain(metadata.name)}, condensed\n\n"
        f"{number:,} synthetic samples, {share}{metadata.ipc} for each of {classes} classes, that "
        f"stand for the {real}training samples of {plain(metadata.name)}. A sample has "
        f"the shape {shape} and comes out as `{metadata.kind.name}`.{floats}{soft}\n\n"
        f"Classes: {', '.join(map(plain, _shortened(metadata.classes)))}."
    )


def _shortened(names: tuple[str, ...], most: int = 100) -> list[str]:
    return [*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])]


def _recipe(metadata: Metadata) -> str:
    if metadata.source_samples is None:
        return "## Recipe\n\nNot known: the set was made elsewhere and read from files that do not say."
    lines = [
        f"## Recipe\n\n{metadata.recipe_name}, {metadata.iterations:,} iterations, seed {metadata.seed}."
    ]
    if metadata.recipe is None:
        lines.append("It holds a function without a name, so its fields are not stored.")
    else:
        fields = json.dumps(metadata.recipe, indent=1, sort_keys=True)
        lines.append(_folded("All fields", f"```json\n{fields}\n```"))
    if metadata.environment:
        made = ", ".join(f"{name} {value}" for name, value in sorted(metadata.environment.items()))
        lines.append(f"Made with {plain(made)}.")
    return "\n\n".join(lines)


def _evaluations(metadata: Metadata) -> str:
    if not metadata.evaluations:
        return "## Evaluation\n\nNot measured; `condensed-data evaluate FOLDER --test SOURCE --save` does it."
    head = ("trained on", "network", "protocol", "networks", "accuracy", "after rounding to 8 bits")
    note = (
        "Accuracy on real test samples of networks trained on one kind of set only: mean and deviation over "
        "networks, each after its last step."
    )
    rows = [("this set", evaluation) for evaluation in metadata.evaluations]
    rows += [(_BASELINES.get(name, name), evaluation) for name, evaluation in metadata.baselines]
    return f"## Evaluation\n\n{note}\n\n{table(head, [_cells(*row) for row in rows])}"


def _cells(name: str, evaluation: Evaluation) -> tuple[str, ...]:
    rounded = ""
    if evaluation.eight_bit_mean is not None and evaluation.eight_bit_std is not None:
        rounded = percent(evaluation.eight_bit_mean, evaluation.eight_bit_std)
    measured = percent(evaluation.mean, evaluation.std)
    runs = str(evaluation.runs)
    return (name, evaluation.network, evaluation.training.label, runs, measured, rounded)


def _normalization(metadata: Metadata) -> str:
    space = metadata.space
    rows = zip(map(_number, space.mean.tolist()), map(_number, space.std.tolist()), strict=True)
    kept = list(rows)[:16]
    more = "" if len(kept) == len(space.mean) else f"\n\nThe first 16 of {len(space.mean)} are shown."
    numbered = [(str(channel), *row) for channel, row in enumerate(kept)]
    zca = (
        "\n\nNetworks are then trained on values that are whitened by ZCA; the tensors `zca.*` hold the map."
    )
    whitened = "" if metadata.whitening == "none" else zca
    return (
        f"## Normalization\n\nStored values are {_SPACES[metadata.value_space]}. For training, subtract the "
        f"mean and divide by the deviation; `train_set.normalization()` does it.\n\n"
        f"{table(('channel', 'mean', 'deviation'), numbered)}{more}{whitened}"
    )


def _training(metadata: Metadata) -> str:
    if isinstance(metadata.training, OrderedTraining):
        return (
            "## Training\n\nThis set was learned for one training run: its own steps in their order, plain gradient "
            "descent with a step size for each, from the initial weights that belong to it. `train_set.evaluate(...)` "
            "repeats it; `train_set.loader()` gives its batches, `train_set.replay` the rest. In any other order the "
            "samples are worth little."
        )
    leaves = [
        (path, value)
        for path, value in specs.iter_fields(metadata.training)
        if not list(specs.iter_fields(value))
    ]
    rows = [(path, repr(value)) for path, value in leaves]
    note = f"How to train on it, the {metadata.training.label}:"
    return f"## Training\n\n{note}\n\n{table(('field', 'value'), rows)}"


def _folded(summary: str, text: str) -> str:
    """Markdown that a reader opens to see."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table whose cells are text of anybody."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(plain, line))} |" for line in lines)


def _number(value: float) -> str:
    return f"{value:.6g}"


def plain(text: str) -> str:
    """Text of others on one line, without a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
