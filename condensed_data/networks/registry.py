"""Networks by name, and building them from a seed without changing the global random state.

A name is a family, followed by settings after dashes: `convnet-d4-w64-bn` is `ConvNet(64, 4, norm="batch")`. Settings,
for families that have the field: `d4` depth, `w64` width, `bn`, `in`, `ln`, `gn`, `nn` the normalization (batch,
instance, layer, group, none), `sigmoid`, `relu`, `leakyrelu`, `swish` the activation, `avgpool`, `maxpool`, `nopool`
the pooling, `ap` the pooled ResNet. `timm:NAME` is a model of timm, with random weights. Letters: K classes, C
channels, H, W, L height, width and length, D features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Annotated, Any
from weakref import WeakSet

import torch
from torch import nn

from condensed_data.core.names import unknown_name
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec
from condensed_data.networks import layers
from condensed_data.networks.convnets import MLP, VGG11, AlexNet, ConvNet, ConvNet1d, DoublingConvNet, LeNet
from condensed_data.networks.modes import temporary_mode
from condensed_data.networks.resnet import ResNet18

NetworkFunction = Callable[[int, tuple[int, ...]], nn.Module]


class _IsNetwork:
    """The rule of `NetworkLike`: raises what `network` raises."""

    def __call__(self, value: Any) -> bool:
        network(value)
        return True

    def __str__(self) -> str:
        return "that builds a network"


NetworkLike = Annotated[str | NetworkFunction, _IsNetwork()]  # what `network` takes

_FAMILIES: dict[str, Any] = {
    "convnet": ConvNet(),
    "convnet1d": ConvNet1d(),
    "doubling": DoublingConvNet(),
    "mlp": MLP(),
    "lenet": LeNet(),
    "alexnet": AlexNet(),
    "vgg11": VGG11(),
    "resnet18": ResNet18(),
}
_OURS = tuple(type(spec) for spec in _FAMILIES.values())
_NAMES = (
    *("convnet", "convnet-bn", "convnet1d", "doubling", "doubling-bn", "mlp", "lenet", "alexnet", "alexnet-bn"),
    *("vgg11", "vgg11-bn", "resnet18", "resnet18-bn", "resnet18-ap", "resnet18-bn-ap"),
)
_SETTINGS: dict[str, tuple[str, Any]] = {
    **{short: ("norm", norm) for short, norm in zip(("nn", "bn", "ln", "in", "gn"), layers.NORMS, strict=True)},
    **{name: ("activation", name) for name in layers.ACTIVATIONS},
    **{short: ("pooling", short.removesuffix("pool")) for short in ("maxpool", "avgpool")},
    "nopool": ("pooling", "none"),
    "ap": ("average_pool", True),
}


@dataclass(frozen=True)
class Timm(Spec):
    """A model of timm with random weights, for images.

    Args:
        name: a timm model name, for instance "resnet18" or "vit_tiny_patch16_224".

    Raises:
        ImportError: when called, if timm is not installed.
        ValueError: when called, for a name that timm does not know, or samples that are not images.
    """

    name: str

    def __call__(self, num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        layers.check_image(f"timm:{self.name}", num_classes, sample_shape)
        try:
            timm = import_module("timm")
        except ImportError as error:
            raise ImportError(f'The network "timm:{self.name}" needs timm: pip install timm') from error
        if not timm.is_model(self.name):
            raise ValueError(f"timm has no model {self.name!r}. timm.list_models() lists those it has.")
        options: dict[str, Any] = {"num_classes": num_classes, "in_chans": sample_shape[0], "pretrained": False}
        # Models whose weights depend on the image size (ViT, Swin, mixers) need this argument; others reject it.
        config = timm.models.get_pretrained_cfg(self.name)
        if config is not None and config.fixed_input_size:
            options["img_size"] = tuple(sample_shape[1:])
        return timm.create_model(self.name, **options)


def names() -> list[str]:
    """Names of the networks of the standard evaluation; see `network` for settings and `timm:NAME`."""
    return list(_NAMES)


def network(which: str | NetworkFunction) -> NetworkFunction:
    """The network with this name; a callable `(num_classes, sample_shape) -> nn.Module` is returned unchanged.

    A name is one of `names()`, a family with settings such as "convnet-d4-w64-bn" (see the module docstring), or
    "timm:NAME". For an unknown one, ValueError lists the known ones; likewise for a module, or anything else that is
    neither a name nor a callable.
    """
    if isinstance(which, str):
        return _by_name(which)
    if isinstance(which, nn.Module):
        name = type(which).__name__
        raise ValueError(
            f"A network must be a function that builds a module; got a {name} module. "
            f"Pass lambda num_classes, sample_shape: {name}(...)."
        )
    if not callable(which):
        raise ValueError(f"A network must be a name or a callable; got {which!r}. Known names: {', '.join(_NAMES)}.")
    return which


def _by_name(name: str) -> NetworkFunction:
    if name.startswith("timm:") and len(name) > len("timm:"):
        return Timm(name.removeprefix("timm:"))
    family, *settings = name.split("-")
    spec = _FAMILIES.get(family)
    known = {field.name for field in fields(spec)} if spec is not None else set()
    changes = [_setting(text) for text in settings]
    chosen = [field for field, _ in changes]
    if spec is None or not known.issuperset(chosen) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"{unknown_name('network', name, (*_NAMES, 'timm:NAME'))} "
            "A name may add each setting once, as in convnet-d4-w64-bn: "
            f"dN, wN, {', '.join(_SETTINGS)}."
        )
    return replace(spec, **dict(changes))


def _setting(text: str) -> tuple[str, Any]:
    number = re.fullmatch(r"([dw])([0-9]{1,6})", text)
    if number:
        return {"d": "depth", "w": "width"}[number[1]], int(number[2])
    return _SETTINGS.get(text, ("", None))


def default_name(sample_shape: tuple[int, ...]) -> str:
    """Name of the default network: "convnet" for images, "convnet1d" for signals, "mlp" for vectors, else ValueError.

    A ConvNet has three blocks up to 32 pixels and one more with each doubling, as published (four at 64, five at 128),
    and fewer if the last map would be smaller than 2x2: a single pixel, normalized by itself, is always 0.
    """
    if len(sample_shape) == 1:
        return "mlp"
    if len(sample_shape) not in (2, 3):
        raise ValueError(
            f"There is no default network for samples of shape {tuple(sample_shape)}, only for vectors (D,), "
            'signals (C, L) and images (C, H, W). Give network="mlp", or a callable.'
        )
    family, side = "convnet" if len(sample_shape) == 3 else "convnet1d", min(sample_shape[1:])
    deepest = max(1, int(math.log2(max(side, 2) / 2)))
    published = max(3, round(math.log2(side / 4))) if family == "convnet" else 3
    depth = min(deepest, published)
    return family if depth == 3 else f"{family}-d{depth}"


def default_network(sample_shape: tuple[int, ...]) -> NetworkFunction:
    """The specification of `default_name`."""
    return network(default_name(sample_shape))


@dataclass(frozen=True)
class DefaultNetwork(DataDefault):
    """ConvNet for images, ConvNet1d for signals, an MLP for vectors."""

    def __call__(self, info: DatasetInfo) -> Any:
        return default_network(info.sample_shape)


def check_network(which: Any, sample_shape: tuple[int, ...]) -> None:
    """Build the network for such samples and two classes, so that errors are raised before long work starts."""
    if isinstance(which, DataDefault):
        which = which(DatasetInfo(sample_shape, (), 1))
    build(network(which), 2, sample_shape, 0)


def check_outputs(which: Any, num_classes: int, sample_shape: tuple[int, ...]) -> None:
    """Raise ValueError for a network with fewer outputs than classes, or that cannot take such samples."""
    function = network(which)
    if isinstance(function, _OURS):
        return
    module, x = build(function, num_classes, sample_shape, 0), torch.zeros(2, *sample_shape)
    with temporary_mode(module, training=False), torch.no_grad(), preserve_rng_state():
        try:
            logits = module(x)
        except Exception as error:
            raise ValueError(
                f"The network {_label(function)} cannot take samples of {sample_shape}: {error}"
            ) from error
    if isinstance(logits, torch.Tensor) and logits.ndim == 2 and logits.shape[1] < num_classes:
        raise ValueError(
            f"The network {_label(function)} has {logits.shape[1]} outputs, but there are {num_classes} classes. Build "
            "it with the num_classes that it is called with."
        )


_BUILT: WeakSet[nn.Module] = WeakSet()  # what `build` returned, as long as it lives


def build(spec: NetworkFunction, num_classes: int, sample_shape: tuple[int, ...], seed: int) -> nn.Module:
    """A new network on the CPU; the same seed gives the same weights, and global random states do not change.

    Args:
        spec: what `network` returns. If it fails, ValueError names the sample shape; if it returns no module, TypeError
            is raised; if it returns the same module twice, ValueError.
        num_classes: number of logits K.
        sample_shape: shape of one sample, without the batch.
        seed: of the initial weights.
    """
    # Only the CPU generator is saved and seeded: torch.manual_seed would reseed every accelerator's as well.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        try:
            module = spec(num_classes, tuple(sample_shape))
        except Exception as error:
            # Our own networks explain what is wrong with the sample, and a missing package is not a wrong value.
            if isinstance(spec, _OURS) or isinstance(error, ImportError):
                raise
            raise ValueError(
                f"The network {_label(spec)} failed for {num_classes} classes and samples of shape "
                f"{tuple(sample_shape)}: {type(error).__name__}: {error}"
            ) from error
    if not isinstance(module, nn.Module):
        raise TypeError(f"The network {_label(spec)} must return a torch.nn.Module; got {type(module).__name__}.")
    if module in _BUILT:
        raise ValueError(
            f"The network {_label(spec)} returned the same module again, which may be trained already. Build a new "
            "module in every call."
        )
    _BUILT.add(module)
    return module


def _label(spec: NetworkFunction) -> str:
    return repr(spec) if isinstance(spec, Spec) else getattr(spec, "__qualname__", repr(spec))
