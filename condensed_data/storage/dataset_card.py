"""Renders the dataset card (README.md) of a condensed dataset: a YAML header for the Hub and Markdown for people.

The same metadata gives the same text; it contains no dates. Letters: K classes.
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
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import OrderedTraining

_TASKS = {
    1: "tabular-classification",
    3: "image-classification",
}  # by number of dimensions; the Hub has no category for signals
_SPACES = {
    "unit": "0 to 1",
    "uint8": "0 to 255",
    "source": "in the value space of the source",
    "standardized": "standardized",
}
_BASELINES = {"random": "random real samples (same number)", "whole set": "the full real dataset"}


def card(metadata: Metadata) -> str:
    """The card of a condensed dataset in a local folder: Markdown with a YAML header as the Hub reads it.

    Args:
        metadata: of the dataset; its evaluations become a table.
    """
    fields: dict[str, Any] = {"pretty_name": pretty_name(metadata)}
    fields |= tasks([metadata]) | {
        "size_categories": [size_category(num_samples(metadata))],
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
    return f"---\n{yaml_header(fields)}---\n\n{body(metadata, use)}\n"


def body(metadata: Metadata, use: str, image: str = "", level: int = 1) -> str:
    """Markdown about one condensed dataset, without the YAML header.

    Args:
        metadata: of the dataset.
        use: Python code that loads it, shown verbatim.
        image: path of an image of its samples relative to README.md; empty for none.
        level: heading level of the title; 1 if the card has only one dataset.
    """
    shown = f"![samples]({quote(image)})" if image else ""
    parts = [_title(metadata), shown, f"## Use\n\n```python\n{use}\n```"]
    parts += [part(metadata) for part in (_recipe, _evaluations, _normalization, _training)]
    parts = [re.sub("^#", "#" * level, part) for part in parts if part]  # each part begins with its heading
    return "\n\n".join(parts)


def yaml_header(fields: Mapping[str, Any]) -> str:
    """The YAML header, one line `key: JSON` per field.

    JSON is valid YAML. Unlike `huggingface_hub.DatasetCardData.to_yaml`, it keeps a name with line breaks on one line,
    so a name cannot end the header early for parsers that split at "---".
    """
    return "".join(f"{key}: {_yaml(value)}\n" for key, value in fields.items())


def _yaml(value: Any) -> str:
    """JSON with escapes for characters that YAML forbids or treats as line breaks."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty_name(metadata: Metadata) -> str:
    """Title of the dataset page on the Hub."""
    return f"{metadata.name} condensed by {metadata.recipe_name}"


def tasks(entries: Iterable[Metadata]) -> dict[str, list[str]]:
    """The field `task_categories`, or nothing if the Hub has no category for the tasks."""
    found = {_TASKS.get(len(metadata.kind.shape), "") for metadata in entries} - {""}
    return {"task_categories": sorted(found)} if found else {}


def tags(entries: Sequence[Metadata]) -> list[str]:
    """Tags for the search on the Hub: the library, then recipes, samples per class and sources."""
    found = ["condensed-data", "dataset-condensation", "dataset-distillation"]
    found += sorted({metadata.recipe_name for metadata in entries})
    found += [f"ipc-{ipc}" for ipc in sorted({metadata.ipc for metadata in entries})]
    return found + sorted({source_tag(metadata.name) for metadata in entries})


def source_tag(name: str) -> str:
    """Tag of a source, the same for all spellings: "Fashion-MNIST" gives "source-fashionmnist".

    For a dataset on the Hub ("hf:user/name@revision:config") it contains only the repository name.
    """
    name = re.sub(r"^hf:([^@:]+).*", r"\1", name)
    return "source-" + ("".join(letter for letter in name.casefold() if letter.isalnum()) or "unnamed")[:64]


def num_samples(metadata: Metadata) -> int:
    """Number of samples after decoding."""
    return metadata.samples or metadata.ipc * len(metadata.classes)


def size_category(number: int) -> str:
    """The Hub's size category for a number of samples."""
    limits = [(1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M")]
    below = "n"
    for limit, name in limits:
        if number < limit:
            return f"{below}<{name}"
        below = f"{name}<n"
    return "n>1M"


def _title(metadata: Metadata) -> str:
    shape, number, classes = (
        " x ".join(map(str, metadata.kind.shape)),
        num_samples(metadata),
        len(metadata.classes),
    )
    real = "" if metadata.source_samples is None else f"{metadata.source_samples:,} "
    decoded = "" if number == metadata.ipc * classes else "decoded from the storage of "
    soft = " Labels are class probabilities." if metadata.label_kind == "probs" else ""
    floats = "" if metadata.stored_floats is None else f" They are stored as {metadata.stored_floats:,} numbers."
    return (
        f"# {escape_markdown(metadata.name)}, condensed\n\n"
        f"{number:,} synthetic samples, {decoded}{metadata.ipc} for each of {classes} classes, that "
        f"replace the {real}training samples of {escape_markdown(metadata.name)}. Each sample has "
        f"shape {shape} and is returned as `{metadata.kind.name}`.{floats}{soft}\n\n"
        f"Classes: {', '.join(map(escape_markdown, _shortened(metadata.classes)))}."
    )


def _shortened(names: tuple[str, ...], limit: int = 100) -> list[str]:
    return [*names[:limit], *([f"and {len(names) - limit} more"] if len(names) > limit else [])]


def _recipe(metadata: Metadata) -> str:
    if metadata.source_samples is None:
        return "## Recipe\n\nUnknown: another tool made this dataset, and its files contain no recipe."
    lines = [f"## Recipe\n\n{metadata.recipe_name}, {metadata.iterations:,} iterations, seed {metadata.seed}."]
    if metadata.recipe is None:
        lines.append("It contains a function without a name, so its fields are not stored.")
    else:
        fields = json.dumps(metadata.recipe, indent=1, sort_keys=True)
        lines.append(_collapsed("All fields", f"```json\n{fields}\n```"))
    if metadata.environment:
        made = ", ".join(f"{name} {value}" for name, value in sorted(metadata.environment.items()))
        lines.append(f"Made with {escape_markdown(made)}.")
    return "\n\n".join(lines)


def _evaluations(metadata: Metadata) -> str:
    if not metadata.evaluations:
        return "## Evaluation\n\nNot measured. Run `condensed-data evaluate FOLDER --test SOURCE --save`."
    head = ("trained on", "network", "protocol", "networks", "accuracy", "after rounding to 8 bits")
    note = (
        "Accuracy on real test samples of networks trained on the given data only: mean and standard deviation over "
        "networks, each after its last step."
    )
    rows = [("this dataset", evaluation) for evaluation in metadata.evaluations]
    rows += [(_BASELINES.get(name, name), evaluation) for name, evaluation in metadata.baselines]
    return f"## Evaluation\n\n{note}\n\n{markdown_table(head, [_cells(*row) for row in rows])}"


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
    zca = "\n\nNetworks are trained on values that are then whitened with ZCA; the tensors `zca.*` define the map."
    whitened = "" if metadata.whitening == "none" else zca
    return (
        f"## Normalization\n\nStored values are {_SPACES[metadata.value_space]}. For training, subtract the mean and "
        f"divide by the standard deviation, as `train_set.normalization()` does.\n\n"
        f"{markdown_table(('channel', 'mean', 'standard deviation'), numbered)}{more}{whitened}"
    )


def _training(metadata: Metadata) -> str:
    if isinstance(metadata.training, OrderedTraining):
        return (
            "## Training\n\nThis dataset was learned for one training run: a fixed order of steps, plain gradient "
            "descent with one step size per step, from the stored initial weights. `train_set.evaluate(...)` repeats "
            "the run; `train_set.loader()` gives its batches and `train_set.replay` the rest. In any other order the "
            "samples train poorly."
        )
    leaves = [
        (path, value) for path, value in specs.iter_fields(metadata.training) if not list(specs.iter_fields(value))
    ]
    rows = [(path, repr(value)) for path, value in leaves]
    note = f"Train on it with the {metadata.training.label}:"
    return f"## Training\n\n{note}\n\n{markdown_table(('field', 'value'), rows)}"


def _collapsed(summary: str, text: str) -> str:
    """Markdown that is collapsed until the reader opens it."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; cells may contain any text and are escaped."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in lines)


def _number(value: float) -> str:
    return f"{value:.6g}"


def escape_markdown(text: str) -> str:
    """`text` on one line, with everything escaped that has a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
