"""Evaluation of tensors: the numbers that it reports, and that they depend on its arguments only.

Training is tested in `test_trainer.py`, the protocols in `test_protocol.py`.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import NamedCallable
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.training import batched_trainer
from condensed_data.training.compute import accuracy, predict
from condensed_data.training.evaluate import cross_architecture, evaluate_tensors, network_name
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import quick
from condensed_data.training.trainer import Trainer

SHORT = Training(name="quick", epochs=40, lr=0.05, augment=Identity())
SMALL = networks.ConvNet(width=8, depth=2)
Tensors = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def toy(tiny_images: TensorDataset, tiny_test_images: TensorDataset) -> Tensors:
    """Standardized training and test samples with their labels."""
    (x, y), (test_x, test_y) = tiny_images.tensors, tiny_test_images.tensors
    return (x - x.mean()) / x.std(), y, (test_x - x.mean()) / x.std(), test_y


class Fixed(nn.Module):
    """Predicts the first value of a sample, with dropout, which would be noticed in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(nn.functional.one_hot(x[:, 0].long(), 4).to(x.dtype) * self.scale)


class Inline(Executor):
    """Runs immediately, on arguments pickled as for another process."""

    submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        function, arguments = pickle.loads(pickle.dumps((fn, args)))  # noqa: S301  # our own bytes
        future.set_result(function(*arguments, **kwargs))
        return future


def test_accuracy_is_the_fraction_of_correct_predictions() -> None:
    x = torch.tensor([[0.0], [1.0], [1.0], [2.0], [0.0]])
    labels = torch.tensor([0, 1, 0, 0, 0])
    overall, per_class = accuracy(Fixed(), x, labels, num_classes=4)
    assert overall == pytest.approx(3 / 5)
    torch.testing.assert_close(per_class[:2], torch.tensor([2 / 4, 1.0], dtype=torch.float64))
    assert per_class[2:].isnan().all()
    assert predict(Fixed(), x).tolist() == [0, 1, 1, 2, 0]


def test_accuracy_equals_a_loop_over_samples_and_restores_the_mode(toy: Tensors) -> None:
    x, y = toy[:2]
    module = networks.build(SMALL, 3, (1, 12, 12), 0).train()
    by_hand = sum(int(module(one[None]).argmax()) == int(label) for one, label in zip(x, y, strict=True))
    assert all(accuracy(module, x, y, batch)[0] == by_hand / len(x) for batch in (None, 1, 7, 600))
    assert module.training
    assert not train_small(x, y).training


def train_small(x: Tensor, y: Tensor) -> nn.Module:
    training = replace(SHORT, epochs=1)
    return Trainer.prepare(x, y, network=SMALL, num_classes=3, training=training).fit(RandomStreams(0))


@pytest.mark.usefixtures("untouched_rng")
def test_learnable_data_is_learned(toy: Tensors) -> None:
    result = evaluate_tensors(*toy, num_classes=3, network=SMALL, runs=2, training=SHORT)
    assert result.mean > 0.9
    assert result.runs == len(result.accuracies) == 2
    assert sum(result.per_class) / 3 == pytest.approx(result.mean)  # the classes are equally large
    assert result.seconds is not None
    assert result.seconds > 0


def test_results_depend_on_the_seed_and_networks_differ(toy: Tensors) -> None:
    arguments: dict[str, Any] = {"num_classes": 3, "network": "mlp", "runs": 4}
    arguments["training"] = replace(SHORT, epochs=1, lr=1e-3)
    first = evaluate_tensors(*toy, **arguments)
    assert evaluate_tensors(*toy, **arguments) == first
    assert evaluate_tensors(*toy, **arguments, seed=1).accuracies != first.accuracies
    assert len(set(first.accuracies)) > 1
    # a network does not depend on how many others there are, except for rounding if they train together
    fewer = evaluate_tensors(*toy, **{**arguments, "runs": 2}).accuracies
    assert fewer == pytest.approx(first.accuracies[:2], abs=0.04)


@pytest.mark.parametrize("width", [4, 16])
def test_small_networks_train_together_and_others_where_the_executor_is(
    width: int, toy: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"num_classes": 3, "network": networks.ConvNet(width, depth=2), "runs": 2}
    arguments["training"] = replace(SHORT, epochs=3)
    executor = Inline()
    there = evaluate_tensors(*toy, **arguments, executor=executor, progress=True)
    assert executor.submitted == (0 if width == 4 else 2)
    assert there == evaluate_tensors(*toy, **arguments)
    monkeypatch.setattr(batched_trainer, "SMALL", 0)
    alone = evaluate_tensors(*toy, **arguments).accuracies
    assert there.accuracies == (pytest.approx(alone, abs=0.04) if width == 4 else alone)


def test_rounded_samples_are_evaluated_too(toy: Tensors) -> None:
    arguments: dict[str, Any] = {"num_classes": 3, "network": "mlp", "runs": 2, "training": SHORT}
    exact = evaluate_tensors(*toy, **arguments)
    assert exact.eight_bit_mean is None
    assert exact.eight_bit_std is None
    same = evaluate_tensors(*toy, **arguments, eight_bit=toy[0].clone())
    assert same.eight_bit == same.accuracies == exact.accuracies
    assert same.eight_bit_mean == same.mean
    noise = torch.randn(toy[0].shape, generator=torch.Generator().manual_seed(0))
    destroyed = evaluate_tensors(*toy, **arguments, eight_bit=noise)
    assert destroyed.accuracies == exact.accuracies
    assert destroyed.eight_bit_mean is not None
    assert destroyed.eight_bit_mean < 0.8


def test_flips_depend_on_class_names(toy: Tensors) -> None:
    arguments: dict[str, Any] = {"num_classes": 3, "network": "mlp", "runs": 1}
    arguments["training"] = replace(quick(), max_steps=1)

    def ops(**given: Any) -> tuple[str, ...]:
        augment = evaluate_tensors(*toy, **arguments, **given).training.augment
        assert isinstance(augment, SiameseAugment)
        assert isinstance(augment.ops, tuple)
        return augment.ops

    assert "flip" in ops(classes=("shirt", "bag", "coat"))
    assert "flip" not in ops(classes=("0", "1", "2"))
    assert "flip" not in ops()


@pytest.mark.parametrize("shape", [(3, 9, 13), (2, 20), (6,)])
def test_samples_of_any_shape_and_soft_labels(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    x, soft = torch.randn(8, *shape, generator=draw), torch.rand(8, 5, generator=draw)
    kind = networks.default_network(shape)
    labels = torch.arange(8) % 5
    training = replace(quick(), max_steps=2)
    result = evaluate_tensors(
        x, soft / soft.sum(1, True), x, labels, num_classes=5, network=kind, runs=1, training=training
    )
    assert 0 <= result.mean <= 1
    assert len(result.per_class) == 5


def test_several_architectures_by_name(toy: Tensors) -> None:
    arguments: dict[str, Any] = {"num_classes": 3, "runs": 1, "training": replace(SHORT, max_steps=2)}
    results = cross_architecture(*toy, networks=["mlp", SMALL], **arguments)
    assert list(results) == ["mlp", "ConvNet(width=8, depth=2)"]
    assert results["mlp"] == evaluate_tensors(*toy, network="mlp", **arguments)
    assert all(result.network == name for name, result in results.items())
    with pytest.raises(ValueError, match="with different names"):
        cross_architecture(*toy, networks=["mlp", "mlp"], **arguments)


def test_names_of_networks() -> None:
    def mine(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        return nn.Linear(*sample_shape, num_classes)

    assert network_name("resnet18") == "resnet18"
    assert network_name(networks.ConvNet()) == "ConvNet()"
    assert network_name(NamedCallable("ours", mine)) == "ours"
    assert network_name(mine) == "mine"


def test_a_result_names_its_protocol() -> None:
    result = Evaluation("convnet", quick(), (0.832, 0.838), (0.8, 0.87))
    assert str(result) == "convnet: 83.5 % ± 0.3 (2 networks, quick protocol)"
    assert result.std == pytest.approx(0.003)  # population standard deviation, not the sample estimate
    assert result.protocol == "quick"
    one = Evaluation("mlp", Training(max_steps=9), (0.5,), (0.5,), eight_bit=(0.25,))
    assert str(one) == "mlp: 50.0 % (1 network, dsa protocol, 9 steps); rounded to 8 bits 25.0 %"
    with pytest.raises(FrozenInstanceError):
        one.network = "other"  # type: ignore[misc]


def test_an_evaluation_survives_json() -> None:
    result = Evaluation("convnet", quick(), (0.1, 0.3), (0.25, None), eight_bit=(0.2, 0.1), seconds=3.0)
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == result
    assert json.loads(text)["mean"] == pytest.approx(0.2)
    # the duration is not stored: equal results give equal bytes
    assert json.dumps(replace(result, seconds=9.0).to_json()) == text


@pytest.mark.parametrize(
    "damage",
    [
        {"accuracies": [1.2]},
        {"accuracies": []},
        {"accuracies": ["0.5"]},
        {"per_class": None},
        {"network": 3},
        {"training": {"part": "Identity", "version": 1}},
        {"training": {"part": "Unheard", "version": 1}},
    ],
)
def test_damaged_json_raises(damage: dict[str, Any]) -> None:
    stored = Evaluation("convnet", quick(), (0.5,), (0.5,)).to_json()
    with pytest.raises(ValueError, match=r"Cannot read|must be a number|has no part"):
        Evaluation.from_json({**stored, **damage})
    with pytest.raises(ValueError, match="Cannot read"):
        Evaluation.from_json({key: value for key, value in stored.items() if key not in damage})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": 0}, r"evaluate_tensors\(runs=0\) must be an integer of at least 1"),
        ({"runs": 1.5}, r"evaluate_tensors\(runs=1.5\) must be an integer of at least 1"),
        ({"training": "slow"}, "training='slow': Unknown protocol 'slow'.*dc, dsa, quick, idc"),
        ({"network": "convnext"}, "convnext"),
        ({"device": "tpu9"}, "device='tpu9' is unknown"),
        ({"precision": "fp8"}, "precision='fp8' must be one of 'auto', 'fp32', 'bf16'"),
        ({"executor": ThreadPoolExecutor(1)}, "Use a ProcessPoolExecutor"),
        ({"eight_bit": torch.zeros(1, 1, 12, 12)}, "eight_bit has shape"),
        ({"num_classes": 2}, "labels has values from 0 to 2; num_classes=2 allows 0 to 1"),
        ({"network": lambda num_classes, shape: nn.Flatten()}, r"network returns shape \(1, 144\)"),
    ],
)
def test_bad_arguments_raise(toy: Tensors, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_tensors(*toy, **{"num_classes": 3, "network": "mlp", "training": SHORT, **change})


@pytest.mark.parametrize(
    ("place", "spoil", "message"),
    [
        (0, lambda x: x.byte(), "images must be float32 or float64"),
        (0, lambda x: x[:0], "images must be float32 or float64.* N >= 1"),
        (
            1,
            lambda y: y[1:],
            r"labels must be int64 \(60,\) or probabilities \(60, 3\); got torch.int64 \(59,\)",
        ),
        (1, lambda y: y.int(), "labels must be int64"),
        (
            2,
            lambda x: x[..., :-1],
            r"test_images has samples of shape \(1, 12, 11\), but images has \(1, 12, 12\)",
        ),
        (3, lambda y: y - 1, "test_labels has values from -1 to 1; num_classes=3 allows 0 to 2"),
        (3, lambda y: torch.eye(3)[y], "test_labels must be int64 class indices"),
    ],
)
def test_tensors_that_do_not_match_raise(
    toy: Tensors, place: int, spoil: Callable[[Tensor], Tensor], message: str
) -> None:
    tensors = [spoil(tensor) if i == place else tensor for i, tensor in enumerate(toy)]
    with pytest.raises(ValueError, match=message):
        evaluate_tensors(*tensors, num_classes=3, network="mlp", training=SHORT)  # type: ignore[misc]
