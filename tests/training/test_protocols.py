"""The protocols of the papers equal loops that follow the authors' code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data.core import spec as specs
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.data.augment_ops import NUM_UNIFORMS, OPERATIONS
from condensed_data.data.dc_augment import DCAugment
from condensed_data.data.known_datasets import known_info
from condensed_data.methods.recipes import registry
from condensed_data.networks import MLP, build
from condensed_data.training import protocols
from condensed_data.training.protocol import Training
from condensed_data.training.protocol_table import page
from condensed_data.training.protocols import PROTOCOLS, protocol
from condensed_data.training.steps import augment_batch
from condensed_data.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
DIGITS = tuple(map(str, range(10)))
CLOTHES = ("top", "trouser", "bag")
NET = MLP(width=6)
RNG = RandomStreams(5)
Weights = list[nn.Parameter]
Steps = Iterator[torch.optim.Optimizer]


def info(shape: tuple[int, ...], classes: tuple[str, ...], named: bool = True) -> specs.DatasetInfo:
    return specs.DatasetInfo(shape, classes, 10, named)


def as_dc(weights: Weights, epochs: int, per_epoch: int) -> Steps:
    """The loop of the authors of DC, DSA, DM, IDM, MTT and HaBa."""
    lr, schedule = 0.01, [epochs // 2 + 1]
    optimizer = torch.optim.SGD(weights, lr=lr, momentum=0.9, weight_decay=0.0005)
    for epoch in range(epochs + 1):
        yield from [optimizer] * per_epoch
        if epoch in schedule:
            lr *= 0.1
            optimizer = torch.optim.SGD(weights, lr=lr, momentum=0.9, weight_decay=0.0005)


def as_idc(weights: Weights, epochs: int, per_epoch: int) -> Steps:
    """The loop of the authors of IDC and DANCE."""
    optimizer = torch.optim.SGD(weights, 0.01, momentum=0.9, weight_decay=5e-4)
    at = [2 * epochs // 3, 5 * epochs // 6]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=at, gamma=0.2)
    for _ in range(1, epochs + 1):
        yield from [optimizer] * per_epoch
        scheduler.step()


def as_ncfm(weights: Weights, epochs: int, per_epoch: int) -> Steps:
    optimizer = torch.optim.AdamW(weights, lr=0.001)
    at = [epochs // 5, 2 * epochs // 5, 3 * epochs // 5, 4 * epochs // 5]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=at, gamma=0.5)
    for _ in range(1, epochs + 1):
        yield from [optimizer] * per_epoch
        scheduler.step()


# protocol: the authors' loop, epochs, batch size, as in their code
PUBLISHED: dict[str, tuple[Callable[[Weights, int, int], Steps], int, int]] = {
    "dc": (as_dc, 300, 256),
    "dsa": (as_dc, 1000, 256),
    "quick": (as_dc, 300, 256),
    "idc": (as_idc, 1000, 64),
    "idc_i": (as_idc, 1000, 64),
    "idm": (as_dc, 1000, 256),
    "cafe": (as_dc, 600, 256),
    "mtt": (as_dc, 1000, 256),
    "haba": (as_dc, 1000, 256),
    "dance": (as_idc, 1500, 64),
    "ncfm": (as_ncfm, 2000, 128),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rate_of_every_step_is_the_authors(name: str) -> None:
    loop, epochs, batch = PUBLISHED[name]
    training = specs.resolve(protocol(name), info((1, 8, 8), CLOTHES))
    assert (training.epochs, training.batch_size) == (epochs, batch)
    module = nn.Linear(2, 2)
    samples = (2 * batch + 1) * training.views
    expected = []
    for optimizer in loop(list(module.parameters()), epochs, 3):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    drops = training.drops(samples)
    rates = [training.make_optimizer(module, passed).param_groups[0]["lr"] for passed in range(len(drops) + 1)]
    ours = [rates[sum(drop <= number for drop in drops)] for number in range(training.steps(samples))]
    assert ours == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [11, 12])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_short_run_equals_the_authors_loop(name: str, epochs: int) -> None:
    """Without augmentation, which has tests of its own; in float64 on the same orders of the samples."""
    loop, _, batch = PUBLISHED[name]
    training = replace(protocol(name), epochs=epochs, augment=Identity(), cutmix=0.0)
    count = int(1.5 * batch) * training.views
    x = torch.randn(count, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(count) // training.views % 3
    trainer = Trainer.prepare(x, y, network=NET, num_classes=3, training=training)
    ours = trainer.fit(RNG)
    theirs = build(NET, 3, (5,), RNG.seed_for("network")).to(x.dtype)
    order = (rows for epoch in range(epochs + 1) for rows in _order(count, training.views, epoch).split(batch))
    for optimizer, rows in zip(loop(list(theirs.parameters()), epochs, 2), order, strict=False):
        optimizer.zero_grad()
        F.cross_entropy(theirs(x[rows]), y[rows]).backward()
        optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def _order(count: int, views: int, epoch: int) -> Tensor:
    """HaBa's dataset has one item per basis, which decodes by one hallucinator at random whenever it is read."""
    order = torch.randperm(count // views, generator=RNG.torch("shuffle", epoch))
    which = torch.randint(views, order.shape, generator=RNG.torch("view", epoch)) if views > 1 else 0
    return order * views + which


def test_an_epoch_of_haba_sees_every_basis_once_and_every_hallucinator_equally_often() -> None:
    x, y = torch.randn(200, 5), torch.arange(200) // 5 % 3
    trainer = Trainer.prepare(x, y, network=NET, num_classes=3, training=replace(protocol("haba"), augment=Identity()))
    orders = torch.stack([trainer.order(RNG, epoch) for epoch in range(250)])
    assert all(torch.equal((order // 5).sort().values, torch.arange(40)) for order in orders)
    shares = (orders % 5).flatten().bincount(minlength=5) / orders.numel()
    assert float((shares - 0.2).abs().max()) < 0.02
    with pytest.raises(ValueError, match=r"Training\(views=5\) takes one of every 5 samples.*there are 199"):
        Trainer.prepare(x[:199], y[:199], network=NET, num_classes=3, training=trainer.training)


@pytest.mark.parametrize("name", ["idc", "idc_i", "dance", "ncfm"])
def test_idc_recolors_and_flips_always_and_draws_one_other_operation(name: str) -> None:
    training = specs.resolve(protocol(name), info((3, 8, 8), CLOTHES))
    augment, count = training.augment, 10_000
    assert isinstance(augment, SiameseAugment)
    active = augment.active(RNG, 0, range(count))
    on = {op: active[:, number] for number, op in enumerate(OPERATIONS)}
    assert bool(on["color"].all())
    assert bool(on["flip"].all())
    assert not bool(on["cutout"].any())
    drawn = torch.stack([on["crop"], on["scale"], on["rotate"]]).float()
    assert torch.equal(drawn.sum(0), torch.ones(count))
    assert float((drawn.mean(1) - 1 / 3).abs().max()) < 0.02
    u = RNG.uniform("augment", 0, [0], count * NUM_UNIFORMS).view(count, NUM_UNIFORMS)
    plain = replace(augment, always=("flip",), ops=())
    ramp = torch.arange(8.0).expand(count, 1, 8, 8)
    mirrored = plain.draw(RNG, 0, [0], (1, 8, 8))(Batch(ramp, torch.zeros(count), (count,)))[:, 0, 0, 0] > 3
    assert torch.equal(mirrored, u[:, 5] < 0.5)
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.02


def test_a_batch_of_idc_equals_the_authors_sequence() -> None:
    """Flip, then brightness, saturation and contrast, then one operation; parameters for every sample."""
    training = specs.resolve(protocol("idc"), info((3, 9, 9), CLOTHES))
    augment, seen = training.augment, set()
    assert isinstance(augment, SiameseAugment)
    x = torch.randn(6, 3, 9, 9, generator=torch.Generator().manual_seed(2))
    for step in range(12):
        op = ("crop", "scale", "rotate")[int(3 * float(RNG.uniform("augment op", step, [0], 1)))]
        seen.add(op)
        u = RNG.uniform("augment", step, [0], 6 * NUM_UNIFORMS).view(6, NUM_UNIFORMS).tolist()
        expected = np.stack([_idc(image.double().numpy(), op, draw) for image, draw in zip(x, u, strict=True)])
        ours = augment.draw(RNG, step, [0], (3, 9, 9))(Batch(x, torch.zeros(6), (6,)))
        torch.testing.assert_close(ours.double(), torch.from_numpy(expected), rtol=0, atol=1e-5)
    assert seen == {"crop", "scale", "rotate"}


def _idc(image: np.ndarray[Any, Any], op: str, u: list[float]) -> np.ndarray[Any, Any]:
    flipped = u[5] < 0.5
    sign = -1 if flipped else 1  # translations and angles are symmetric: ours are those of the unflipped sample
    image = oracles.flip(image) if flipped else image
    image = oracles.color(image, u[0] - 0.5, 2 * u[1], u[2] + 0.5)
    if op == "crop":
        dx, dy = (math.floor(u[7 + axis] * 3) - 1 for axis in (0, 1))
        return oracles.translate(image, sign * dx, dy)
    if op == "scale":
        return oracles.scale(image, *(1 / 1.2 + value * (1.2 - 1 / 1.2) for value in u[3:5]))
    return oracles.rotate(image, sign * math.radians((2 * u[6] - 1) * 15))


def test_what_is_mixed_and_flipped_depends_on_the_data() -> None:
    digits, clothes, svhn = info((1, 28, 28), DIGITS), info((1, 28, 28), CLOTHES), info((3, 32, 32), DIGITS)
    mixed = {
        name: [specs.resolve(protocol(name), data).cutmix for data in (digits, clothes, svhn, info((7,), CLOTHES))]
        for name in PROTOCOLS
    }
    assert mixed.pop("idc") == [0.0, 0.5, 0.5, 0.0]
    for name in ("idc_i", "dance", "ncfm"):
        assert mixed.pop(name) == [0.5, 0.5, 0.5, 0.0]
    assert all(probabilities == [0.0] * 4 for probabilities in mixed.values())
    for data in (digits, svhn):
        assert specs.resolve(protocol("idc"), data).augment.always == ("color",)  # type: ignore[union-attr]


def test_dc_augments_grayscale_digits_only() -> None:
    dc = protocol("dc")
    svhn, unnamed = info((3, 32, 32), DIGITS), info((1, 28, 28), DIGITS, named=False)
    for data in (info((1, 28, 28), CLOTHES), svhn, info((9,), DIGITS), unnamed):
        found = specs.resolve(dc, data)
        assert (found.epochs, found.augment) == (300, Identity())
    for data in (info((1, 28, 28), DIGITS), replace(unnamed, dataset="mnist"), known_info("mnist", 10)):
        found = specs.resolve(dc, data)
        assert (found.epochs, found.augment) == (1000, DCAugment())
    assert found.steps(10) == 1001
    with pytest.raises(TypeError, match="resolve"):
        dc.steps(10)


def test_cafe_trains_twice_as_long_as_dc_without_augmentation() -> None:
    for data, epochs in ((info((1, 28, 28), CLOTHES), 600), (info((1, 28, 28), DIGITS), 1000)):
        found = specs.resolve(protocol("cafe"), data)
        assert replace(found, name="dc", epochs=300) == replace(specs.resolve(protocol("dc"), data), epochs=300)
        assert found.epochs == epochs


def test_idc_i_erases_instead_of_mixing_svhn_at_one_sample() -> None:
    for ipc, always, mixed in ((1, ("color", "cutout"), 0.0), (10, ("color",), 0.5)):
        found = specs.resolve(protocol("idc_i"), known_info("svhn", ipc))
        assert found.augment.always == always  # type: ignore[union-attr]
        assert found.cutmix == mixed


def test_mixing_follows_the_augmentation_in_half_of_the_steps() -> None:
    x, y = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    labels = [augment_batch(x, y, Identity(), RNG, step, num_classes=4, cutmix=0.5)[1] for step in range(10_000)]
    shares = [float((label.amax(1) < 1).any()) for label in labels]
    # a step without a pasted pixel is no evidence: the box may have a side of less than two pixels
    assert 0.3 < sum(shares) / len(shares) < 0.5


@pytest.mark.parametrize("name", PROTOCOLS)
def test_names_labels_and_json(name: str) -> None:
    training = protocol(name)
    assert (training.name, training.label) == (name, f"{name} protocol")
    assert replace(training, max_steps=7).label == f"{name} protocol, 7 steps"
    for one in (training, specs.resolve(training, info((1, 8, 8), CLOTHES))):
        assert specs.from_json(specs.to_json(one)) == one
    assert set(PUBLISHED) <= set(PROTOCOLS)


def test_dsa_is_the_default_and_others_are_returned() -> None:
    assert protocol("dsa") == Training()
    assert Training().augment == SiameseAugment(DefaultDSAOps(), per_sample=True)
    own = Training(name="mine")
    assert protocol(own) is own


@pytest.mark.parametrize("which", ["slow", "standard", "", None, 3])
def test_unknown_protocols_list_the_known(which: Any) -> None:
    with pytest.raises(ValueError, match="dc, dsa, quick, idc"):
        protocol(which)


RECIPES = {
    "dc": "dc",
    "dsa": "dsa",
    "dm": "dsa",
    "idc": "idc",
    "idc_i": "idc_i",
    "m3d": "idc",
    "idm": "idm",
    "mtt": "mtt",
    "haba": "haba",
    "dance": "dance",
    "ncfm": "ncfm",
    "cafe": "cafe",
    "random": "dsa",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_by_the_protocol_of_its_paper(recipe: str) -> None:
    assert registry.get(recipe).training == protocol(RECIPES[recipe])


def test_haba_takes_one_sample_of_a_basis_unless_they_are_stored_in_grids() -> None:
    assert registry.get("haba", hallucinators=3).training == protocols.haba(3)
    assert registry.get("haba", base="idc").training == protocol("idc")


def test_the_page_is_current() -> None:
    """To write it: `from condensed_data.training.protocol_table import page; Path(...).write_text(page())`."""
    assert (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8") == page()
