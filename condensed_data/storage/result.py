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
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.methods.synthetic.decoding import (
    INVALID_CONTENT_ERRORS,
    decode_artifact,
    reject_inconsistent,
)
from condensed_data.storage import artifact as artifact
from condensed_data.storage import replay as replays
from condensed_data.storage.dataset_card import card
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluation_result import Evaluation

_PREFIX = "synthetic."  # of the tensors that are decoded


@dataclass(frozen=True)
class CondensationResult:
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
    metadata: Metadata
    recipe: Recipe | Mapping[str, Any] | None
    stored: Mapping[str, Tensor] | None = None
    replay: TrainingSchedule | None = None
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
        manifest = self.metadata.to_manifest()
        needed: list[str] = []
        if self.metadata.space.whitening is not None:
            tensors |= self.metadata.space.whitening.tensors()
            needed.append(self.metadata.whitening)
        if self.replay is not None:
            tensors |= replays.tensors_of(self.replay)
            manifest |= {"replay": replays.to_manifest(self.replay)}
            needed.append(replays.FEATURE)
        manifest["required_features"] = needed
        artifact.write(directory, tensors, manifest, card=card(self.metadata), preview=self.images)

    @staticmethod
    def read(directory: str | Path) -> CondensationResult:
        """Read an artifact; see `storage.artifact.read`."""
        return CondensationResult.of(artifact.read(directory))

    @staticmethod
    def of(stored: artifact.Artifact, max_bytes: int = artifact.MAX_BYTES) -> CondensationResult:
        """From an artifact that was read, whose samples take at most so many bytes.

        Raises:
            ArtifactError: where what it holds does not fit together.
        """
        with reject_inconsistent(stored.directory, "fields that make no set"):
            return CondensationResult._of(stored, max_bytes)

    @staticmethod
    def _of(stored: artifact.Artifact, max_bytes: int) -> CondensationResult:
        metadata, tensors = Metadata.from_manifest(stored.manifest), stored.tensors
        labels, recipe = tensors["labels"], _rebuilt(metadata.recipe)
        if metadata.whitening == "zca":
            whitening = Whitening.restore(tensors)
            _check_whitening(whitening, math.prod(metadata.kind.shape))
            metadata = replace(metadata, space=replace(metadata.space, whitening=whitening))
        field = stored.manifest.get(replays.FEATURE)
        replay = None if field is None else replays.read(field, tensors, len(labels), stored.directory)
        made_for = tensors.get("made_for")
        if "images" in tensors:
            images = tensors["images"].float()
            return with_storage_size(
                CondensationResult(images, labels, metadata, recipe, None, replay, made_for), images.numel()
            )
        parts = {
            name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)
        }
        classes = labels if made_for is None else made_for
        shape, where = metadata.kind.shape, stored.directory
        synthetic_data, samples = decode_artifact(metadata.encoding, parts, classes, shape, where, max_bytes)
        images = metadata.space.restore(samples)
        result = CondensationResult(images, labels, metadata, recipe, parts, replay, made_for)
        return with_storage_size(result, synthetic_data.stored_floats)


def with_soft_labels(result: CondensationResult, soft: Tensor) -> CondensationResult:
    """The same, with class probabilities (N, K) in the place of class indices."""
    metadata = replace(result.metadata, label_kind="probs")
    return replace(result, labels=soft.float(), made_for=result.class_indices, metadata=metadata)


def with_storage_size(result: CondensationResult, stored_floats: int) -> CondensationResult:
    """The same, with its size in the record: samples, and the numbers that are kept.

    Soft labels and a training run are numbers too; hard labels are not counted, as in all comparisons.
    """
    floats = stored_floats + (result.replay.stored_floats if result.replay else 0)
    floats += result.labels.numel() if result.labels.ndim == 2 else 0
    return replace(
        result, metadata=replace(result.metadata, samples=len(result.labels), stored_floats=floats)
    )


def with_evaluation(result: CondensationResult, evaluation: Evaluation) -> CondensationResult:
    """The same, with one more measured accuracy in its record."""
    return replace(
        result, metadata=replace(result.metadata, evaluations=(*result.metadata.evaluations, evaluation))
    )


def with_baselines(
    result: CondensationResult, baselines: Sequence[tuple[str, Evaluation]]
) -> CondensationResult:
    """The same, with accuracies to compare with; of one set, network and protocol the last stays."""

    def measured(item: tuple[str, Evaluation]) -> tuple[object, ...]:
        return item[0], item[1].network, item[1].training

    new = set(map(measured, baselines))
    kept = [item for item in result.metadata.baselines if measured(item) not in new]
    return replace(result, metadata=replace(result.metadata, baselines=(*kept, *baselines)))


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
    except INVALID_CONTENT_ERRORS:
        return recipe
    return rebuilt if isinstance(rebuilt, Recipe) else recipe
