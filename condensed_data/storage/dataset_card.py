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
from condensed_data.core.errors import shortened_list
from condensed_data.core.sizes import percent
from condensed_data.core.text import markdown, visible_name
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
    """The card of a condensed dataset in a local folder: Markdown with a YAML header as the Hub reads it."""
    fields: dict[str, Any] = {"pretty_name": pretty_name(metadata)}
    fields |= tasks([metadata]) | {"size_categories": [size_category(num_samples(metadata))], "tags": tags([metadata])}
    if parquet.is_possible(metadata.to_manifest()):
        files = [{"split": "train", "path": "data/train-*.parquet"}]
        fields["configs"] = [{"config_name": "default", "default": True, "data_files": files}]
    text = body(metadata, 'load("this/folder")')
    return f"---\n{yaml_header(fields)}---\n\n{text}\n"


def body(metadata: Metadata, call: str, image: str = "", level: int = 1) -> str:
    """Markdown about one condensed dataset, without the YAML header.

    Args:
        metadata: of the dataset.
        call: the method of `CondensedDataset` that loads it, with arguments.
        image: path of an image of its samples relative to README.md; empty for none.
        level: heading level of the title; 1 if the card has only one dataset.
    """
    shown = f"![samples]({quote(image)})" if image else ""
    use = (
        "from condensed_data import CondensedDataset\n"
        f"train_set = CondensedDataset.{call}  # an ordinary torch Dataset\n"
        "loader = train_set.loader()"
    )
    parts = [_title(metadata), shown, f"## Use\n\n```python\n{use}\n```"]
    parts += [part(metadata) for part in (_recipe, _evaluations, _normalization, _training)]
    parts = [re.sub("^#", "#" * level, part) for part in parts if part]  # each part begins with its heading
    return "\n\n".join(parts)


def yaml_header(fields: Mapping[str, Any]) -> str:
    """The YAML header, one line `key: JSON` per field.

    JSON is valid YAML. Unlike `huggingface_hub.DatasetCardData.to_yaml`, it keeps a name with line breaks on one line,
    so a name cannot end the header early for parsers that split at "---".
    """
    text = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())
    # escape what YAML forbids or treats as line breaks
    return re.sub("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty_name(metadata: Metadata) -> str:
    """Title of the dataset page on the Hub."""
    return visible_name(f"{metadata.name} condensed by {metadata.recipe_name}")


def tasks(entries: Iterable[Metadata]) -> dict[str, list[str]]:
    """The field `task_categories`, or nothing if the Hub has no category for the tasks."""
    found = {_TASKS.get(len(metadata.kind.shape), "") for metadata in entries} - {""}
    return {"task_categories": sorted(found)} if found else {}


def tags(entries: Sequence[Metadata]) -> list[str]:
    """Tags for the search on the Hub: the library, then recipes, samples per class and sources."""
    found = ["condensed-data", "dataset-condensation", "dataset-distillation"]
    found += sorted({visible_name(metadata.recipe_name) for metadata in entries})
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
    shape, number = " x ".join(map(str, metadata.kind.shape)), num_samples(metadata)
    classes = len(metadata.classes)
    real = "" if metadata.source_samples is None else f"{metadata.source_samples:,} "
    decoded = "" if number == metadata.ipc * classes else "decoded from the storage of "
    soft = {
        "index": "",
        "probs": " Labels are class probabilities.",
        "scores": " Labels are scores to regress on; the class of a sample is its largest.",
    }[metadata.label_kind]
    floats = "" if metadata.stored_floats is None else f" They are stored as {metadata.stored_floats:,} numbers."
    return (
        f"# {markdown(metadata.name)}, condensed\n\n"
        f"{number:,} synthetic samples, {decoded}{metadata.ipc} for each of {classes} classes, that "
        f"replace the {real}training samples of {markdown(metadata.name)}. Each sample has "
        f"shape {shape} and is returned as `{metadata.kind.name}`.{floats}{soft}\n\n"
        f"Classes: {shortened_list(map(markdown, metadata.classes), 100)}."
    )


def _recipe(metadata: Metadata) -> str:
    if metadata.source_samples is None:
        return "## Recipe\n\nUnknown: another tool made this dataset, and its files contain no recipe."
    made = f"Made by {markdown(metadata.recipe_name)}, {metadata.iterations:,} iterations, seed {metadata.seed}."
    lines = [f"## Recipe\n\n{made}"]
    if metadata.recipe is None:
        lines.append("It contains a function without a name, so its fields are not stored.")
    else:
        fields = json.dumps(metadata.recipe, indent=1, sort_keys=True).replace("<", "\\u003c")  # no HTML
        lines.append(f"<details><summary>All fields</summary>\n\n```json\n{fields}\n```\n\n</details>")
    if metadata.environment:
        made = ", ".join(f"{name} {value}" for name, value in sorted(metadata.environment.items()))
        lines.append(f"Made with {markdown(made)}.")
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
    return name, evaluation.network, evaluation.training.label, str(evaluation.runs), measured, rounded


def _normalization(metadata: Metadata) -> str:
    space = metadata.space
    pairs = zip(space.mean.tolist(), space.std.tolist(), strict=True)
    rows = [(str(channel), f"{mean:.6g}", f"{std:.6g}") for channel, (mean, std) in enumerate(pairs)]
    more = "" if len(rows) <= 16 else f"\n\nThe first 16 of {len(rows)} are shown."
    zca = "\n\nNetworks are trained on values that are then whitened with ZCA; the tensors `zca.*` define the map."
    whitened = "" if metadata.whitening == "none" else zca
    return (
        f"## Normalization\n\nStored values are {_SPACES[metadata.value_space]}. For training, subtract the mean and "
        f"divide by the standard deviation, as `train_set.normalization()` does.\n\n"
        f"{markdown_table(('channel', 'mean', 'standard deviation'), rows[:16])}{more}{whitened}"
    )


def _training(metadata: Metadata) -> str:
    if isinstance(metadata.training, OrderedTraining):
        return (
            "## Training\n\nThis dataset was learned for one training run: a fixed order of steps, plain gradient "
            "descent with one step size per step, from the stored initial weights. `train_set.evaluate(...)` repeats "
            "the run; `train_set.loader()` gives its batches and `train_set.replay` the rest. In any other order the "
            "samples train poorly."
        )
    fields = specs.iter_fields(metadata.training)
    rows = [(path, repr(value)) for path, value in fields if not list(specs.iter_fields(value))]
    note = f"Train on it with the {markdown(metadata.training.label)}:"
    return f"## Training\n\n{note}\n\n{markdown_table(('field', 'value'), rows)}"


def markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; cells may contain any text and are escaped."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(markdown, line))} |" for line in lines)
