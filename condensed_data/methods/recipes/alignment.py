"""Methods that align features of all layers: CAFE."""

from __future__ import annotations

from dataclasses import dataclass, field

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Discrimination, LayerAlignment
from condensed_data.methods.pools import DefaultNetwork, DynamicBilevel
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols

__all__ = ["cafe"]


@register
def cafe(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float = 0.1,
    augment: bool = False,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """CAFE: alignment of the features of all layers, discrimination of classes, and dynamic bi-level optimization.

    Wang K. et al., CVPR 2022, https://arxiv.org/abs/2203.01531.

    Args:
        ipc, batch, network, within: see `dc`.
        iterations: matching steps; 20,000, and proportionally fewer for sources of less than 50,000 samples.
        lr: learning rate of SGD with momentum 0.5; halved after 60, 80 and 90 % of the published iterations.
        augment: use siamese augmentation ("CAFE+DSA").
        init: initial samples; Gaussian noise by default.
    """
    pool, sampler = DynamicBilevel(DefaultNetwork() if network is None else network), PerGroup(batch, within=within)
    siamese = SiameseAugment(DefaultDSAOps()) if augment else Identity()
    return Recipe(
        name="cafe",
        synthetic=Pixels(init or coresets.Noise()),
        terms=tuple(Term(loss, pool, sampler, siamese) for loss in (LayerAlignment(), Discrimination())),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5, milestones=FractionsOfIterations((0.6, 0.8, 0.9))),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        training=protocols.dsa() if augment else protocols.cafe(),
        paper="Wang K. et al., CAFE: Learning to Condense Dataset by Aligning Features, CVPR 2022, arXiv:2203.01531",
        deviations="The authors count 2,000 networks, each of as many steps as its accuracies allow, without bound; "
        "here iterations are steps, 10 for each published network, and a network takes at most 50.",
    )


@dataclass(frozen=True)
class FractionsOfIterations(DataDefault):
    """Fractions in (0, 1) of the default number of iterations, as numbers of iterations."""

    fractions: tuple[float, ...]
    iterations: DefaultIterations = field(default_factory=DefaultIterations)

    def __call__(self, info: DatasetInfo) -> tuple[int, ...]:
        return tuple(max(1, round(fraction * self.iterations(info))) for fraction in self.fractions)
