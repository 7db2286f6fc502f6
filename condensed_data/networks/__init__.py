"""Network architectures: those of the papers by name, and any callable `(num_classes, sample_shape) -> nn.Module`.

    spec = network("convnet")                       # or any callable
    module = build(spec, num_classes=7, sample_shape=(3, 48, 48), seed=0)
    module(x); module.embed(x); module.feature_maps(x)      # logits (B, K), features (B, D), one map per block

Specifications are frozen dataclasses. The modules that they build (except `Timm`) have the methods `embed` and
`feature_maps` and an attribute `classifier`, and `module(x)` equals `module.classifier(module.embed(x))`. Initial
weights are torch's defaults, as in the reference code, or those of `Xavier`. `embed_of` and `feature_maps_of` do the
same for any other module.
"""

from condensed_data.networks.convnets import MLP, VGG11, AlexNet, ConvNet, ConvNet1d, DoublingConvNet, LeNet
from condensed_data.networks.initializers import Xavier
from condensed_data.networks.probing import (
    Probe,
    embed_of,
    feature_maps_of,
    flops,
    has_batch_norm,
    is_stochastic,
    probe,
)
from condensed_data.networks.registry import (
    NetworkFunction,
    NetworkLike,
    Timm,
    build,
    default_name,
    default_network,
    names,
    network,
)
from condensed_data.networks.reinitialization import WeightInitializer
from condensed_data.networks.resnet import ResNet18

__all__ = [
    "MLP",
    "VGG11",
    "AlexNet",
    "ConvNet",
    "ConvNet1d",
    "DoublingConvNet",
    "LeNet",
    "NetworkFunction",
    "NetworkLike",
    "Probe",
    "ResNet18",
    "Timm",
    "WeightInitializer",
    "Xavier",
    "build",
    "default_name",
    "default_network",
    "embed_of",
    "feature_maps_of",
    "flops",
    "has_batch_norm",
    "is_stochastic",
    "names",
    "network",
    "probe",
]
