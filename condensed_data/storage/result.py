"""The result of a condensation run in memory, and its conversion to and from an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.data.whitening import Whitening
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.methods.synthetic.decoding import INVALID_CONTENT_ERRORS, decode_artifact, reject_inconsistent
from condensed_data.storage import artifact
from condensed_data.storage import manifest as manifests
from condensed_data.storage import replay as replays
from condensed_data.storage.dataset_card import card
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluation_result import Evaluation

_PREFIX = "synthetic."  # of the tensors that are decoded


@dataclass(frozen=True)
class CondensationResult:
    """The result of a condensation run.

    Attributes:
        images: (N, *sample) float32 in the source's value space.
        labels: (N,) class index, or (N, K) float32: class probabilities, or scores (`metadata.label_kind`).
        metadata: how the dataset was made, and its accuracies.
        recipe: resolved recipe, or its stored form if this version cannot rebuild it.
        stored: tensors that the samples are decoded from, or None if the samples are stored as they are. Only these
            are saved, so that the storage budget is not exceeded.
        replay: training schedule of an order-dependent dataset, else None.
        hard_labels: (N,) class index that each soft-labeled sample was made for, which decoding may need; None for
            hard labels.
    """

    images: Tensor
    labels: Tensor
    metadata: Metadata
    recipe: Recipe | Mapping[str, Any] | None
    stored: Mapping[str, Tensor] | None = None
    replay: TrainingSchedule | None = None
    hard_labels: Tensor | None = None

    @property
    def class_indices(self) -> Tensor:
        """(N,) class index; for soft labels the class of the largest value."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors that are saved, labels included."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """What is saved, by name. Samples that the source's own dtype can hold are converted to it."""
        if self.stored is None:
            kind = self.metadata.kind
            narrow = kind.to_dtype(self.images)
            exact = narrow.itemsize < self.images.itemsize and torch.equal(kind.from_dtype(narrow), self.images)
            tensors = {"images": narrow if exact else self.images}
        else:
            tensors = {f"{_PREFIX}{name}": tensor for name, tensor in self.stored.items()}
        tensors["labels"] = self.labels
        if self.hard_labels is not None:
            tensors["hard_labels"] = self.hard_labels
        if self.metadata.space.whitening is not None:
            tensors |= self.metadata.space.whitening.tensors()
        if self.replay is not None:
            tensors |= replays.tensors_of(self.replay)
        return tensors

    def save(self, directory: str | Path) -> None:
        """Save as an artifact; see `storage.artifact.write`."""
        manifest = self.metadata.to_manifest()
        needed = []
        if self.metadata.space.whitening is not None:
            needed.append(self.metadata.whitening)
        if self.replay is not None:
            manifest[replays.FEATURE] = replays.to_manifest(self.replay)
            needed.append(replays.FEATURE)
        manifest["required_features"] = needed
        artifact.write(directory, self.tensors(), manifest, card=card(self.metadata), preview=self.images)

    @staticmethod
    def load(directory: str | Path) -> CondensationResult:
        """Load an artifact; see `storage.artifact.read`."""
        return CondensationResult.from_artifact(artifact.read(directory))

    @staticmethod
    def from_artifact(stored: artifact.Artifact, max_bytes: int = artifact.MAX_BYTES) -> CondensationResult:
        """Convert an artifact as `artifact.read` returns it.

        Raises:
            ArtifactError: if manifest and tensors are inconsistent, or the decoded samples exceed `max_bytes`.
        """
        newer = manifests.newer_is_unsupported(stored.manifest, stored.directory)
        with newer, reject_inconsistent(stored.directory, "fields that do not form a condensed dataset"):
            return CondensationResult._from_artifact(stored, max_bytes)

    @staticmethod
    def _from_artifact(stored: artifact.Artifact, max_bytes: int) -> CondensationResult:
        metadata, tensors = Metadata.from_manifest(stored.manifest), stored.tensors
        labels, recipe = tensors["labels"], _rebuilt(metadata.recipe)
        if metadata.whitening == "zca":
            metadata = replace(metadata, space=replace(metadata.space, whitening=Whitening.restore(tensors)))
        field = stored.manifest.get(replays.FEATURE)
        replay = None if field is None else replays.read(field, tensors, len(labels), stored.directory)
        hard_labels = tensors.get("hard_labels")
        if "images" in tensors:
            images = metadata.kind.from_dtype(tensors["images"])
            result = CondensationResult(images, labels, metadata, recipe, None, replay, hard_labels)
            return with_storage_size(result, images.numel())
        parts = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
        classes = labels if hard_labels is None else hard_labels
        shape, where = metadata.kind.shape, stored.directory
        synthetic_data, samples = decode_artifact(metadata.encoding, parts, classes, shape, where, max_bytes)
        images = metadata.space.restore(samples)
        result = CondensationResult(images, labels, metadata, recipe, parts, replay, hard_labels)
        return with_storage_size(result, synthetic_data.stored_floats)


def with_soft_labels(result: CondensationResult, soft: Tensor, kind: str = "probs") -> CondensationResult:
    """A copy with `soft` (N, K) as labels: class probabilities, or of kind "scores"."""
    metadata = replace(result.metadata, label_kind=kind)
    return replace(result, labels=soft.float(), hard_labels=result.class_indices, metadata=metadata)


def with_storage_size(result: CondensationResult, stored_floats: int) -> CondensationResult:
    """A copy whose metadata record the number of samples and of stored floats.

    Soft labels and a training schedule are added to `stored_floats`; hard labels do not count, as is usual in
    comparisons.
    """
    floats = stored_floats + (result.replay.stored_floats if result.replay else 0)
    floats += result.labels.numel() if result.labels.ndim == 2 else 0
    return replace(result, metadata=replace(result.metadata, samples=len(result.labels), stored_floats=floats))


def with_evaluation(result: CondensationResult, evaluation: Evaluation) -> CondensationResult:
    """A copy with one more measured accuracy in its metadata."""
    return replace(result, metadata=replace(result.metadata, evaluations=(*result.metadata.evaluations, evaluation)))


def with_baselines(result: CondensationResult, baselines: Sequence[tuple[str, Evaluation]]) -> CondensationResult:
    """A copy with added baselines; a new one replaces a former one of the same name, network and protocol."""

    def condition(item: tuple[str, Evaluation]) -> tuple[object, ...]:
        return item[0], item[1].network, item[1].training

    replaced = set(map(condition, baselines))
    kept = [item for item in result.metadata.baselines if condition(item) not in replaced]
    return replace(result, metadata=replace(result.metadata, baselines=(*kept, *baselines)))


def _rebuilt(recipe: Mapping[str, Any] | None) -> Recipe | Mapping[str, Any] | None:
    if recipe is None:
        return None
    try:
        rebuilt: Recipe = specs.from_json(dict(recipe))
    except INVALID_CONTENT_ERRORS:
        return recipe
    return rebuilt if isinstance(rebuilt, Recipe) else recipe
