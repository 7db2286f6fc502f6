"""IDC: gradients of convolutions in networks trained on real samples, with several samples in each stored one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Gradient
from condensed_data.methods.pools import DefaultNetwork, TrainedOnReal
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.published import Published, SettingsTable
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols
from condensed_data.training.sgd import SGDConfig

__all__ = ["idc", "idc_i"]

# The distance of gradients; the learning rate at 10 samples per class and images of `side`; real samples that train the
# network (the authors' 500 or 2,000 in whole batches of 64); operations of every match, and the probability of CutMix
# in the network's training; iterations, 100 of each network; cells of a grid's side.
_COLUMNS = ("distance", "rate", "side", "samples", "matched", "cutmix", "iterations", "factor")
_ERASED, _WHOLE = ("color", "cutout"), ("color",)
_SETTINGS = {
    "mnist": ("l1", 1e-4, 28, 512, _WHOLE, 0.0, 200_000, 2),
    "fashion-mnist": ("l1", 1e-4, 32, 512, _ERASED, 0.5, 200_000, 2),
    "svhn": ("mse", 5e-3, 32, 512, _ERASED, 0.5, 200_000, 2),
    "cifar10": ("mse", 5e-3, 32, 2048, _ERASED, 0.5, 200_000, 2),
    "cifar100": ("mse", 5e-3, 32, 2048, _ERASED, 0.5, 200_000, 2),
    "imagenet-subset": ("l1", 3e-3, 224, 512, _ERASED, 1.0, 50_000, 3),
}
_WITHOUT_GRIDS = _SETTINGS | {"mnist": ("l1", 1e-4, 28, 512, _ERASED, 0.5, 200_000, 1)}
_IPC = {"cifar100": (10, 20), "imagenet-subset": (10, 20)}
for _name, _rows in (("idc", _SETTINGS), ("idc_i", _WITHOUT_GRIDS)):
    _by_ipc = {(dataset, ipc): row for dataset, row in _rows.items() for ipc in _IPC.get(dataset, (1, 10, 50))}
    SettingsTable(_name, _COLUMNS, _by_ipc)


@register
def idc_i(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 64,
    lr: float | None = None,
    distance: str | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDC without multi-formation: gradients of convolutions in networks trained on real samples.

    Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, and the authors' settings by dataset.

    Args:
        ipc, batch, within: see `dc`.
        iterations: 2,000 networks of 100 iterations each; proportionally fewer for less than 50,000 samples.
        lr: learning rate of SGD with momentum 0.5, for values in [0, 1]; by default as published for this dataset,
            number of samples per class and sample size.
        distance: "l1" (published for MNIST, Fashion-MNIST and ImageNet subsets) or "mse" (for SVHN and CIFAR).
        init: initial samples; random real ones by default.
        network: matching network with convolutions; by default as in `dc`.
    """
    return _recipe("idc_i", ipc, iterations, batch, lr, distance, init, network, within)


@register
def idc(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 64,
    lr: float | None = None,
    distance: str | None = None,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDC: every stored sample is a grid of smaller ones, matched as in `idc_i`.

    Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, section 4.

    Args:
        ipc, iterations, batch, lr, distance, network, within: see `idc_i`.
        factor: the grid is factor x factor; by default 2, 3 for images of 128 pixels and more, and 1 for vectors.
        init: initial samples of the grids, downsampled; random real ones by default.
    """
    recipe = _recipe("idc", ipc, iterations, batch, lr, distance, init, network, within)
    cells = Spatial(Published("idc", "factor"), 1) if factor is None else factor
    return replace(recipe, synthetic=MultiFormation(recipe.synthetic, cells))


def _recipe(
    name: str,
    ipc: int,
    iterations: int | None,
    batch: int,
    lr: float | None,
    distance: str | None,
    init: coresets.Init | None,
    network: NetworkLike | DataDefault | None,
    within: BatchSelection | None,
) -> Recipe:
    """Either recipe, with the settings of the table of this name, and without grids."""
    table = {column: Published(name, column) for column in _COLUMNS}
    augment = SiameseAugment(("crop",), ("color",), per_sample=True)
    training = SGDConfig(0.01, 0.9, 5e-4, 64, augment, Spatial(table["cutmix"], 0.0))
    rate = RateBySize(table["rate"], table["side"], table["distance"], distance)
    term = Term(
        Gradient(distance or table["distance"], "conv"),
        TrainedOnReal(DefaultNetwork() if network is None else network, 100, table["samples"], training),
        PerGroup(batch, synthetic=128, within=within),
        SiameseAugment(DefaultDSAOps(("crop",)), table["matched"]),
    )
    return Recipe(
        name=name,
        synthetic=Pixels(init or coresets.Random(), clamp=True),
        terms=(term,),
        optimizer=Optimizer("sgd", lr=rate if lr is None else lr, momentum=0.5),
        iterations=DefaultIterations(table["iterations"]) if iterations is None else iterations,
        ipc=ipc,
        step_per="class",
        training=protocols.protocol(name),
        paper="Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022, "
        "arXiv:2205.14959",
        deviations="Values are clamped to [0, 1] after every step, not every 100. Initial cells of a grid are "
        "downsampled by averaging areas. Real batches of a class are drawn independently; the authors pass through the "
        "shuffled class. For ImageNet subsets, the authors match with ResNetAP-10, after 10 epochs on the real data.",
    )


@dataclass(frozen=True)
class RateBySize(DataDefault):
    """IDC's learning rate for values in [0, 1], proportional to the samples per class and the values of a channel.

    Args:
        rate, side: at 10 samples per class and images of side x side values.
        published: distance that these are for.
        distance: of gradients; with another one than the published, the rate is 1e-4 ("l1") or 5e-3 at 32 x 32 values.
    """

    rate: Published
    side: Published
    published: Published
    distance: str | None = None

    def __call__(self, info: DatasetInfo) -> float:
        rate, side = self.rate(info), self.side(info)
        if self.distance not in (None, self.published(info)):
            rate, side = (1e-4 if self.distance == "l1" else 5e-3), 32
        return float(rate * (info.ipc / 10) * (prod(info.sample_shape[1:]) / side**2))


@dataclass(frozen=True)
class Spatial(DataDefault):
    """A published value for images and signals, and another one for vectors, in which no box or cell can be cut."""

    value: Published
    otherwise: float

    def __call__(self, info: DatasetInfo) -> Any:
        return self.value(info) if len(info.sample_shape) > 1 else self.otherwise
