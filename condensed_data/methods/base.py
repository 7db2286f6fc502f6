"""The five parts that every method is composed of, and the values that pass between them.

Each iteration, a *pool* provides a network, a *sampler* draws real and synthetic samples to compare, an *augmentation*
transforms both sides with the same random draw, an *objective* computes a loss from (network, pair of batches), and
the *synthetic data* takes a gradient step. Pools then train or replace their networks. Three methods as examples:

DM (Zhao and Bilen, WACV 2023) compares the classes' mean embeddings under a new random network in every iteration.
`PerGroup` draws 256 real samples of each class, and both sides of a class get the same DSA operation:

    Recipe("dm", Pixels(), (Term(Distribution(), RandomInit(), PerGroup(256), SiameseAugment()),), ...)

DC (Zhao, Mopuri and Bilen, ICLR 2021) compares gradients with respect to the weights of a network that is trained on
the synthetic samples between iterations. Only the objective and the pool differ, and nothing is augmented:

    Recipe("dc", Pixels(), (Term(Gradient(), TrainedOnSynthetic(), PerGroup(256), Identity()),), ...)

MTT (Cazenavette et al., CVPR 2022) trains a student on the synthetic samples, starting at an expert's early weights,
and compares where it ends with the expert's later weights. The pool provides both weights, the sampler draws the
student's mini-batches in order, and the step size is learned together with the pixels:

    Recipe("mtt", WithSteps(Pixels()), (Term(Trajectory(), Experts(), TrainingSteps(...), SiameseAugment()),), ...)

A part exists in two forms. Its *specification* is a frozen dataclass (`Spec`) that can be printed, compared, hashed
and stored. `start(context)` returns its *run state* (networks, optimizers, learned tensors), and only that is
checkpointed. To add a method, write the part that is new and compose it with existing ones in a recipe.

Letters: N synthetic samples, B rows of a batch, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.device import to_device
from condensed_data.core.spec import Spec
from condensed_data.training.context import Context


class Stateful(ABC):
    """Run state of a part. Its `state_dict` goes into checkpoints; stateless parts inherit an empty one."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which `load_state_dict` continues bit-identically."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state`."""


class SyntheticData(Stateful):
    """Run state of a `SyntheticSpec`: the learned tensors, and a differentiable map from indices to samples.

    Attributes:
        learned: tensors that require a gradient, by name; the optimizer updates them.
        labels: (N,) class index of every sample, in group order.
        groups: (N,) group of every sample, non-decreasing.
    """

    learned: dict[str, Tensor]
    labels: Tensor
    groups: Tensor
    _labels_on_device: Tensor | None = None

    @abstractmethod
    def decode(self, index: Tensor) -> Tensor:
        """Samples (B, *sample) in the standardized space, differentiable with respect to `learned`."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Tensors from which `SyntheticSpec.restore` decodes the samples again, detached and on the CPU."""

    def targets(self, index: Tensor) -> Tensor:
        """Labels to train on: (B,) class indices; if they are learned, (B, K) probabilities or scores."""
        if self._labels_on_device is None:
            self._labels_on_device = to_device(self.labels, self.device)
        return self._labels_on_device[to_device(index, self.device)]

    @property
    def device(self) -> torch.device:
        return next(iter(self.learned.values())).device

    @property
    def shared_across_groups(self) -> frozenset[str]:
        """Names of learned tensors that several groups share; of all others, each row belongs to one group."""
        return frozenset()

    @property
    def step_sizes(self) -> Tensor | None:
        """(steps,) positive step sizes if they are learned."""
        return None

    @property
    def label_kind(self) -> str:
        """What `targets` are: "index", "probs" or "scores"."""
        return "index"

    @property
    def decoders_per_code(self) -> int:
        """Samples that different decoders make of one code, at consecutive indices; 1 without decoders."""
        return 1

    @property
    def rows_per_decoder(self) -> int:
        """Samples that one decoder makes of one code, at consecutive indices: more than 1 if its output is cut up."""
        return 1

    @property
    def stored_floats(self) -> int:
        """The storage budget in use: how many numbers must be stored to decode every sample."""
        return sum(tensor.numel() for tensor in self.tensors().values())

    def clamp(self) -> None:
        """Clamp learned tensors to their range; called after every iteration, does nothing by default."""

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.learned.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, tensor in self.learned.items():
                tensor.copy_(state[name])


class SyntheticSpec(Spec, ABC):
    """Specification of what is learned and how it is decoded into samples."""

    learns_scores: ClassVar[bool] = False  # whether its labels are learned scores, which objectives regress on

    @property
    def encoding(self) -> SyntheticSpec:
        """The specification that restores the samples from `SyntheticData.tensors`."""
        return self

    def samples_per_class(self, ipc: int, sample_shape: tuple[int, ...]) -> int:
        """About how many samples are decoded per class from a budget of `ipc` stored ones."""
        return ipc

    @abstractmethod
    def start(self, context: Context) -> SyntheticData:
        """Initialize from the real data."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        """Rebuild finished synthetic data, with labels (N,), from what `SyntheticData.tensors` returned."""


@dataclass(frozen=True)
class PairIndices:
    """Which real samples are compared with which synthetic ones in one step; see `Batch` for the blocks.

    Attributes:
        real, synthetic: sample indices.
        real_sizes, synthetic_sizes: rows of each block.
        steps: numbers that identify the augmentation of each synthetic block if blocks are training steps; the real
            side is then not augmented. None if blocks are groups.
    """

    real: Tensor
    real_sizes: tuple[int, ...]
    synthetic: Tensor
    synthetic_sizes: tuple[int, ...]
    steps: tuple[int, ...] | None = None


class SamplerState(Stateful):
    """Run state of a `Sampler`."""

    can_prefetch: ClassVar[bool] = False  # whether `draw` depends on nothing that changes, so can run in advance

    @abstractmethod
    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        """Indices for one step over `groups`, of constant shape; the draw of a group is independent of the others."""


class Sampler(Spec, ABC):
    """Specification of which real samples are compared with which synthetic ones."""

    def check_synthetic(self, synthetic: SyntheticSpec) -> None:
        """Raise ValueError for synthetic data that this sampler cannot draw from."""

    @abstractmethod
    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        """Index the real and the synthetic samples."""


@dataclass(frozen=True, eq=False)
class InitialState:
    """Initial weights of networks that are trained on a condensed dataset.

    Attributes:
        kind: "new": random weights; "stored": always `weights`; "given": weights that are not
            stored; the user provides them.
        weights: the state dictionary of "stored".
        digest: `core.tensor_hash.content_hash` of the required weights, if "given" ones are always the same.
        head: what to do with the last layer of "given" ones, see `condensed_data.networks.state_dicts.load_state`.
    """

    kind: str = "new"
    weights: Mapping[str, Tensor] | None = None
    digest: str | None = None
    head: str = "loaded"


class PoolState(Stateful):
    """Run state of a `Pool`."""

    @abstractmethod
    def network_at(self, iteration: int) -> NetworkView:
        """The network of this iteration."""

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        """Train or replace networks after the synthetic step of `iteration`."""

    def initial_state(self) -> InitialState:
        """Initial weights for training on the result, distributed like those of the pool's networks."""
        return InitialState()


class Pool(Spec, ABC):
    """Specification of which network each iteration uses, and how networks are trained in between."""

    provides_targets: ClassVar[bool] = False  # whether its networks have a `NetworkView.target`
    trains_on_synthetic: ClassVar[bool] = False  # whether on the samples of all classes, after each iteration

    @abstractmethod
    def start(self, context: Context) -> PoolState:
        """Build or load the first networks."""


@dataclass(frozen=True)
class MemoryFootprint:
    """Upper bound on what autograd keeps in memory during one step.

    Attributes:
        synthetic: synthetic rows whose feature maps are kept, times their copies (a first derivative keeps two: the
            maps and their gradients).
        real: real rows whose feature maps are kept; None if no gradient flows through them.
        weights: copies of the network's weights.
        remedy: how to reduce this, for the error message of a step that runs out of memory.
    """

    synthetic: int
    real: int | None = None
    weights: int = 0
    remedy: str = ""


Loss = Callable[[NetworkView, Pair], Tensor]


class TrainableLoss(Stateful):
    """Run state of an `Objective` with parameters of its own that are updated between steps."""

    @abstractmethod
    def __call__(self, net: NetworkView, pair: Pair) -> Tensor: ...

    @abstractmethod
    def update(self, iteration: int) -> None:
        """Update its parameters after a step with this term in `iteration`."""


class Objective(Spec, ABC):
    """Specification of the loss of one term. Most are their own run state."""

    separable: ClassVar[bool] = True  # a sum over blocks, whose gradient can be accumulated block by block
    reads_labels: ClassVar[bool] = False  # differentiable in the synthetic labels, so that they can be learned
    reads_scores: ClassVar[bool] = False  # takes labels of any value, which need not be probabilities

    def start(self, context: Context) -> Loss:
        """The function called in each step: (network, pair) -> scalar float32 tensor."""
        return self.__call__

    def memory_footprint(self, real: Sequence[int], synthetic: Sequence[int]) -> MemoryFootprint:
        """Upper bound on what autograd keeps in memory during one step on blocks of these sizes."""
        return MemoryFootprint(2 * sum(synthetic))

    def check_pool(self, pool: Pool) -> None:
        """Raise ValueError for a pool whose networks lack what this objective needs."""

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        """Raise early any error that a step on blocks of these sizes would raise."""

    @abstractmethod
    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        """The loss of one step, summed over groups as published."""
