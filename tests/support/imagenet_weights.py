"""A ResNet18 with random weights where torchvision looks for ImageNet's, and the map of its first stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def saved_weights(root: Path) -> Any:
    """Write the weights below `root`, which is to be TORCH_HOME, and return the network."""
    from torchvision.models import ResNet18_Weights, resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = resnet18(weights=None)
    place = root / "hub" / "checkpoints" / ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    place.parent.mkdir(parents=True)
    torch.save(module.state_dict(), place)
    return module.eval()


def first_stage(module: Any, x: Tensor) -> Tensor:
    """The map of images (B, 3, H, W) after stage 1: (B, 64, H/4, W/4)."""
    with torch.no_grad():
        found: Tensor = module.layer1(module.maxpool(module.relu(module.bn1(module.conv1(x)))))
    return found
