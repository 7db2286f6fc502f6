"""Training equals a plain loop written from the protocol, however it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import Augment, AugmentFn, Identity, SiameseAugment
from condensed_data.data.augment_ops import OPERATIONS
from condensed_data.networks import MLP, ConvNet, build
from condensed_data.training import batched_trainer
from condensed_data.training import trainer as trainer_module
from condensed_data.training.compute import batch_loss, cache_rows, can_compile, split_evenly
from condensed_data.training.protocol import Training
from condensed_data.training.trainer import Trainer

PLAIN = Training(epochs=6, batch_size=4, lr=0.1, augment=Identity())
NET = ConvNet(width=4, depth=1)


@pytest.fixture
def toy() -> tuple[Tensor, Tensor]:
    """(10, 1, 6, 6) float64 samples and (10,) labels of 3 classes."""
    return torch.randn(10, 1, 6, 6, dtype=torch.float64, generator=seeded(0)), torch.arange(10) % 3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(toy: tuple[Tensor, Tensor], training: Training, network: Any = NET, **options: Any) -> nn.Module:
    rng, on_epoch = options.pop("rng", RandomStreams(5)), options.pop("on_epoch", None)
    return Trainer.prepare(*toy, network=network, num_classes=3, training=training, **options).fit(rng, on_epoch)


def assert_same(module: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def plain_loop(x: Tensor, y: Tensor, training: Training, network: Any = NET) -> nn.Module:
    """SGD with momentum from its definition; the reference's epochs, drop, new optimizer; whole batches."""
    rng = RandomStreams(5)
    module = build(network, 3, tuple(x.shape[1:]), rng.seed_for("network")).to(x.dtype)
    weights = list(module.parameters())
    velocity: list[Tensor | None] = [None] * len(weights)
    lr = training.lr
    for epoch in range(training.epochs + 1):
        order = torch.randperm(len(x), generator=rng.torch("shuffle", epoch))
        for start in range(0, len(x), training.batch_size):
            rows = order[start : start + training.batch_size]
            gradients = torch.autograd.grad(F.cross_entropy(module(x[rows]), y[rows]), weights)
            with torch.no_grad():
                for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                    gradient = gradient + training.weight_decay * weight
                    before = velocity[i]
                    velocity[i] = gradient if before is None else training.momentum * before + gradient
                    weight -= lr * velocity[i]
        if epoch == training.epochs // 2 + 1:
            lr *= training.decay
            if training.reset_momentum:
                velocity = [None] * len(weights)
    return module


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("epochs", [6, 7])
def test_training_is_the_reference_loop(toy: tuple[Tensor, Tensor], reset: bool, epochs: int) -> None:
    training = replace(PLAIN, epochs=epochs, reset_momentum=reset)
    assert_same(trained(toy, training), plain_loop(*toy, training), rtol=1e-10, atol=1e-12)


def test_the_oracle_sees_momentum_decay_and_epochs(toy: tuple[Tensor, Tensor]) -> None:
    expected = plain_loop(*toy, PLAIN)
    for change in ({"reset_momentum": False}, {"epochs": 7}, {"decay": 0.2}, {"weight_decay": 0.0}):
        with pytest.raises(AssertionError):
            assert_same(trained(toy, replace(PLAIN, **change)), expected, rtol=1e-10, atol=1e-12)  # type: ignore[arg-type]


def test_adamw_is_torchs(toy: tuple[Tensor, Tensor]) -> None:
    x, y = toy
    training = replace(PLAIN, optimizer="adamw", batch_size=10, max_steps=5, lr=0.01, milestones=())
    rng = RandomStreams(5)
    module = build(NET, 3, (1, 6, 6), rng.seed_for("network")).double()
    optimizer = torch.optim.AdamW(module.parameters(), 0.01, weight_decay=5e-4)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimizer.step()
    assert_same(trained(toy, training), module, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("soft", [False, True])
def test_regression_with_warmup_and_cosine_equals_its_definition(toy: tuple[Tensor, Tensor], soft: bool) -> None:
    x, y = toy
    scores = torch.randn(10, 3, dtype=torch.float64, generator=seeded(1)) if soft else torch.eye(3).double()[y] - 1 / 3
    training = Training(
        "frepo", lr=0.01, weight_decay=0.0, milestones=(), augment=Identity(), optimizer="adam", max_steps=9,
        loss="squared_error", warmup=4, cosine=0.01,
    )  # fmt: skip
    module = build(NET, 3, (1, 6, 6), RandomStreams(5).seed_for("network")).double()
    first = [torch.zeros_like(weight) for weight in module.parameters()]
    second = [torch.zeros_like(weight) for weight in module.parameters()]
    for step in range(9):
        lr = 0.01 * (step / 4 if step < 4 else 0.01 + 0.99 * (1 + math.cos(math.pi * (step - 4) / 5)) / 2)
        error = sum(((row - target) ** 2).sum() / 2 for row, target in zip(module(x), scores, strict=True)) / 10
        gradients = torch.autograd.grad(torch.as_tensor(error), list(module.parameters()))
        with torch.no_grad():
            for i, (weight, gradient) in enumerate(zip(module.parameters(), gradients, strict=True)):
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                mean, square = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.999 ** (step + 1))
                weight -= lr * mean / (square**0.5 + 1e-8)
    labels = scores if soft else y
    assert_same(trained((x, labels), training), module, rtol=1e-7, atol=1e-9)
    trainer = Trainer.prepare(x, labels, network=NET, num_classes=3, training=training)
    together = batched_trainer.fit(trainer, [RandomStreams(5), RandomStreams(6)], lambda epoch, first: None)
    assert_same(together[0], module, rtol=1e-7, atol=1e-9)


def test_scores_are_no_probabilities(toy: tuple[Tensor, Tensor]) -> None:
    x, y = toy
    with pytest.raises(ValueError, match=r"labels have negative values.*loss='squared_error'.*labels.argmax\(1\)"):
        trained((x, torch.eye(3).double()[y] - 1 / 3), PLAIN)
    mixing = replace(PLAIN, cutmix=1.0, epochs=1)
    whole, centered = (Trainer.prepare(x, y, network=NET, num_classes=3, training=one).labels for one in (
        mixing, replace(mixing, loss="squared_error")))  # fmt: skip
    torch.testing.assert_close(centered, whole - 1 / 3)


def test_chunked_batches_change_nothing_but_rounding(toy: tuple[Tensor, Tensor]) -> None:
    x, y = toy
    trainer = Trainer.prepare(x, y, network=NET, num_classes=3, training=replace(PLAIN, batch_size=10))
    whole, cut = (replace(trainer, rows=rows).fit(RandomStreams(5)) for rows in (None, 3))
    assert_same(whole, cut, rtol=1e-10, atol=1e-12)


def test_one_hot_labels_are_hard_labels(toy: tuple[Tensor, Tensor]) -> None:
    x, y = toy
    soft = trained((x, F.one_hot(y, 3).double()), PLAIN)
    assert_same(soft, trained(toy, PLAIN), rtol=1e-10, atol=1e-12)
    # CutMix that is never applied turns labels into probabilities and changes nothing else
    assert_same(trained(toy, replace(PLAIN, cutmix=1e-9)), soft, rtol=1e-10, atol=1e-12)
    with pytest.raises(AssertionError):
        assert_same(trained(toy, replace(PLAIN, cutmix=1.0)), soft)


class Counter(nn.Module):
    """A linear network that counts its steps, with dropout, which draws from the global state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.rows.append(len(x))
        return self.layers(x)


@pytest.mark.parametrize(
    ("change", "rows"),
    [({"epochs": 2}, [4, 4, 2] * 3), ({"max_steps": 7}, [4, 4, 2, 4, 4, 2, 4]), ({"max_steps": 2}, [4, 4])],
)
def test_the_number_of_steps_and_their_rows(
    toy: tuple[Tensor, Tensor], change: dict[str, Any], rows: list[int]
) -> None:
    epochs: list[int] = []
    module = trained(toy, replace(PLAIN, **change), lambda k, s: Counter(), on_epoch=epochs.append)
    assert isinstance(module, Counter)
    assert module.rows == rows
    assert epochs == list(range(1, -(-len(rows) // 3) + 1))


@pytest.mark.usefixtures("untouched_rng")
def test_same_rng_same_bits_even_with_dropout(toy: tuple[Tensor, Tensor]) -> None:
    training = replace(PLAIN, augment=SiameseAugment(OPERATIONS, per_sample=True), cutmix=0.5)
    dropout: Callable[..., nn.Module] = lambda k, s: Counter()  # noqa: E731
    for network in (NET, dropout):
        first, again = trained(toy, training, network), trained(toy, training, network)
        assert_same(first, again, rtol=0, atol=0)
        with pytest.raises(AssertionError):
            assert_same(first, trained(toy, training, network, rng=RandomStreams(6)), rtol=0, atol=0)


@dataclass(frozen=True)
class Recorded(Augment):
    """Sets samples to zero and records each call."""

    calls: tuple[list[Any], ...] = ()

    def draw(self, rng: RandomStreams, iteration: int, blocks: Any, sample_shape: tuple[int, ...]) -> AugmentFn:
        def applied(batch: Batch) -> Tensor:
            self.calls[0].append((rng, iteration, list(blocks), sample_shape, batch.sizes, len(batch.y)))
            return batch.x * 0

        return applied


def test_every_step_draws_an_augmentation_for_the_network(toy: tuple[Tensor, Tensor]) -> None:
    calls: list[Any] = []
    module = trained(toy, replace(PLAIN, epochs=1, augment=Recorded((calls,))))
    sizes = [(4,), (4,), (2,)] * 2
    assert calls == [(RandomStreams(5), i, [0], (1, 6, 6), size, size[0]) for i, size in enumerate(sizes)]
    blank = (torch.zeros_like(toy[0]), toy[1])
    assert_same(module, trained(blank, replace(PLAIN, epochs=1)), rtol=1e-12, atol=0)


def test_networks_with_batch_norm_get_whole_batches(toy: tuple[Tensor, Tensor]) -> None:
    x = torch.zeros(10, 1, 64, 64)
    options: dict[str, Any] = {"num_classes": 3, "training": PLAIN}
    wide = ConvNet(width=128)
    assert Trainer.prepare(x, toy[1], network=wide, **options).rows == cache_rows(128 * 64 * 64)
    assert Trainer.prepare(x, toy[1], network=replace(wide, norm="batch"), **options).rows is None
    batched = ConvNet(width=4, depth=1, norm="batch")
    assert_same(trained(toy, PLAIN, batched), plain_loop(*toy, PLAIN, batched), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("length", "most"), [(1, None), (10, 3), (9, 3), (2, 8), (257, 20)])
def test_chunks_cover_everything_once_and_are_small_enough(length: int, most: int | None) -> None:
    chunks = split_evenly(length, most)
    assert [row for chunk in chunks for row in range(length)[chunk]] == list(range(length))
    sizes = [len(range(length)[chunk]) for chunk in chunks]
    assert max(sizes) <= (most or length)
    assert max(sizes) - min(sizes) <= 1
    assert len(chunks) == -(-length // (most or length))


def test_bf16_trains_about_the_same(toy: tuple[Tensor, Tensor]) -> None:
    single = (toy[0].float(), toy[1])
    rough, exact = (trained(single, PLAIN, precision=precision) for precision in ("bf16", "fp32"))
    assert all(weight.dtype == torch.float32 for weight in rough.parameters())
    assert_same(rough, exact, rtol=0.2, atol=0.05)
    with pytest.raises(AssertionError):
        assert_same(rough, exact, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("precision", "steps", "network", "choice", "compiled"),
    [
        ("bf16", 10**8, NET, None, True),
        ("bf16", 10, NET, None, False),
        ("fp32", 10**8, NET, None, False),
        ("bf16", 10**8, lambda k, s: Counter(), None, False),
        ("bf16", 10**8, NET, False, False),
        ("fp32", 1, NET, True, True),
    ],
)
def test_when_training_is_compiled(
    toy: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    steps: int,
    network: Any,
    choice: bool | None,
    compiled: bool,
) -> None:
    def stand_in(*arguments: Any) -> Tensor:
        return batch_loss(*arguments)

    monkeypatch.setattr(trainer_module, "compiled", lambda _: stand_in)
    monkeypatch.setattr(trainer_module, "can_compile", lambda: True)
    trainer = Trainer.prepare(
        toy[0].float(),
        toy[1],
        network=network,
        num_classes=3,
        training=replace(PLAIN, max_steps=steps),
        precision=precision,
        compile=choice,
    )
    assert trainer.loss is (stand_in if compiled else batch_loss)


@pytest.mark.slow
def test_compiled_training_is_the_same_up_to_rounding(toy: tuple[Tensor, Tensor]) -> None:
    assert can_compile(), "this test needs a C++ compiler and the headers of Python"
    assert_same(trained(toy, PLAIN, compile=True), trained(toy, PLAIN), rtol=1e-6, atol=1e-8)
    # torch's limit on versions of one function must not be reached, whatever was compiled before
    for width in range(8, 88, 8):
        trained(toy, replace(PLAIN, max_steps=1), MLP(width=width), compile=True)
    assert_same(trained(toy, PLAIN, compile=True), trained(toy, PLAIN, compile=True), rtol=0, atol=0)


def test_diverging_training_raises(toy: tuple[Tensor, Tensor]) -> None:
    wild = replace(PLAIN, lr=1e30, max_steps=20)
    with pytest.raises(FloatingPointError, match="diverged to a loss of nan: lower Training"):
        trained((toy[0].float(), toy[1]), wild, MLP(width=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augment": Training().augment}, "augment.ops depends on the data"),
        ({"cutmix": 0.5}, "needs images or signals, not vectors"),
    ],
)
def test_protocols_that_do_not_fit_the_data_raise(change: dict[str, Any], message: str) -> None:
    vectors = (torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=message):
        trained(vectors, replace(PLAIN, **change), MLP(width=4))
    with pytest.raises(ValueError, match="mlp"):
        trained(vectors, PLAIN, networks.network("convnet"))
