"""Networks with weights that the user gives, trained on another dataset or by another program."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from condensed_data.core.tensor_hash import DTYPES, content_hash
from condensed_data.core.validation import check_choice, check_count
from condensed_data.methods.base import InitialState, PoolState
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, StatelessPoolState, cpu_state_dict
from condensed_data.networks.state_dicts import HEADS, load_state
from condensed_data.training.context import Context

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class GivenWeights(NetworkPool):
    """One of several given networks, drawn at random each iteration, in evaluation mode.

    DD adapts networks of one dataset to another this way (Wang et al., 2018, https://arxiv.org/abs/1811.10959,
    section 4.2): "random pretrained weights" are several states, "fixed pretrained weights" one.
    `condensed_data.training.pretrain` trains such networks. One from torchvision:

        alexnet = torchvision.models.alexnet(weights="DEFAULT")
        make = NamedCallable("alexnet", lambda num_classes, shape: torchvision.models.alexnet(num_classes=num_classes))
        recipes.dd(ipc=1, pool=GivenWeights(make, alexnet.state_dict(), head="zeroed", keep=False))

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module that builds them.
        states: state dictionaries of such networks, or one. A stored recipe holds only their digest.
        digest: hash of the states; computed if they are given.
        head: "loaded", or "zeroed" for a last linear layer of zeros, if the networks were trained on other classes.
        keep: whether the weights of a single network are stored with a condensed dataset that depends on them.
            Otherwise whoever trains on the dataset provides them, and their digest is checked. Several networks are
            never stored.
        member: see `RandomInit`.

    Raises:
        ValueError: for no states; when the run starts, for states that do not fit.
    """

    states: Sequence[StateDict] | StateDict = field(default=(), compare=False, repr=False)
    digest: str = ""
    head: str = "loaded"
    keep: bool = True
    member: int = 0

    def __post_init__(self) -> None:
        check_choice("GivenWeights", "head", self.head, HEADS)
        check_count("GivenWeights", "member", self.member, 0)
        if isinstance(self.states, Mapping):
            object.__setattr__(self, "states", (self.states,))
        if not self.states and not self.digest:
            raise ValueError("GivenWeights(states=()) needs the state dictionary of at least one network.")
        if not self.digest:
            object.__setattr__(self, "digest", _digest(self.states))  # type: ignore[arg-type]

    def check(self, sample_shape: tuple[int, ...]) -> None:
        super().check(sample_shape)
        if not self.states:
            raise ValueError(
                f"GivenWeights(digest='{self.digest[:12]}...') has no states: a stored recipe holds only their digest. "
                "Give GivenWeights(states=...)."
            )

    def start(self, context: Context) -> PoolState:
        self.check(context.real.sample_shape)
        return _GivenWeightsState(self, context)


def _digest(states: Sequence[StateDict]) -> str:
    for index, state in enumerate(states):
        for name, tensor in state.items():
            if tensor.dtype not in DTYPES.values():
                known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
                raise ValueError(
                    f"GivenWeights(states[{index}]): {name!r} is of {tensor.dtype}, which is not supported. "
                    f"Convert it to one of {known}."
                )
    digests = [content_hash(state) for state in states]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class _GivenWeightsState(StatelessPoolState):
    def __init__(self, spec: GivenWeights, context: Context) -> None:
        self.spec, self.context = spec, context
        self.states: Sequence[StateDict] = spec.states  # type: ignore[assignment]
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()
        for index in reversed(range(len(self.states))):  # load all once, so that misfits are reported now
            self._load(index)
        self.loaded = (0,)

    def _key(self, iteration: int) -> tuple[int]:
        return (int(self.context.rng.choice("loaded", iteration, self.spec.member, len(self.states), 1)),)

    def _load(self, index: int) -> None:
        load_state(self.slot.module, self.states[index], self.spec.head, f"GivenWeights(states[{index}])")

    def initial_state(self) -> InitialState:
        if len(self.states) > 1:
            return InitialState("given", head=self.spec.head)
        if not self.spec.keep:
            return InitialState("given", digest=self.spec.digest, head=self.spec.head)
        return InitialState("stored", cpu_state_dict(self.slot.module))
