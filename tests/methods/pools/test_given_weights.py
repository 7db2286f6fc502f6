"""Networks with given weights: drawn by the pool, adapted by DD, attacked by label switching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pool_data import NETWORK, context, weights_of
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, NamedCallable, Recipe, recipes
from condensed_data.core.spec import from_json, to_json, validate
from condensed_data.core.tensor_hash import content_hash
from condensed_data.methods.pools import GivenWeights, Pretrained
from condensed_data.networks import build
from condensed_data.networks.state_dicts import load_state
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import pretrain

QUIET: dict[str, Any] = {"cache": False, "progress": False, "device": "cpu", "precision": "fp32"}
SOON = Pretraining(epochs=8, networks=3, sgd=SGDConfig(0.05, 0.9, batch_size=16))


def states(count: int = 3, classes: int = 3) -> list[dict[str, Tensor]]:
    return [build(NETWORK, classes, (1, 8, 8), seed).state_dict() for seed in range(count)]


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in state.values()])


def dd(pool: Any, **options: Any) -> Recipe:
    fields = {"ipc": 1, "steps": 1, "epochs": 2, "iterations": 40, "batch": 60, "lr": 0.05, "step_size": 0.2}
    return recipes.dd(pool=pool, **(fields | options))  # type: ignore[arg-type]


def test_every_iteration_draws_one_of_the_states() -> None:
    given = states()
    pool_state = GivenWeights(NETWORK, given).start(context())
    weights = [weights_of(pool_state.network_at(iteration).module).clone() for iteration in range(12)]
    found = {next(i for i, state in enumerate(given) if torch.equal(one, flat(state))) for one in weights}
    assert found == {0, 1, 2}
    assert not pool_state.network_at(0).module.training
    other = GivenWeights(NETWORK, given, member=1).start(context())
    assert any(
        not torch.equal(weights_of(other.network_at(iteration).module), one) for iteration, one in enumerate(weights)
    )
    assert (pool_state.initial_state().kind, pool_state.initial_state().digest) == ("given", None)


def test_a_single_state_is_stored_or_identified_by_its_digest() -> None:
    (state,) = states(1)
    kept = GivenWeights(NETWORK, state).start(context()).initial_state()
    assert kept.kind == "stored"
    assert kept.weights is not None
    assert torch.equal(flat(dict(kept.weights)), flat(state))
    named = GivenWeights(NETWORK, state, keep=False).start(context()).initial_state()
    assert (named.kind, named.weights, named.digest) == ("given", None, content_hash(state))


def test_a_recipe_holds_only_the_digest() -> None:
    first, same, other = (
        GivenWeights(NETWORK, states()),
        GivenWeights(NETWORK, states()),
        GivenWeights(NETWORK, states(2)),
    )
    assert first == same
    assert hash(first) == hash(same)
    assert first != other
    form = to_json(first)
    assert "states" not in form
    assert "tensor" not in repr(first)
    stored = from_json(form)
    assert stored == first
    with pytest.raises(ValueError, match=r"has no states: a stored recipe.*Give GivenWeights\(states="):
        validate(stored, (1, 8, 8))


def test_mismatches_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"GivenWeights\(states\[1\]\) does not match .*classifier.*\(4,.*\(3,"):
        GivenWeights(NETWORK, [*states(1), *states(1, classes=4)]).start(context())
    with pytest.raises(ValueError, match=r"needs the state dictionary of at least one network"):
        GivenWeights(NETWORK)
    with pytest.raises(ValueError, match=r"head='random'"):
        GivenWeights(NETWORK, states(), head="random")
    doubles = {name: tensor.double() for name, tensor in states(1)[0].items()}
    with pytest.raises(ValueError, match=r"GivenWeights\(states\[0\]\): .* is of torch\.float64"):
        GivenWeights(NETWORK, doubles)


def test_a_zeroed_head_accepts_other_classes() -> None:
    module = build(NETWORK, 3, (1, 8, 8), 9)
    (other,) = states(1, classes=7)
    load_state(module, other, head="zeroed")
    assert not module.classifier.weight.any()  # type: ignore[union-attr, operator]
    assert torch.equal(next(module.parameters()), next(iter(other.values())))
    without = {name: tensor for name, tensor in other.items() if not name.startswith("classifier")}
    load_state(module, without, head="zeroed")
    with pytest.raises(ValueError, match=r'is \(7, .* needs \(3, .*or head="zeroed"'):
        load_state(module, other)
    with pytest.raises(ValueError, match="is missing, but the network needs"):
        load_state(module, without)
    with pytest.raises(ValueError, match=r"has no nn\.Linear"):
        load_state(nn.Sequential(nn.Conv2d(1, 1, 1)), {}, head="zeroed")


@pytest.mark.usefixtures("untouched_rng")
def test_networks_of_one_dataset_are_adapted_to_another(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    images, labels = tiny_images.tensors
    source = TensorDataset(images.flip(-1), labels)  # the same classes, mirrored
    trained = pretrain(source, NETWORK, replace(SOON, networks=4), folder=tmp_path / "networks")
    again = pretrain(source, NETWORK, SOON, folder=tmp_path / "networks")
    assert all(torch.equal(flat(one), flat(two)) for one, two in zip(trained, again, strict=False))
    condensed = CondensedDataset(tiny_images, dd(GivenWeights(NETWORK, trained[:3]), n_nets=2), **QUIET)
    with pytest.raises(ValueError, match=r"trained elsewhere and are not stored with it\. Give initial="):
        condensed.evaluate(tiny_test_images, progress=False)
    condensed.save(tmp_path / "dataset")
    loaded = CondensedDataset.load(tmp_path / "dataset")
    adapted = loaded.evaluate(tiny_test_images, initial=trained[3:], progress=False)
    assert adapted.runs == 1
    assert adapted.accuracies == condensed.evaluate(tiny_test_images, initial=trained[3], progress=False).accuracies
    module = build(NETWORK, 3, (1, 12, 12), 0)
    module.load_state_dict(trained[3])
    x, y = condensed.standardized("test", tiny_test_images)
    before = float((module.eval()(x).argmax(1) == y).double().mean())
    assert adapted.mean > before + 0.1


def test_a_network_of_other_classes_is_adapted_with_one_sample_per_class(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    """Like ImageNet's AlexNet in the paper: the last layer starts at zero, and the weights are not stored."""
    (state,) = (build(NETWORK, 9, (1, 12, 12), 3).state_dict(),)
    make = NamedCallable("elsewhere", NETWORK)
    condensed = CondensedDataset(tiny_images, dd(GivenWeights(make, state, head="zeroed", keep=False)), **QUIET)
    assert condensed.stored_floats < 3 * 144 + 20
    condensed.save(tmp_path)
    loaded = CondensedDataset.load(tmp_path)
    result = loaded.evaluate(tiny_test_images, make, initial=state, progress=False)
    assert result.mean > 0.5
    with pytest.raises(ValueError, match=r"initial= has the digest .* this dataset was condensed for"):
        loaded.evaluate(tiny_test_images, make, initial=states(1)[0], progress=False)


def test_a_single_pretrained_network_is_stored_with_the_dataset(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset
) -> None:
    pool = Pretrained(NETWORK, replace(SOON, networks=1))
    condensed = CondensedDataset(tiny_images, dd(pool, iterations=2), **QUIET)
    assert condensed.replay is not None
    assert condensed.replay.initial.kind == "stored"
    assert condensed.evaluate(tiny_test_images, progress=False).runs == 1
    several = CondensedDataset(tiny_images, dd(Pretrained(NETWORK, SOON), iterations=2), **QUIET)
    assert several.replay is not None
    assert several.replay.initial.kind == "given"
