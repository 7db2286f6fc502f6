"""Networks that were trained elsewhere: on another data set, in another program."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from condensed_data.core.spec import DataDefault
from condensed_data.core.tensor_hash import DTYPES, content_hash
from condensed_data.core.validation import check_count
from condensed_data.methods.base import InitialState, NetworkView, Pool, PoolState
from condensed_data.methods.pools.module_slot import NetworkSlot, copied
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.networks.state_dicts import HEADS, load_state
from condensed_data.training.context import Context

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class GivenWeights(Pool):
    """One of several given networks, drawn at random each iteration. They look in evaluation mode.

    DD adapts networks of one data set to another so (Wang et al., 2018, https://arxiv.org/abs/1811.10959, section
    4.2): random pretrained weights are several states, fixed pretrained weights are one. `learning.elsewhere` trains
    them; a network of torchvision is

        alexnet = torchvision.models.alexnet(weights="DEFAULT")
        make = NamedCallable("alexnet", lambda num_classes, shape: torchvision.models.alexnet(num_classes=num_classes))
        recipes.dd(ipc=1, pool=GivenWeights(make, alexnet.state_dict(), head="zeroed", keep=False))

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module that builds them.
        states: state dictionaries of such networks, or one. They are no part of a stored recipe, only their digest.
        digest: identity of the states; found where they are given.
        head: "loaded", or "zeroed" for a last linear layer of zeros, where the networks know other classes.
        keep: whether a single network's weights are stored with a set that depends on them. Else whoever trains on
            the set has to bring them, and they are compared with the digest. Several are never stored.
        member: tells pools apart that lend several networks for one iteration, a term each, as DD averages over.

    Raises:
        ValueError: for no states, or values out of range; when the run starts, for states that do not fit.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    states: Sequence[StateDict] | StateDict = field(default=(), compare=False, repr=False)
    digest: str = ""
    head: str = "loaded"
    keep: bool = True
    member: int = 0

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            known = ", ".join(map(repr, HEADS))
            raise ValueError(f"GivenWeights(head={self.head!r}) is unknown; known: {known}.")
        check_count("GivenWeights", "member", self.member, 0)
        if isinstance(self.states, Mapping):
            object.__setattr__(self, "states", (self.states,))
        if not self.states and not self.digest:
            raise ValueError("GivenWeights(states=()) needs the state dictionary of at least one network.")
        if not self.digest:
            object.__setattr__(self, "digest", _digest(self.states))  # type: ignore[arg-type]

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)
        if not self.states:
            raise ValueError(
                f"GivenWeights(digest='{self.digest[:12]}...') has no states: a stored recipe holds only what identifies "
                "them. Give GivenWeights(states=...)."
            )

    def start(self, context: Context) -> PoolState:
        self.check(context.real.sample_shape)
        return _GivenWeightsState(self, context)


def _digest(states: Sequence[StateDict]) -> str:
    for index, state in enumerate(states):
        odd = [name for name, tensor in state.items() if tensor.dtype not in DTYPES.values()]
        if odd:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
            raise ValueError(
                f"Loaded: {odd[0]!r} of states[{index}] is {state[odd[0]].dtype}, which is not supported. Supported: "
                f"{known}."
            )
    digests = [content_hash({name: tensor.detach().cpu() for name, tensor in s.items()}) for s in states]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class _GivenWeightsState(PoolState):
    """Stateless: what is lent follows from the iteration alone."""

    def __init__(self, spec: GivenWeights, context: Context) -> None:
        self.spec, self.context = spec, context
        self.states: Sequence[StateDict] = spec.states  # type: ignore[assignment]
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()
        for index in reversed(range(len(self.states))):  # all, so that what does not fit is said now
            self._load(index)

    def network_at(self, iteration: int) -> NetworkView:
        draw = self.context.rng.choice("loaded", iteration, self.spec.member, len(self.states), 1)
        if int(draw) != self.lent:
            self._load(int(draw))
        return self.slot.net

    def initial(self) -> InitialState:
        if len(self.states) > 1:
            return InitialState("given", head=self.spec.head)
        if not self.spec.keep:
            return InitialState("given", digest=self.spec.digest, head=self.spec.head)
        return InitialState("stored", copied(self.slot.module))

    def _load(self, index: int) -> None:
        load_state(self.slot.module, self.states[index], self.spec.head, f"GivenWeights(states[{index}])")
        self.lent = index
