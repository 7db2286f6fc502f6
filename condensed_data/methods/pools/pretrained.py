"""Networks trained on the real samples before the run: IID's feature extractors, DANCE's middle encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from condensed_data.core.device import supports_async_copy, to_device
from condensed_data.core.spec import DataDefault
from condensed_data.core.validation import check_count
from condensed_data.methods.base import InitialState, NetworkView, Pool, PoolState
from condensed_data.methods.pools.module_slot import NetworkSlot
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import initial_network, trained_networks

INTERPOLATIONS = (None, "dance")


@dataclass(frozen=True)
class Pretrained(Pool):
    """One of several networks trained on the real data, drawn at random each iteration.

    The networks come from `Context.network_store`, the store that is shared with everything else that asks for the
    same ones. They look in evaluation mode. `NetworkView.centers` are the class means of the real embeddings.

    Pools with equal `pretrain.networks` draw the same number in an iteration whatever else differs, so that a DANCE
    recipe's second term (calibration) sees the trained end of the first one's interpolation.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: how many and how long. IID: 40 epochs in the code (30 in the paper), 1,000 networks; DANCE and
            NCFM: 60 epochs, 20 networks.
        interpolate: None, or "dance" for lam * initial + (1 - lam) * trained weights with lam ~ U(0, 1) anew each
            iteration (Zhang et al., DANCE, IJCAI 2024); such a network has no `centers`.
        member: tells pools apart that lend several networks for one iteration, a term each, as DD averages over.

    Raises:
        ValueError: for an unknown interpolation, or a member below 0.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default_factory=Pretraining)
    interpolate: str | None = None
    member: int = 0

    def __post_init__(self) -> None:
        check_count("Pretrained", "member", self.member, 0)
        if self.interpolate not in INTERPOLATIONS:
            known = ", ".join(map(repr, INTERPOLATIONS))
            raise ValueError(f"Pretrained(interpolate={self.interpolate!r}) is unknown; known: {known}.")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _PretrainedState(self, context)


class _PretrainedState(PoolState):
    """Stateless: the networks are in the store, and what is lent follows from the iteration alone."""

    def __init__(self, spec: Pretrained, context: Context) -> None:
        self.spec, self.context = spec, context
        self.lent: tuple[int, float] | None = None
        self.networks = trained_networks(context, spec.network, spec.pretrain)
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()

    def network_at(self, iteration: int) -> NetworkView:
        rng, member = self.context.rng, self.spec.member
        index = int(rng.choice("pretrained", iteration, member, len(self.networks), 1))
        lam = float(rng.uniform("interpolate", iteration, [member], 1)) if self.spec.interpolate else 0.0
        if (index, lam) != self.lent:
            self.lent = (index, lam)
            self._load(index, lam)
        return self.slot.net

    def initial(self) -> InitialState:
        """The only trained network; several are a distribution, of which whoever trains takes others."""
        if len(self.networks) > 1 or self.spec.interpolate:
            return InitialState("given")
        return InitialState("stored", self.networks[0].weights)

    def _load(self, index: int, lam: float) -> None:
        found = self.networks[index]
        weights, centers = found.weights, found.centers
        if self.spec.interpolate:
            weights = _between(
                initial_network(self.context, self.spec.network, index).state_dict(), weights, lam
            )
            centers = None
        self.slot.take(weights)
        self._place(centers)

    def _place(self, centers: Tensor | None) -> None:
        net = self.slot.net
        if centers is None or net.centers is None:
            net.centers = None if centers is None else to_device(centers, self.context.device)
        else:
            net.centers.copy_(centers, non_blocking=supports_async_copy(self.context.device))


def _between(
    initial_weights: Mapping[str, Tensor], trained: Mapping[str, Tensor], lam: float
) -> dict[str, Tensor]:
    """The weights lam * initial + (1 - lam) * trained; what is no floating number (counters) stays as trained."""
    return {
        name: lam * initial_weights[name] + (1 - lam) * weight if weight.is_floating_point() else weight
        for name, weight in trained.items()
    }
