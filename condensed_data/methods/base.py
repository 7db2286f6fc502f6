"""The five parts of a method, and what passes between them.

Each iteration, a **pool** lends a network; a **sampler** says which real samples meet which synthetic ones; an
**augmentation** is applied identically to both sides; an **objective** turns (network, pair) into a number;
the **synthetic** data steps down its gradient. Three methods, to see how they fall out:

* DM: `Pixels`; `PerGroup` draws 256 real samples a class; `SiameseAugment` draws one operation a class; the `RandomInit`
  pool lends a new random network every iteration; `Distribution` compares the classes' mean embeddings.
* DC: the same, without augmentation, with the `TrainedOnSynthetic` pool (the network is trained on the synthetic
  samples between iterations) and the `Gradient` objective.
* MTT: `Pixels` with a learned step size; `TrainingSteps` gives the student's mini-batches in order; the `Experts`
  pool lends a network at an expert's early weights; `Trajectory` compares where the student arrives.

A part has two lives. Its **specification** is a frozen dataclass (`Spec`): it can be printed, compared, hashed
and stored. `start(context)` returns its **run state** (networks, queues, learned tensors), which alone is
checkpointed. Stateless parts are their own run state.

What an objective compares (`Batch`, `Pair`) and looks through (`NetworkView`) is in `compared.py`.

Letters: N synthetic samples, B rows of a batch, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from condensed_data.core.batch import Batch as Batch
from condensed_data.core.batch import NetworkView as NetworkView
from condensed_data.core.batch import Pair as Pair
from condensed_data.core.device import to_device
from condensed_data.core.spec import Spec
from condensed_data.training.context import Context

if TYPE_CHECKING:
    pass


class Stateful(ABC):
    """Run state of a part: what a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values that `load_state_dict` needs to go on to the same bits."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""


class SyntheticData(Stateful):
    """Run state of a `SyntheticSpec` part: everything learned, and the map from indices to samples.

    Attributes:
        learned: tensors that require a gradient, by name; the optimizer steps them.
        labels: (N,) class index of every decodable sample, in group order.
        groups: (N,) group of every decodable sample, non-decreasing.
    """

    learned: dict[str, Tensor]
    labels: Tensor
    groups: Tensor
    _labels_there: Tensor | None = None  # `labels` on the device

    @abstractmethod
    def decode(self, index: Tensor) -> Tensor:
        """Samples (len(index), *sample) in the standardized space, differentiable in `learned`."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What must be stored to decode again, detached and on the CPU, in the standardized space."""

    def targets(self, index: Tensor) -> Tensor:
        """Labels of these samples for training: (B,) hard, or (B, K) soft where they are learned."""
        if self._labels_there is None:
            self._labels_there = to_device(self.labels, self.device)
        return self._labels_there[to_device(index, self.device)]

    @property
    def device(self) -> torch.device:
        """Where the samples are learned."""
        return next(iter(self.learned.values())).device

    @property
    def shared_across_groups(self) -> frozenset[str]:
        """Names of learned tensors whose numbers serve several groups; the rows of the others belong to one each."""
        return frozenset()

    @property
    def step_sizes(self) -> Tensor | None:
        """(steps,) positive step sizes where they are learned."""
        return None

    @property
    def decoders_per_code(self) -> int:
        """Samples that different decoders make of one code; they follow each other. 1 where there are no decoders."""
        return 1

    @property
    def rows_per_decoder(self) -> int:
        """Rows of one sibling, which follow each other: more than 1 where a decoded sample is cut into several."""
        return 1

    @property
    def stored_floats(self) -> int:
        """The storage budget in use: numbers that must be kept to decode every sample."""
        return sum(tensor.numel() for tensor in self.tensors().values())

    def clamp(self) -> None:
        """Keep learned tensors in their range, called after every step; most methods do not clamp."""

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.learned.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, tensor in self.learned.items():
                tensor.copy_(state[name])


class SyntheticSpec(Spec, ABC):
    """Specification of what is learned and how it becomes samples."""

    @abstractmethod
    def start(self, context: Context) -> SyntheticData:
        """Initialize from the real data."""

    @abstractmethod
    def restore(
        self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]
    ) -> SyntheticData:
        """The finished synthesis from its stored tensors, for reading only."""


@dataclass(frozen=True)
class PairIndices:
    """Which real samples meet which synthetic ones in one step; see `Batch` for the blocks.

    Attributes:
        real, synthetic: indices; real_sizes, synthetic_sizes: of their blocks.
        steps: numbers of the synthetic blocks where these are training steps, to name their augmentations; the
            real side is then not augmented. None where the blocks are groups.
    """

    real: Tensor
    real_sizes: tuple[int, ...]
    synthetic: Tensor
    synthetic_sizes: tuple[int, ...]
    steps: tuple[int, ...] | None = None


class SamplerState(Stateful):
    """Run state of a `Sampler`.

    Attributes:
        ahead: whether the draw of a later iteration may be taken now, because it depends on nothing that changes.
    """

    ahead: ClassVar[bool] = False

    @abstractmethod
    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        """Indices for one step over `groups`, of constant shape; the draw of a group does not depend on others."""


class Sampler(Spec, ABC):
    """Specification of which real samples meet which synthetic ones."""

    @abstractmethod
    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        """Index the samples."""


@dataclass(frozen=True, eq=False)
class InitialState:
    """Where networks begin that are trained on a finished set.

    Attributes:
        kind: "new", at random weights; "stored", all at `weights`; "given", at weights from elsewhere, which are not
            kept and which whoever trains has to bring.
        weights: the state dictionary of "stored".
        digest: identity of the only weights that fit, where "given" ones are always the same; see
            `condensed_data.core.tensor_hash.content_hash`.
        head: what becomes of the last layer of "given" ones, see `condensed_data.networks.state_dicts`.
    """

    kind: str = "new"
    weights: Mapping[str, Tensor] | None = None
    digest: str | None = None
    head: str = "loaded"


class PoolState(Stateful):
    """Run state of a `Pool`."""

    @abstractmethod
    def network_at(self, iteration: int) -> NetworkView:
        """The network that looks in this iteration."""

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        """What the networks learn after the synthetic step of `iteration`."""

    def initial_state(self) -> InitialState:
        """Where networks begin that are trained on the result, as these do that the pool lends."""
        return InitialState()


class Pool(Spec, ABC):
    """Specification of which network looks, and how it learns between steps.

    Attributes:
        knows_targets: whether its networks come with `NetworkView.target`.
        learns_from_samples: whether its networks learn from the synthetic samples of all classes.
    """

    knows_targets: ClassVar[bool] = False
    learns_from_samples: ClassVar[bool] = False

    @abstractmethod
    def start(self, context: Context) -> PoolState:
        """Build or load the first networks."""


@dataclass(frozen=True)
class MemoryFootprint:
    """What the gradient of one step keeps at once.

    Attributes:
        synthetic: rows of the synthetic side whose maps are kept, times the copies of these (a first derivative
            keeps two: the maps and their gradients).
        real: rows of the real side whose maps are kept; None where no gradient goes through them.
        weights: copies of the network's weights.
        remedy: how to keep less, for the message of a step that does not fit.
    """

    synthetic: int
    real: int | None = None
    weights: int = 0
    remedy: str = ""


Loss = Callable[[NetworkView, Pair], Tensor]


class TrainableLoss(Stateful):
    """Run state of an `Objective` that itself learns between the steps."""

    @abstractmethod
    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        """The loss of one step."""

    @abstractmethod
    def update(self, iteration: int) -> None:
        """What it learns after the synthetic step of `iteration`."""


class Objective(Spec, ABC):
    """Specification of a number to make small. Most are their own run state.

    Attributes:
        separable: whether the loss is a sum over blocks, so that its gradient can be accumulated block by block.
        reads_labels: whether the labels of the synthetic samples get a derivative, so that they can be learned.
    """

    separable: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False

    def start(self, context: Context) -> Loss:
        """What is called each step: (network, pair) -> scalar float32 tensor."""
        return self.__call__

    def memory_footprint(self, real: Sequence[int], synthetic: Sequence[int]) -> MemoryFootprint:
        """What the gradient of one step on blocks of these sizes keeps at once; an upper estimate of its memory."""
        return MemoryFootprint(2 * sum(synthetic))

    def check_pool(self, pool: Pool) -> None:
        """Refuse a pool whose networks do not know what this objective asks of them."""

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        """Raise what a step on blocks of these sizes would raise, before networks are built and trained."""

    @abstractmethod
    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        """The loss of one step, summed over groups as published."""
