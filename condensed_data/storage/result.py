"""A finished condensation, in memory and as an artifact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.data.whitening import Whitening
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.replay import Replay
from condensed_data.methods.synthetic.decoding import WRONG, decode, fitting
from condensed_data.storage import artifact as artifact
from condensed_data.storage import replay as replays
from condensed_data.storage.dataset_card import card
from condensed_data.storage.metadata import Record
from condensed_data.training.evaluation_result import Evaluation

_PREFIX = "synthetic."  # of the tensors that are decoded


@dataclass(frozen=True)
class Outcome:
    """A finished condensation.

    Attributes:
        images: (N, *sample) float32 in the source's value space.
        labels: (N,) class index, or (N, K) float32 class probabilities.
        record: what is known about it.
        recipe: resolved, or as stored where this version cannot rebuild it.
        stored: what the samples are decoded from, where that is not the samples themselves; it is what is written,
            so that the budget stays honest.
        replay: the training steps of a set that depends on their order, else None.
        made_for: (N,) class index of which soft-labeled samples were made, which decoding may ask for; None where
            the labels say so.
    """

    images: Tensor
    labels: Tensor
    record: Record
    recipe: Recipe | Mapping[str, Any] | None
    stored: Mapping[str, Tensor] | None = None
    replay: Replay | None = None
    made_for: Tensor | None = None

    @property
    def class_indices(self) -> Tensor:
        """(N,) class index; of soft labels the most probable one."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    def write(self, directory: str | Path) -> None:
        """Write the artifact; see `storage.artifact.write`."""
        if self.stored is None:
            tensors = {"images": self.images}
        else:
            tensors = {f"{_PREFIX}{name}": tensor for name, tensor in self.stored.items()}
        tensors["labels"] = self.labels
        if self.made_for is not None:
            tensors["made_for"] = self.made_for
        manifest = self.record.to_manifest()
        needed: list[str] = []
        if self.record.space.whitening is not None:
            tensors |= self.record.space.whitening.tensors()
            needed.append(self.record.whitening)
        if self.replay is not None:
            tensors |= replays.tensors_of(self.replay)
            manifest |= {"replay": replays.to_manifest(self.replay)}
            needed.append(replays.FEATURE)
        manifest["required_features"] = needed
        artifact.write(directory, tensors, manifest, card=card(self.record), preview=self.images)

    @staticmethod
    def read(directory: str | Path) -> Outcome:
        """Read an artifact; see `storage.artifact.read`."""
        return Outcome.of(artifact.read(directory))

    @staticmethod
    def of(stored: artifact.Artifact, max_bytes: int = artifact.MAX_BYTES) -> Outcome:
        """From an artifact that was read, whose samples take at most so many bytes.

        Raises:
            ArtifactError: where what it holds does not fit together.
        """
        with fitting(stored.directory, "fields that make no set"):
            return Outcome._of(stored, max_bytes)

    @staticmethod
    def _of(stored: artifact.Artifact, max_bytes: int) -> Outcome:
        record, tensors = Record.from_manifest(stored.manifest), stored.tensors
        labels, recipe = tensors["labels"], _rebuilt(record.recipe)
        if record.whitening == "zca":
            whitening = Whitening.restore(tensors)
            _check_whitening(whitening, math.prod(record.kind.shape))
            record = replace(record, space=replace(record.space, whitening=whitening))
        field = stored.manifest.get(replays.FEATURE)
        replay = None if field is None else replays.read(field, tensors, len(labels), stored.directory)
        made_for = tensors.get("made_for")
        if "images" in tensors:
            images = tensors["images"].float()
            return counted(Outcome(images, labels, record, recipe, None, replay, made_for), images.numel())
        parts = {
            name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)
        }
        classes = labels if made_for is None else made_for
        shape, where = record.kind.shape, stored.directory
        synthesis, samples = decode(record.encoding, parts, classes, shape, where, max_bytes)
        images = record.space.restore(samples)
        outcome = Outcome(images, labels, record, recipe, parts, replay, made_for)
        return counted(outcome, synthesis.stored_floats)


def with_labels(outcome: Outcome, soft: Tensor) -> Outcome:
    """The same, with class probabilities (N, K) in the place of class indices."""
    record = replace(outcome.record, label_kind="probs")
    return replace(outcome, labels=soft.float(), made_for=outcome.class_indices, record=record)


def counted(outcome: Outcome, stored_floats: int) -> Outcome:
    """The same, with its size in the record: samples, and the numbers that are kept.

    Soft labels and a training run are numbers too; hard labels are not counted, as in all comparisons.
    """
    floats = stored_floats + (outcome.replay.stored_floats if outcome.replay else 0)
    floats += outcome.labels.numel() if outcome.labels.ndim == 2 else 0
    return replace(outcome, record=replace(outcome.record, samples=len(outcome.labels), stored_floats=floats))


def with_evaluation(outcome: Outcome, evaluation: Evaluation) -> Outcome:
    """The same, with one more measured accuracy in its record."""
    return replace(
        outcome, record=replace(outcome.record, evaluations=(*outcome.record.evaluations, evaluation))
    )


def with_baselines(outcome: Outcome, baselines: Sequence[tuple[str, Evaluation]]) -> Outcome:
    """The same, with accuracies to compare with; of one set, network and protocol the last stays."""

    def measured(item: tuple[str, Evaluation]) -> tuple[object, ...]:
        return item[0], item[1].network, item[1].training

    new = set(map(measured, baselines))
    kept = [item for item in outcome.record.baselines if measured(item) not in new]
    return replace(outcome, record=replace(outcome.record, baselines=(*kept, *baselines)))


def _check_whitening(whitening: Whitening, values: int) -> None:
    """Refuse a map that is none of samples with so many values."""
    rows, columns = whitening.vectors.shape
    right = rows == values and whitening.mean.shape == (values,) and whitening.scales.shape == (columns,)
    if not right or columns > values or float(whitening.scales.min()) <= 0:
        raise ValueError(f"zca of shape {rows} x {columns} for samples of {values} values")


def _rebuilt(recipe: Mapping[str, Any] | None) -> Recipe | Mapping[str, Any] | None:
    if recipe is None:
        return None
    try:
        rebuilt: Recipe = specs.from_json(dict(recipe))
    except WRONG:
        return recipe
    return rebuilt if isinstance(rebuilt, Recipe) else recipe
