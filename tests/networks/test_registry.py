"""Networks by name, and building them without touching the global random state."""

import copy
import sys

import pytest
import timm
import torch
from torch import nn

from condensed_data import networks
from condensed_data.core.spec import from_json, to_json
from condensed_data.networks import MLP, AlexNet, ConvNet, ConvNet1d, DoublingConvNet, ResNet18, Timm

GRAY = (1, 28, 28)


def make(which, shape, classes=10, seed=0):
    return networks.build(networks.network(which), classes, shape, seed)


def test_default_networks():
    sides = {3: 1, 8: 2, 15: 2, 16: 3, 28: 3, 32: 3, 64: 4, 128: 5}
    for side, depth in sides.items():
        assert networks.default_network((3, side, 2 * side)) == ConvNet(depth=depth)
    assert networks.default_network((3, 9)) == ConvNet1d(depth=2)
    assert networks.default_network((3, 900)) == ConvNet1d()
    assert networks.default_network((9,)) == MLP()
    with pytest.raises(ValueError, match=r"no default network for samples of shape \(1, 2, 3, 4\).*mlp"):
        networks.default_network((1, 2, 3, 4))


def test_names():
    for name in networks.names():
        spec = networks.network(name)
        assert from_json(to_json(spec)) == spec
        assert type(spec).version == 1
    assert networks.network("convnet") == ConvNet()
    assert networks.network("resnet18-bn-ap") == ResNet18("batch", average_pool=True)
    assert networks.network("alexnet-in") == AlexNet("instance")
    assert networks.network("mlp-d3-w32") == MLP(32, 3)
    assert networks.network("convnet-d4-w64-gn-swish-maxpool") == ConvNet(64, 4, "group", "swish", "max")
    assert networks.network("convnet1d-nn-nopool") == ConvNet1d(norm="none", pooling="none")
    assert networks.network("doubling-d4-bn") == DoublingConvNet(depth=4, norm="batch")
    assert networks.network("timm:resnet18") == Timm("resnet18")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "conv",
        "ConvNet",
        "convnet-",
        "convnet-xx",
        "lenet-bn",
        "mlp-ap",
        "convnet-bn-in",
        "convnet-d",
        "timm:",
    ],
)
def test_unknown_names_list_the_known_ones(name):
    with pytest.raises(ValueError, match=f"Unknown network {name!r}.*convnet-bn.*resnet18-bn-ap, timm:NAME"):
        networks.network(name)


def test_callables_are_accepted_and_other_values_raise():
    def mine(num_classes, sample_shape):
        return nn.Linear(sample_shape[0], num_classes)

    assert networks.network(mine) is mine
    with pytest.raises(ValueError, match=r"got a Linear module\. Pass lambda num_classes, sample_shape: Linear"):
        networks.network(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="must be a name or a callable; got 3"):
        networks.network(3)


def test_build_is_reproducible_and_restores_the_global_generator():
    before = torch.get_rng_state()
    first, again, other = (make("convnet-w16", GRAY, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    with torch.device("meta"):
        assert make("mlp", GRAY).classifier.weight.device.type == "cpu"


def test_build_reports_the_failure_of_a_callable_with_the_shape():
    def broken(num_classes, sample_shape):
        raise KeyError("width")

    def wrong(num_classes, sample_shape):
        return torch.nn.functional.relu

    before = torch.get_rng_state()
    with pytest.raises(
        ValueError, match=r"broken failed for 7 classes and samples of shape \(2, 9\): KeyError"
    ) as raised:
        networks.build(broken, 7, (2, 9), seed=0)
    assert isinstance(raised.value.__cause__, KeyError)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(TypeError, match=r"wrong must return a torch.nn.Module; got "):
        networks.build(wrong, 7, (2, 9), seed=0)


def test_timm_models_take_channels_classes_and_the_image_size():
    for name, shape in (("resnet10t", (1, 33, 33)), ("vit_tiny_patch16_224", (2, 32, 32))):
        module = make(f"timm:{name}", shape, classes=5)
        probe = networks.probe(module, shape)
        assert probe == networks.Probe(outputs=5, features=timm.create_model(name).num_features)
    with pytest.raises(ValueError, match="timm has no model 'nothing'"):
        make("timm:nothing", GRAY)
    with pytest.raises(ValueError, match=r"timm:resnet18 takes images \(C, H, W\)"):
        make("timm:resnet18", (20,))


def test_timm_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm:resnet18.*pip install timm"):
        make("timm:resnet18", GRAY)


def test_a_function_that_returns_one_module_again_is_refused() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    shared = networks.network(lambda num_classes, shape: module)
    assert networks.build(shared, 3, (3, 2, 2), 0) is module
    with pytest.raises(ValueError, match=r"returned the same module again.*Build a new module in every call"):
        networks.build(shared, 3, (3, 2, 2), 1)
    copied = networks.network(lambda num_classes, shape: copy.deepcopy(module))
    assert networks.build(copied, 3, (3, 2, 2), 0) is not networks.build(copied, 3, (3, 2, 2), 0)
