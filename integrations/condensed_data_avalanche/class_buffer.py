"""The samples of one class as a storage policy: some strategies (MIR, ER-AML, SCR) read a memory class by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.storage_policy import ExemplarsBuffer


class ClassBuffer(ExemplarsBuffer):  # type: ignore[misc]
    """One class of a CondensedBuffer; read-only. `class_dataset` returns the samples of a class."""

    def __init__(self, class_dataset: Callable[[int], AvalancheDataset[Any]], label: int, max_size: int) -> None:
        super().__init__(max_size)
        self.class_dataset, self.label = class_dataset, label

    @property
    def buffer(self) -> AvalancheDataset[Any]:
        """The samples of this class."""
        return self.class_dataset(self.label)

    @buffer.setter
    def buffer(self, new_buffer: Any) -> None:
        raise AttributeError(
            "Cannot assign to the buffer of one class. Call update_from_dataset of the CondensedBuffer."
        )

    def resize(self, strategy: Any, new_size: int) -> None:
        """Sizes of classes follow from that of the whole buffer."""
        raise NotImplementedError("Cannot resize a single class. Call resize of the CondensedBuffer.")
