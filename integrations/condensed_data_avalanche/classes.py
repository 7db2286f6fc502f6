"""The classes of a CondensedBuffer, which hosts read one by one (MIR, ER-AML, SCR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.storage_policy import ExemplarsBuffer

if TYPE_CHECKING:
    from condensed_data_avalanche.buffer import CondensedBuffer


class CondensedClass(ExemplarsBuffer):  # type: ignore[misc]
    """One class of a CondensedBuffer, as hosts read it."""

    def __init__(self, owner: CondensedBuffer, label: int, max_size: int) -> None:
        super().__init__(max_size)
        self.owner, self.label = owner, label

    @property
    def buffer(self) -> AvalancheDataset[Any]:
        """The samples of this class."""
        return self.owner.dataset_of(self.label)

    @buffer.setter
    def buffer(self, new_buffer: Any) -> None:
        raise AttributeError("A CondensedBuffer makes its samples: call its update_from_dataset instead.")

    def resize(self, strategy: Any, new_size: int) -> None:
        """A class has its share of the whole: resize that."""
        raise NotImplementedError(
            "The classes of a CondensedBuffer share its size: call resize of the whole buffer."
        )
