"""Label switching: networks trained on a few samples mistake the class that these samples were made to attack."""

from __future__ import annotations

from typing import Any

import pytest
from pool_data import NETWORK
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Recipe, recipes
from condensed_data.evaluation.label_switching import attack
from condensed_data.methods.pools import GivenWeights
from condensed_data.networks import build
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import pretrain

QUIET: dict[str, Any] = {"cache": False, "progress": False, "device": "cpu", "precision": "fp32"}


def dd(**options: Any) -> Recipe:
    return recipes.dd(**({"ipc": 1, "steps": 1, "iterations": 40, "batch": 60} | options))


def test_labels_are_switched(tiny_images: TensorDataset, tiny_test_images: TensorDataset) -> None:
    trained = pretrain(tiny_images, NETWORK, Pretraining(epochs=8, networks=3, sgd=SGDConfig(0.05, 0.9, batch_size=16)))
    recipe = dd(pool=GivenWeights(NETWORK, trained[:2]), epochs=1, relabel=((0, 2),), step_size=1.0, lr=0.2)
    condensed = CondensedDataset(tiny_images, recipe, **QUIET)
    found = attack(condensed, tiny_test_images, initial=trained[2:])
    assert found.pair == (0, 2)
    assert len(found.after.switched) == 1
    assert found.after.switched[0] > found.before.switched[0] + 0.2
    assert found.after.others[0] > 0.5
    assert "class 0 as 2, 1 networks: switched" in str(found)
    module = build(NETWORK, 3, (1, 12, 12), 0)
    module.load_state_dict(trained[2])
    x, y = condensed.standardized("test", tiny_test_images)
    predicted = module.eval()(x).argmax(1)
    assert found.before.switched[0] == pytest.approx(float((predicted[y == 0] == 2).double().mean()))
    assert found.before.others[0] == pytest.approx(float((predicted == y)[y != 0].double().mean()))


def test_label_switching_rejects_unsuitable_datasets(tiny_images: TensorDataset) -> None:
    plain = CondensedDataset(tiny_images, recipes.random(ipc=1), **QUIET)
    with pytest.raises(ValueError, match=r"needs an order-dependent dataset"):
        attack(plain, tiny_images)
    recipe = dd(network=NETWORK, epochs=2, iterations=1)
    condensed = CondensedDataset(tiny_images, recipe, **QUIET)
    with pytest.raises(ValueError, match=r"relabels nothing\. Give pair="):
        attack(condensed, tiny_images)
    with pytest.raises(ValueError, match=r"pair=\(1, 1\) must be two different class indices from 0 to 2"):
        attack(condensed, tiny_images, (1, 1))
    x, y = tiny_images.tensors
    with pytest.raises(ValueError, match=r"test_set has classes \[1, 2\], but it needs class 0"):
        attack(condensed, TensorDataset(x[y > 0], y[y > 0]), (0, 1))
