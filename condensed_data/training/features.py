"""Features of samples for coresets and clustering: raw values, a network trained on the data, or ImageNet's ResNet18.

Letters: B rows of a batch, n real samples, C channels, H, W, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.annotations import Count
from condensed_data.core.device import autocast
from condensed_data.core.names import did_you_mean
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec, require_resolved
from condensed_data.core.validation import check_count, is_count, require
from condensed_data.networks.registry import DefaultNetwork, NetworkLike, check_network
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import initial_network, trained_networks

Extract = Callable[[Tensor], Tensor]


class Extractor(Spec, ABC):
    """Specification of a feature extractor."""

    @abstractmethod
    def start(self, context: Context) -> Extract:
        """Standardized samples (B, *sample) on the run's device -> features (B, D) or (B, ...)."""


@dataclass(frozen=True)
class Raw(Extractor):
    """The standardized values."""

    def start(self, context: Context) -> Extract:
        return lambda x: x


@dataclass(frozen=True)
class Trained(Extractor):
    """A network trained on the real samples; pools use the same ones.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: its training; only one network is trained, whatever `pretrain.networks` is.
        layer: None for the embedding; a number from 1 for the map of that block; the name of any submodule.
        extent: see `pool`.

    Raises:
        ValueError: for a layer number below 1; in `start`, for a layer that the network does not have.
    """

    network: NetworkLike | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default_factory=Pretraining)
    layer: int | str | DataDefault | None = None
    extent: Count | None = 1

    def __post_init__(self) -> None:
        valid = not isinstance(self.layer, int) or self.layer >= 1
        require(valid, "Trained", "layer", self.layer, "at least 1, a name or None")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise ValueError if the network cannot be built for such samples."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Extract:
        module = initial_network(context, self.network, 0)
        layer = self._layer(module, context.real.sample_shape)  # raises before training
        if context.progress:
            print(
                "features: from a network trained on the real samples first; features='raw' compares the samples' "
                "values instead, without training",
                flush=True,
            )
        (found,) = trained_networks(context, self.network, replace(self.pretrain, networks=1))
        module.load_state_dict(found.weights)
        module.to(context.device).eval()
        return layer

    def _layer(self, module: nn.Module, shape: tuple[int, ...]) -> Extract:
        if self.layer is None:
            return networks.embed_of(module)
        if isinstance(self.layer, str):
            maps, index = networks.feature_maps_of(module, (self.layer,)), 0
        else:
            maps, index = networks.feature_maps_of(module), require_resolved(self.layer) - 1
            with torch.no_grad(), preserve_rng_state():
                count = len(maps(torch.zeros(2, *shape)))
            if index >= count:
                raise ValueError(f"Trained(layer={self.layer}) does not exist: the network has {count} feature maps.")
        return lambda x: pool(maps(x)[index], self.extent)


@dataclass(frozen=True)
class ImageNet(Extractor):
    """A stage of torchvision's ResNet18 trained on ImageNet, for gray and color images.

    Samples keep their own standardization instead of ImageNet's, so that images of any value range work. Gray images
    are repeated to three channels; smaller images are enlarged.

    Args:
        layer: stage 1 to 4 (`layer1` to `layer4` of the network).
        extent: see `pool`.
        side: images with a shorter side below this are enlarged to it.

    Raises:
        ValueError: for a stage that does not exist; in `check`, for samples that are not gray or color images, or if
            the weights are not on this computer and cannot be downloaded.
    """

    layer: int = 1
    extent: Count | None = 1
    side: int = 64

    def __post_init__(self) -> None:
        _check_stage("ImageNet", self.layer)
        check_count("ImageNet", "side", self.side, 32)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless such samples are images with 1 or 3 channels and the weights are available."""
        if len(sample_shape) != 3 or sample_shape[0] not in (1, 3):
            raise ValueError(
                f"features='imagenet' needs images with 1 or 3 channels; samples have shape {tuple(sample_shape)}. Use "
                "features='trained' or 'raw'."
            )
        _imagenet_weights()

    def start(self, context: Context) -> Extract:
        from torchvision.models import resnet18

        self.check(context.real.sample_shape)
        with preserve_rng_state():
            module = resnet18(weights=None)
        module.load_state_dict(_imagenet_weights())
        stem = (module.conv1, module.bn1, module.relu, module.maxpool)
        stages = (getattr(module, f"layer{number}") for number in range(1, self.layer + 1))
        backbone = nn.Sequential(*stem, *stages).to(context.device).eval()
        return lambda x: pool(backbone(enlarge(x, self.side)), self.extent)


def _check_stage(part: str | None, layer: Any) -> None:
    require(is_count(layer) and layer <= 4, part, "layer", layer, "1, 2, 3 or 4, a stage of the network")


def _imagenet_weights() -> dict[str, Tensor]:
    from torchvision.models import ResNet18_Weights

    url = str(ResNet18_Weights.IMAGENET1K_V1.url)
    place = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(
            f"features='imagenet' needs the ImageNet weights of torchvision's ResNet18, which could not be loaded "
            f"({error}). Download {url} to {place}, or use features='trained' for a network trained on the data."
        ) from error


def enlarge(x: Tensor, side: int) -> Tensor:
    """Repeat images (B, 1 or 3, H, W) to three channels, and enlarge them to a shorter side of at least `side`."""
    x = x.expand(-1, 3, -1, -1)
    shorter = min(x.shape[-2:])
    if shorter >= side:
        return x
    size = [round(length * side / shorter) for length in x.shape[-2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def pool(maps: Tensor, extent: int | None) -> Tensor:
    """Feature maps (B, C, ...) with at most `extent` positions along every axis, flattened: (B, D).

    Args:
        maps: (B, C, l), (B, C, H, W) or (B, C, D, H, W); features (B, D) are returned unchanged.
        extent: 1 averages over all positions, more over windows of equal sides, and None keeps every position.
    """
    if extent is None or maps.ndim == 2:
        return maps.flatten(1)
    if extent == 1:
        return maps.flatten(2).mean(2)
    average: Any = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[maps.ndim]
    return average(maps, [-(-side // extent) for side in maps.shape[2:]], ceil_mode=True).flatten(1)


NAMES = {"trained": Trained(), "raw": Raw(), "imagenet": ImageNet()}


@dataclass(frozen=True)
class StageNetwork(DataDefault):
    """ResNet18 for images, with the same stages as the ImageNet features; the default network for other samples.

    Images of at most 8 pixels a side get batch normalization, because their last feature map is a single pixel.
    """

    def __call__(self, info: DatasetInfo) -> Any:
        if len(info.sample_shape) != 3:
            return DefaultNetwork()(info)
        return "resnet18" if min(info.sample_shape[1:]) > 8 else "resnet18-bn"


@dataclass(frozen=True)
class Stage(DataDefault):
    """The number of the feature map that a `StageNetwork` has at this stage; map 1 of a ResNet18 is its stem."""

    stage: Count = 1

    def __call__(self, info: DatasetInfo) -> int:
        return self.stage + (len(info.sample_shape) == 3)


def stage_extractor(which: Any, layer: int = 1, means: bool = False) -> Extractor | Extract:
    """Like `extractor`, but "imagenet" and "trained" give the feature map of a stage of ResNet18.

    Images of 32 pixels or more keep their size, so that an image (C, H, W) has an ImageNet map (64, H/4, W/4) at stage
    1. A network trained on the data halves no side before stage 2; its maps are averaged over windows, to at most 8
    positions along a side, which are ImageNet's for images of 32 pixels.

    Args:
        which: see `extractor`.
        layer: 1 to 4; networks for samples other than images have fewer stages.
        means: the spatial means of the map, (64,) at stage 1, instead of the map.

    Raises:
        ValueError: for unknown features, and for a stage that does not exist.
    """
    if which == "imagenet":
        return ImageNet(layer) if means else ImageNet(layer, extent=None, side=32)
    if which != "trained":
        return extractor(which)
    _check_stage(None, layer)
    return Trained(StageNetwork(), layer=Stage(layer), extent=1 if means else 8)


def extractor(which: Any) -> Extractor | Extract:
    """The extractor "trained", "raw" or "imagenet"; an `Extractor`, a module or a function is returned unchanged.

    Functions map (B, *sample) to (B, D). Anything else raises ValueError.
    """
    if isinstance(which, str) and which in NAMES:
        return NAMES[which]
    if isinstance(which, Extractor) or (callable(which) and not isinstance(which, type)):
        return which
    known = ", ".join(map(repr, NAMES))
    raise ValueError(
        f"features={which!r} is unknown; known: {known}, an Extractor, a module or a function."
        f"{did_you_mean(which, NAMES)}"
    )


def _bar(samples: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=samples, desc="features of the real samples", unit=" samples", unit_scale=True, leave=False)


class FeatureExtractor:
    """Computes features batch by batch; `features` is what `extractor` returns."""

    def __init__(self, features: Any, context: Context) -> None:
        self.context = context
        if isinstance(features, nn.Module):  # a frozen copy, so that the original is not changed
            features = deepcopy(features).to(context.device).eval().requires_grad_(False)
        self.extract: Extract = features.start(context) if isinstance(features, Extractor) else features
        self.bar = _bar(len(context.real)) if context.progress else None

    def __call__(self, index: Tensor) -> Tensor:
        """Features of the real samples with these indices: (len(index), D) float32 on the CPU."""
        found = []
        for rows in index.split(256):
            found.append(self.embed(self.context.real[rows]))
            if self.bar is not None:
                self.bar.update(len(rows))
        if self.bar is not None and self.bar.n >= self.bar.total:
            self.bar.close()
        return torch.cat(found)

    def embed(self, x: Tensor) -> Tensor:
        """Features of standardized samples (B, *sample): (B, D) float32 on the CPU."""
        device, found = self.context.device, []
        with torch.no_grad(), preserve_rng_state():
            for rows in x.split(256):
                with autocast(device, self.context.precision):
                    found.append(self.extract(rows.to(device)).flatten(1).float().cpu())
        return torch.cat(found)
