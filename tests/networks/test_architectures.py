"""Shapes, sizes and definitions of every network, and the samples that they take."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from condensed_data import networks
from condensed_data.networks import MLP, VGG11, AlexNet, ConvNet, ConvNet1d, DoublingConvNet, LeNet, ResNet18
from condensed_data.networks.layers import ACTIVATIONS, NORMS, POOLINGS

GRAY, COLOR = (1, 28, 28), (3, 32, 32)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def make(which, shape, classes=10):
    return networks.build(networks.network(which), classes, shape, seed=0)


def attempt(which, shape):
    """The network, or the error message if it cannot be built."""
    try:
        return make(which, shape, classes=4)
    except ValueError as error:
        return str(error)


def samples(shape, rows=3):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


TABLE = [
    ("mlp", (118_282, 411_146), (128, 128)),
    ("lenet", (61_706, 62_006), (84, 84)),
    ("convnet", (317_706, 320_010), (2048, 2048)),
    ("convnet-bn", (317_706, 320_010), (2048, 2048)),
    ("doubling", (1_558_538, 1_560_842), (8192, 8192)),
    ("doubling-bn", (1_559_306, 1_561_610), (8192, 8192)),
    ("alexnet", (1_865_802, 1_872_202), (3072, 3072)),
    ("vgg11", (9_229_962, 9_231_114), (512, 512)),
    ("vgg11-bn", (9_229_962, 9_231_114), (512, 512)),
    ("resnet18", (11_172_810, 11_173_962), (512, 512)),
    ("resnet18-bn", (11_172_810, 11_173_962), (512, 512)),
    ("resnet18-ap", (11_213_770, 11_250_762), (4608, 8192)),
    ("resnet18-bn-ap", (11_213_770, 11_250_762), (4608, 8192)),
]


def test_the_doubling_network_equals_its_definition():
    module = make(DoublingConvNet(4, 2, "batch"), (3, 8, 8)).eval()
    first, second = module.blocks
    x = samples((3, 8, 8))
    hidden = F.avg_pool2d(F.relu(F.conv2d(x, first[1].weight, first[1].bias, padding=1)), 2)
    norm = second[0]
    norm.running_mean += 0.5
    norm.running_var *= 2
    hidden = (hidden - 0.5) / (2 + 1e-5) ** 0.5
    hidden = F.avg_pool2d(F.relu(F.conv2d(hidden, second[1].weight, second[1].bias, padding=1)), 2)
    torch.testing.assert_close(module.embed(x), hidden.flatten(1))
    assert (first[1].out_channels, second[1].out_channels, norm.momentum) == (4, 8, 0.9)
    wide = make(DoublingConvNet(), COLOR)
    for layer in (wide.blocks[1][1], wide.blocks[2][1], wide.classifier):
        inputs = layer.weight[0].numel()
        assert layer.weight.var().item() * inputs == pytest.approx(1, rel=0.03)
        assert layer.weight.abs().max() <= 2 * inputs**-0.5 / 0.8796
        assert not layer.bias.any()
    assert make(DoublingConvNet(), GRAY).blocks[0][1].padding == (3, 3)
    assert "needs images of at least 8x8" in attempt(DoublingConvNet(), (1, 6, 6))
    for norm in NORMS:
        assert make(DoublingConvNet(8, 2, norm), (1, 4, 4))(samples((1, 4, 4))).shape == (3, 10)


@pytest.mark.parametrize(("name", "parameters", "features"), TABLE)
def test_sizes_and_contract_of_the_reference_networks(name, parameters, features):
    for shape, size, width in zip((GRAY, COLOR), parameters, features, strict=True):
        module = make(name, shape).eval()
        x = samples(shape, rows=2)
        with torch.no_grad():
            embedding, maps = module.embed(x), module.feature_maps(x)
            torch.testing.assert_close(module(x), module.classifier(embedding), rtol=0, atol=0)
        assert count(module) == size
        assert embedding.shape == (2, width)
        assert isinstance(module.classifier, nn.Linear)
        torch.testing.assert_close(maps[-1].flatten(1), embedding, rtol=0, atol=0)


def test_convnet_equals_its_definition():
    module, x = make("convnet", GRAY), samples(GRAY)
    state, expected = module.state_dict(), []
    weights = [value for key, value in state.items() if key.startswith("blocks")]
    for block, (weight, bias, scale, shift) in enumerate(zip(*[iter(weights)] * 4, strict=True)):
        x = F.conv2d(x, weight, bias, padding=3 if block == 0 else 1)
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        expected.append(x.clamp(min=0))
        x = expected[-1].unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-3, -1))
    maps = module.feature_maps(samples(GRAY))
    assert [tuple(m.shape[1:]) for m in maps] == [(128, 32, 32), (128, 16, 16), (128, 8, 8), (128, 4, 4)]
    for ours, oracle in zip(maps, [*expected, x], strict=True):
        torch.testing.assert_close(ours, oracle, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average_pool", [False, True])
def test_residual_block_equals_its_definition(average_pool):
    block = ResNet18("none", average_pool)(2, (1, 8, 8)).blocks[2][0]
    x = samples((64, 8, 8), rows=2)
    stride = 1 if average_pool else 2
    inside = F.conv2d(x, block.conv1.weight, stride=stride, padding=1).clamp(min=0)
    shortcut = F.conv2d(x, block.shortcut[0].weight, stride=stride)
    if average_pool:
        inside, shortcut = F.avg_pool2d(inside, 2), F.avg_pool2d(shortcut, 2)
    expected = (F.conv2d(inside, block.conv2.weight, padding=1) + shortcut).clamp(min=0)
    torch.testing.assert_close(block(x), expected)


AXES = list(itertools.product((1, 2, 3, 4), NORMS, ACTIVATIONS))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_architecture_of_the_search_space_builds(pooling):
    for depth, norm, activation in AXES:
        spec = ConvNet(8, depth, norm, activation, pooling)
        module = networks.build(spec, 3, (2, 16, 16), seed=0)
        side = 16 if pooling == "none" else 16 >> depth
        assert module.embed(samples((2, 16, 16), rows=2)).shape == (2, 8 * side**2), spec
        assert len(module.feature_maps(samples((2, 16, 16), rows=2))) == depth + (pooling != "none"), spec


def test_width_changes_only_the_width():
    sizes = [count(make(f"convnet-w{width}", COLOR)) for width in (32, 64, 128, 256)]
    assert sizes == [28 * w + 2 * w + 2 * (9 * w * w + 3 * w) + 160 * w + 10 for w in (32, 64, 128, 256)]


def test_norms_are_those_of_the_literature():
    kinds = {norm: list(ConvNet(8, 1, norm)(2, (1, 4, 6)).modules()) for norm in NORMS}
    groups = {norm: [m.num_groups for m in found if isinstance(m, nn.GroupNorm)] for norm, found in kinds.items()}
    assert groups == {"none": [], "batch": [], "layer": [], "instance": [8], "group": [4]}
    assert [m.normalized_shape for m in kinds["layer"] if isinstance(m, nn.LayerNorm)] == [(8, 4, 6)]
    assert networks.has_batch_norm(ConvNet(8, 1, "batch")(2, (1, 4, 6)))


@pytest.mark.parametrize("shape", [(3, 37, 29), (2, 12, 12), (1, 8, 8), (5, 40, 33), (3, 50), (20,), (1, 1, 1)])
def test_every_network_takes_odd_samples_or_raises(shape):
    accepted = set()
    for name in networks.names():
        made = attempt(name, shape)
        if isinstance(made, str):
            assert re.search(r"needs (images|signals) of|takes (images|signals)", made), name
        else:
            assert made(samples(shape)).shape == (3, 4)
            accepted.add(name)
    least = {"mlp"} if len(shape) == 1 or max(shape) == 1 else {"mlp", "convnet", "convnet-bn"}
    assert least <= accepted
    assert ("convnet1d" in accepted) == (len(shape) == 2)


def test_digits_can_be_compared_across_architectures():
    accepted = {name for name in networks.names() if not isinstance(attempt(name, (1, 8, 8)), str)}
    instance, batch = (
        {"convnet", "doubling", "mlp", "alexnet"},
        {"convnet-bn", "doubling-bn", "alexnet-bn", "resnet18-bn", "resnet18-bn-ap"},
    )
    assert accepted == instance | batch


def test_a_signal_gets_a_one_dimensional_convnet():
    module = make("convnet", (3, 50))
    twin = networks.build(ConvNet1d(), 10, (3, 50), seed=0)
    assert module.embed(samples((3, 50))).shape == (3, 128 * 6)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), twin.parameters(), strict=True))


SPECS = [ConvNet(16, depth) for depth in (1, 2, 3, 5)] + [
    LeNet(),
    AlexNet(),
    AlexNet("instance"),
    VGG11(),
    ResNet18(),
]


@pytest.mark.parametrize("spec", [*SPECS, ResNet18(average_pool=True), ResNet18("batch", True)], ids=repr)
def test_the_smallest_image_in_the_message_works_and_images_remain_distinguishable(spec):
    with pytest.raises(ValueError, match="needs images of at least") as raised:
        spec(3, (1, 1, 1))
    side = int(re.search(r"at least (\d+)x", str(raised.value))[1])
    module = networks.build(spec, 3, (1, side, side), seed=0).eval()
    with torch.no_grad():
        rows = module(samples((1, side, side), rows=2))
    assert (rows[0] - rows[1]).abs().max() > 1e-6
    with pytest.raises(ValueError, match=f"at least {side}x{side}"):
        spec(3, (1, side - 1, side - 1))


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (
            ConvNet(),
            (3, 5, 5),
            "ConvNet(depth=3) needs images of at least 8x8; got 5x5. Use depth=2 or a larger image.",
        ),
        (
            ConvNet(),
            (3, 40, 3),
            "ConvNet(depth=3) needs images of at least 8x8; got 40x3. Use depth=1 or a larger",
        ),
        (
            ConvNet(),
            (3, 7),
            "ConvNet1d(depth=3) needs signals of length at least 8; got 7. Use depth=2 or a longer",
        ),
        (ConvNet(), (1, 1, 1), 'at least 8x8; got 1x1. Use the network "mlp" or a larger image.'),
        (ConvNet(), (20,), 'got samples of shape (20,). Use the network "mlp".'),
        (ConvNet1d(), (3, 9, 9), 'got samples of shape (3, 9, 9). Use the network "convnet".'),
        (ConvNet1d(), (9,), 'Use the network "mlp".'),
        (LeNet(), (1, 8, 8), "LeNet needs images of at least 16x16; got 8x8."),
        (AlexNet(), (3, 50), 'Use the network "convnet1d" or "mlp".'),
        (VGG11(), (1, 29, 29), "VGG11 needs images of at least 32x32 (or exactly 28x28); got 29x29."),
        (
            ResNet18(),
            (1, 8, 8),
            "average_pool=False) needs images of at least 9x9; got 8x8. Use norm='batch' or",
        ),
        (
            ConvNet(),
            (0, 8, 8),
            "(sample_shape=(0, 8, 8)) must be integers of at least 1.",
        ),
        (MLP(), (), "MLP: sample_shape must have at least one dimension; got ()."),
    ],
)
def test_samples_that_do_not_fit_raise(spec, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        networks.build(spec, 10, shape, seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConvNet(width=0), "ConvNet(width=0) must be an integer of at least 1."),
        (lambda: ConvNet(depth=2.5), "ConvNet(depth=2.5) must be an integer."),
        (
            lambda: ConvNet(norm="bn"),
            "ConvNet(norm='bn') must be one of 'none', 'batch', 'layer', 'instance', 'group'.",
        ),
        (lambda: ConvNet1d(activation="tanh"), "ConvNet1d(activation='tanh') must be one of 'sigmoid', 'relu'"),
        (lambda: ConvNet(pooling="sum"), "ConvNet(pooling='sum') must be one of 'none', 'max', 'avg'."),
        (
            lambda: ConvNet(width=6, norm="group"),
            "ConvNet(width=6) must be a multiple of 4 with norm='group'.",
        ),
        (lambda: MLP(depth=0), "MLP(depth=0) must be an integer of at least 1."),
        (lambda: AlexNet("x"), "AlexNet(norm='x') must be one of 'none'"),
        (lambda: VGG11("x"), "VGG11(norm='x') must be one of 'none'"),
        (lambda: ResNet18("x"), "ResNet18(norm='x') must be one of 'none'"),
        (
            lambda: ResNet18(average_pool="yes"),
            "ResNet18(average_pool='yes') must be True or False.",
        ),
        (lambda: LeNet()(0, GRAY), "LeNet(num_classes=0) must be an integer of at least 1."),
    ],
)
def test_wrong_fields_raise(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
