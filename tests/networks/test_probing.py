"""Embeddings and feature maps of arbitrary modules, and properties measured by a forward pass."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn

from condensed_data import networks

GRAY = (1, 28, 28)


def make(which, shape, classes=10):
    return networks.build(networks.network(which), classes, shape, seed=0)


def samples(shape, rows=3):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def foreign(classes=4):
    return networks.build(lambda k, _: torchvision.models.resnet18(num_classes=k), classes, (3, 33, 33), 0)


def by_hand(module, x):
    x = module.conv1(x)
    normed = module.bn1(x)
    x = module.maxpool(normed.clamp(min=0))
    first = module.layer1(x)
    x = module.layer4(module.layer3(module.layer2(first)))
    return normed, first, module.avgpool(x).flatten(1)


def test_hooks_capture_what_a_torchvision_model_computes():
    module, x = foreign().eval(), samples((3, 33, 33), rows=2).requires_grad_()
    normed, first, embedding = by_hand(module, x)
    # bn1 is followed by an in-place ReLU, which must not reach the map.
    maps = networks.feature_maps_of(module, ("layer1", "bn1"))(x)
    torch.testing.assert_close(maps[0], first)
    torch.testing.assert_close(maps[1], normed)
    seen = networks.embed_of(module)(x)
    torch.testing.assert_close(seen, embedding)
    expected = torch.autograd.grad((embedding**2).sum() + (first**2).sum(), x)[0]
    ours = torch.autograd.grad((seen**2).sum() + (maps[0] ** 2).sum(), x)[0]
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_hooks_are_removed():
    module, x = foreign().eval(), samples((3, 33, 33), rows=2)
    embed, maps = networks.embed_of(module), networks.feature_maps_of(module, ("layer1",))
    embed(x), maps(x)
    for look in (embed, maps):
        with pytest.raises(RuntimeError, match="channels"):
            look(samples((2, 33, 33)))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    clone = pickle.loads(pickle.dumps(module))  # noqa: S301 - our own bytes
    assert torch.equal(networks.embed_of(clone)(x), embed(x))


def test_own_methods_are_used_and_submodules_of_that_name_are_not():
    ours = make("convnet-w8", GRAY)
    assert networks.embed_of(ours) == ours.embed
    assert networks.feature_maps_of(ours) == ours.feature_maps
    block = networks.feature_maps_of(ours, ("blocks.1",))(samples(GRAY))
    torch.testing.assert_close(block[0], ours.feature_maps(samples(GRAY))[1])

    class Tricky(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(input=self.embed(x).relu())

    module = Tricky()
    x = samples((4,))
    torch.testing.assert_close(networks.embed_of(module)(x), module.embed(x).relu())


def test_weights_can_be_replaced_functionally():
    for module, shape in ((make("convnet-w8", GRAY), GRAY), (foreign().eval(), (3, 33, 33))):
        x = samples(shape, rows=2)
        networks.embed_of(module)(x)
        doubled = {name: weight.detach() * 2 for name, weight in module.named_parameters()}
        expected = copy.deepcopy(module)
        expected.load_state_dict(doubled, strict=False)
        logits = torch.func.functional_call(module, doubled, (x,))
        torch.testing.assert_close(logits, expected(x))


def test_modules_without_an_embedding_or_feature_maps():
    convolution = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(ValueError, match=r"Sequential has no nn.Linear to take an embedding from"):
        networks.embed_of(convolution)
    with pytest.raises(ValueError, match=r"Sequential has no method feature_maps\(x\)\. Name layers.*0, 1"):
        networks.feature_maps_of(convolution)
    with pytest.raises(ValueError, match=r"ResNet has no layers 'layer9'.*conv1, bn1"):
        networks.feature_maps_of(foreign(), ("layer1", "layer9"))

    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.pair = nn.Linear(2, 2), nn.LSTM(2, 2)

        def forward(self, x):
            return self.pair(x)[0]

    with pytest.raises(ValueError, match=r"Idle executed none of its nn.Linear layers"):
        networks.embed_of(Idle())(samples((2,)))
    with pytest.raises(ValueError, match="Idle did not execute its layers linear"):
        networks.feature_maps_of(Idle(), ("linear",))(samples((2,)))
    with pytest.raises(TypeError, match="Layer 'pair' returns tuple"):
        networks.feature_maps_of(Idle(), ("pair",))(samples((2,)))


@pytest.mark.parametrize("name", networks.names())
def test_has_batch_norm_is_true_where_samples_depend_on_each_other(name):
    shape = (3, 40) if name == "convnet1d" else (1, 32, 32)
    module, x = make(name, shape, classes=3).train(), samples(shape, rows=4)
    other = torch.cat([x[:2], 3 * x[2:] + 1])
    with torch.no_grad():
        moved = (module(x)[:2] - module(other)[:2]).abs().max()
    assert networks.has_batch_norm(module) == bool(moved > 1e-3)
    assert networks.has_batch_norm(module) == ("-bn" in name)


def test_probe_does_not_change_the_module():
    module = foreign(classes=4)
    module.bn1.eval()
    before, rng = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    assert networks.probe(module, (3, 33, 33)) == networks.Probe(outputs=4, features=512)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert module.training
    assert not module.bn1.training
    assert torch.equal(torch.get_rng_state(), rng)
    assert networks.probe(nn.Sequential(nn.Conv1d(2, 5, 4), nn.Flatten()), (2, 4)) == networks.Probe(5, None)


def test_probe_raises_for_modules_that_do_not_fit():
    with pytest.raises(ValueError, match=r"ResNet cannot take samples of shape \(1, 28, 28\)"):
        networks.probe(foreign(), GRAY)
    with pytest.raises(
        ValueError,
        match=r"Conv2d must map \(B, ...\) to logits \(B, K\); for 2 samples it returned \(2, 4, 6, 6\)",
    ):
        networks.probe(nn.Conv2d(1, 4, 3), (1, 8, 8))
    with pytest.raises(ValueError, match="for 2 samples it returned tuple"):
        networks.probe(nn.LSTM(2, 2), (2,))
