"""Networks trained on the real samples before the run: IID's feature extractors, DANCE's interpolated encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.core.validation import check_choice, check_count
from condensed_data.methods.base import InitialState, PoolState
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, StatelessPoolState
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import initial_network, trained_networks


@dataclass(frozen=True)
class Pretrained(NetworkPool):
    """One of several networks trained on the real data, drawn at random each iteration, in evaluation mode.

    The networks come from `Context.network_store`, the cache that all users of equal networks share.
    `NetworkView.centers` are the class means of the real embeddings.

    Pools with equal `pretrain.networks` draw the same index in an iteration whatever else differs, so that the second
    term of a DANCE recipe (calibration) uses the trained end of the first term's interpolation.

    Args:
        pretrain: how many networks, and how they are trained. IID: 40 epochs in the code (30 in the paper), 1,000
            networks; DANCE: 5, NCFM: 20, for 60 epochs with color changes, translations and CutMix.
        interpolate: None, or "dance" for lam * initial + (1 - lam) * trained weights with a new lam ~ U(0, 1) in
            every iteration (Zhang et al., DANCE, IJCAI 2024); such a network has no `centers`.
        member: see `RandomInit`.
    """

    pretrain: Pretraining = field(default_factory=Pretraining)
    interpolate: str | None = None
    member: int = 0

    def __post_init__(self) -> None:
        check_count("Pretrained", "member", self.member, 0)
        check_choice("Pretrained", "interpolate", self.interpolate, (None, "dance"))

    def start(self, context: Context) -> PoolState:
        return _PretrainedState(self, context)


class _PretrainedState(StatelessPoolState):
    def __init__(self, spec: Pretrained, context: Context) -> None:
        self.spec, self.context = spec, context
        self.networks = trained_networks(context, spec.network, spec.pretrain)
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()

    def initial_state(self) -> InitialState:
        """The trained network if there is only one; several are a distribution, so users bring their own."""
        if len(self.networks) > 1 or self.spec.interpolate:
            return InitialState("given")
        return InitialState("stored", self.networks[0].weights)

    def _key(self, iteration: int) -> tuple[int, float]:
        rng, member = self.context.rng, self.spec.member
        index = int(rng.choice("pretrained", iteration, member, len(self.networks), 1))
        lam = float(rng.uniform("interpolate", iteration, [member], 1)) if self.spec.interpolate else 0.0
        return index, lam

    def _load(self, index: int, lam: float) -> None:
        trained = self.networks[index]
        weights, centers = trained.weights, trained.centers
        if self.spec.interpolate:
            start = initial_network(self.context, self.spec.network, index).state_dict()
            weights, centers = _interpolate(start, weights, lam), None
        self.slot.load(weights)
        self.slot.net.centers = None if centers is None else to_device(centers, self.context.device)


def _interpolate(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], lam: float) -> dict[str, Tensor]:
    """The weights lam * start + (1 - lam) * trained; tensors that are not floating-point (counters) stay as trained."""
    return {
        name: lam * start[name] + (1 - lam) * weight if weight.is_floating_point() else weight
        for name, weight in trained.items()
    }
