"""What evaluation, display and export need of a condensed dataset, whichever class holds it.

Letters: N samples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from condensed_data.methods.recipe import Recipe
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluation_result import Evaluation


@runtime_checkable
class CondensedSamples(Protocol):
    """The samples of a condensed dataset and what is known about them.

    `CondensationResult`, where the members are documented, and `CondensedDataset` both satisfy it.
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def class_indices(self) -> Tensor: ...
    @property
    def metadata(self) -> Metadata: ...
    @property
    def recipe(self) -> Recipe | Mapping[str, Any] | None: ...
    @property
    def stored(self) -> Mapping[str, Tensor] | None: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def replay(self) -> TrainingSchedule | None: ...


@runtime_checkable
class EvaluationRecorder(CondensedSamples, Protocol):
    """A condensed dataset that keeps the accuracies measured on it, as `CondensedDataset` does."""

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Append an accuracy to the metadata."""

    def add_baselines(self, baselines: Mapping[str, Evaluation]) -> None:
        """Add accuracies of other datasets, by name, to the metadata."""
