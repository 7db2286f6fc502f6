"""Dataset distillation: its recipe, and the training run that belongs to its sets."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exam import build, start
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, NamedCallable, Recipe, condense_tensors, networks, recipes
from condensed_data.cli.reporting import format_comparison
from condensed_data.core.errors import ArtifactError, UnsupportedFormatError
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo
from condensed_data.engine.evaluate_replay import initial_networks
from condensed_data.engine.loop import CondensationRun
from condensed_data.engine.run_result import training_schedule
from condensed_data.evaluation.baselines import compare
from condensed_data.methods.objectives import Unrolled
from condensed_data.methods.objectives.unrolled import trained_weights
from condensed_data.methods.pools import RandomInit
from condensed_data.networks import ConvNet, LeNet, Xavier
from condensed_data.storage import artifact
from condensed_data.storage import manifest as manifests
from condensed_data.training.compute import accuracy
from condensed_data.training.protocol import OrderedTraining
from condensed_data.training.protocols import dsa

NET = ConvNet(width=8, depth=2)
FIELDS: dict[str, Any] = {"iterations": 3, "batch": 20, "network": NET, "step_size": 0.1}


def dd(**options: Any) -> Recipe:
    return recipes.dd(**({"ipc": 4, "steps": 2, "epochs": 2} | FIELDS | options))


def started(recipe: Recipe, source: TensorDataset) -> CondensationRun:
    return start(source, recipe, compiles=False)


def fixed(source: Any) -> CondensedDataset:
    return build(source, dd(fixed=True))


def initial_of(made: CondensedDataset) -> dict[str, Tensor]:
    assert made.replay is not None
    assert made.replay.initial.weights is not None
    return dict(made.replay.initial.weights)


def by_hand(made: CondensedDataset, batches: Any) -> nn.Module:
    """Train with torch's own SGD on the batches of a loader, as a user would."""
    assert made.replay is not None
    module = networks.build(NET, 3, (1, 12, 12), 99)
    module.load_state_dict(initial_of(made))
    for (x, y), size in zip(batches, made.replay.step_sizes.tolist(), strict=True):
        optimizer = torch.optim.SGD(module.parameters(), lr=size)
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(made.metadata.space.standardize(x)), y).backward()
        optimizer.step()
    return module.eval()


def test_the_published_defaults() -> None:
    recipe = dd(ipc=10, steps=None, epochs=3, network=None, iterations=None, batch=1024, step_size=0.02)
    small = recipe.resolve((1, 28, 28), ["0"] * 10, samples=4000)
    whole = recipe.resolve((3, 32, 32), ["0"] * 10, samples=60_000)
    assert recipes.dd().resolve((1, 28, 28), ["0"] * 10, samples=4000) == small
    assert (small.iterations, whole.iterations) == (2000, 23_600)
    assert whole.optimizer.milestones == tuple(range(2360, 23_600, 2360))
    assert (whole.optimizer.kind, whole.optimizer.betas) == ("adam", (0.5, 0.999))
    assert whole.terms[0].pool == RandomInit(Xavier(LeNet()))
    assert recipe.resolve((1, 8, 8), ["0"], samples=60).terms[0].pool == RandomInit(Xavier(ConvNet(depth=2)))
    assert whole.terms[0].sampler.steps == 10  # type: ignore[attr-defined]
    assert whole.synthetic.steps == 30  # type: ignore[attr-defined]


def test_several_networks_are_averaged(tiny_images: TensorDataset) -> None:
    run = started(dd(n_nets=3), tiny_images)
    nets = [pool_state.network_at(0) for pool_state in run.pool_states.values()]
    weights = [torch.cat([w.flatten() for w in net.module.parameters()]) for net in nets]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    groups = [0, 1, 2]
    pair = run.draw(run.recipe.terms[0], groups).materialize(run.context, run.synthetic_data)
    mean = sum(Unrolled()(net, pair) for net in nets) / 3
    torch.testing.assert_close(run.loss(groups, [0, 1, 2]), mean)


@pytest.mark.parametrize("unroll", ["full", "checkpointed", "constant"])
def test_the_training_schedule_gives_the_bits_of_the_unroll(unroll: str, tiny_images: TensorDataset) -> None:
    run = started(dd(unroll=unroll), tiny_images)
    run.step()
    net = next(iter(run.pool_states.values())).network_at(run.iteration)
    pair = run.draw(run.recipe.terms[0], [0, 1, 2]).materialize(run.context, run.synthetic_data)
    reached = trained_weights(net, pair, unroll)
    module = networks.build(NET, 3, (1, 12, 12), 0)
    module.load_state_dict(net.module.state_dict())
    everything = run.synthetic_data.decode(torch.arange(12)).detach()
    schedule = training_schedule(run)
    assert schedule is not None
    trained = schedule.train(module, everything, run.synthetic_data.labels)
    for name, weight in trained.named_parameters():
        if unroll == "full":  # gradients that are differentiated again round otherwise
            torch.testing.assert_close(weight.detach(), reached[name].detach(), rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(weight, reached[name].detach()), name


def test_training_on_the_loader_gives_the_accuracy_of_evaluate(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset
) -> None:
    made = fixed(tiny_images)
    assert made.replay is not None
    result = made.evaluate(tiny_test_images, runs=5, progress=False)
    assert result.runs == 1  # every other network would be the same
    assert result.protocol == "ordered"
    module = by_hand(made, made.loader())
    x = made.metadata.space.standardize(tiny_test_images.tensors[0])
    assert accuracy(module, x, tiny_test_images.tensors[1])[0] == pytest.approx(result.mean, abs=0.01)
    ours = networks.build(NET, 3, (1, 12, 12), 0)
    ours.load_state_dict(initial_of(made))
    ours = made.replay.train(ours, made.metadata.space.standardize(made.images), made.labels)
    for weight, expected in zip(ours.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(weight, expected.detach(), rtol=1e-4, atol=1e-5)
    other = by_hand(made, reversed(list(made.loader())))
    assert not torch.allclose(next(other.parameters()), next(module.parameters()), atol=1e-4)


def test_steps_have_all_classes_and_a_fixed_order(tiny_images: TensorDataset) -> None:
    made = build(tiny_images, dd(ipc=2))
    assert made.replay is not None
    assert [block.tolist() for block in made.replay.blocks] == [[0, 2, 4], [1, 3, 5]] * 2
    labels = [y.tolist() for _, y in made.loader(num_workers=0)]
    assert labels == [[0, 1, 2]] * 4
    assert len(made.replay.step_sizes) == 4
    assert made.stored_floats == 6 * 144 + 4 + 12 + 4  # samples, step sizes, order, rows of steps


def test_random_initialization_takes_new_networks(tiny_images: TensorDataset, tiny_test_images: TensorDataset) -> None:
    made = build(tiny_images, dd())
    assert made.replay is not None
    begin = initial_networks(made.replay, None, None, 2, 7, 3, (1, 12, 12))
    expected = networks.build(
        NET, 3, (1, 12, 12), RandomStreams(RandomStreams(7).seed_for("evaluation", 1)).seed_for("network")
    )
    assert torch.equal(next(begin[1]().parameters()), next(expected.parameters()))
    result = made.evaluate(tiny_test_images, runs=3, progress=False)
    assert len(set(result.accuracies)) > 1
    assert made.evaluate(tiny_test_images, runs=3, progress=False).accuracies == result.accuracies
    elsewhere = made.evaluate(tiny_test_images, "mlp", runs=1, progress=False)
    assert elsewhere.network == "mlp"
    usual = made.evaluate(tiny_test_images, runs=1, training=replace(dsa(), epochs=1), progress=False)
    assert usual.protocol == "dsa"


@pytest.mark.parametrize("options", [{}, {"fixed": True}])
def test_the_schedule_is_stored_and_repeated(
    options: dict[str, Any], tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    made = build(tiny_images, dd(**options), cache=tmp_path / "cache")
    made.save(tmp_path / "set")
    manifest = json.loads((tmp_path / "set/condensed.json").read_text())
    assert manifest["required_features"] == ["replay"]
    again = build(tiny_images, dd(**options), cache=tmp_path / "cache")
    assert again.metadata.seconds is None  # from the cache
    for other in (CondensedDataset.load(tmp_path / "set"), again):
        assert made.replay is not None
        assert other.replay is not None
        assert torch.equal(other.replay.step_sizes, made.replay.step_sizes)
        assert other.replay.network == NET
        first, second = (one.evaluate(tiny_test_images, runs=2, progress=False) for one in (made, other))
        assert first.accuracies == second.accuracies
        assert first == second


def test_older_readers_refuse_the_file(
    tiny_images: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed(tiny_images).save(tmp_path)
    monkeypatch.setattr(manifests, "FEATURES", frozenset())
    with pytest.raises(UnsupportedFormatError, match="'replay'"):
        CondensedDataset.load(tmp_path)


def _through_a_file(stored: artifact.Artifact, folder: Path) -> None:
    artifact.write(folder, stored.tensors, stored.manifest, card="", preview=False)
    CondensedDataset.load(folder)


def _cut(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    def apply(stored: artifact.Artifact) -> None:
        stored.tensors[name] = change(stored.tensors[name])

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut("replay.order", lambda order: order + 5), "indices from 0 to 11"),
        (_cut("replay.order", lambda order: -order), "indices from 0 to 11"),
        (_cut("replay.batch_sizes", lambda sizes: sizes + 1), "do not fit replay.order"),
        (_cut("replay.batch_sizes", lambda sizes: sizes.float()), "do not fit replay.order"),
        (_cut("replay.step_sizes", lambda steps: steps[1:]), "one per step"),
        (lambda stored: stored.tensors.pop("replay.weight.2"), r"replay\.weight\.2"),
        (lambda stored: stored.manifest["replay"].update(initial="new"), "an object with network"),
        (lambda stored: stored.manifest.pop("replay"), "required feature 'replay'"),
        (lambda stored: stored.manifest.update(required_features=[]), "required feature 'replay'"),
    ],
)
def test_an_invalid_training_schedule_is_refused(
    damage: Callable[[Any], None], message: str, tiny_images: TensorDataset, tmp_path: Path
) -> None:
    fixed(tiny_images).save(tmp_path / "set")
    stored = artifact.read(tmp_path / "set")
    damage(stored)
    with pytest.raises(ArtifactError, match=message):
        _through_a_file(stored, tmp_path / "bad")


def test_indexing_warns_once_and_the_loader_never(tiny_images: TensorDataset) -> None:
    made = fixed(tiny_images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(made.loader())
    with pytest.warns(UserWarning, match=r"order it is worth little.*\.loader\(\)"):
        made[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made[1]
    for option in ({"batch_size": 4}, {"shuffle": True}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}=.*would change the training steps"):
            made.loader(**option)  # type: ignore[arg-type]


def test_impossible_evaluations_are_refused(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    made, plain = fixed(tiny_images), build(tiny_images, recipes.random(ipc=1))
    quiet: dict[str, Any] = {"progress": False}
    with pytest.raises(ValueError, match=r"initial does not match Chain: .*missing"):
        made.evaluate(tiny_test_images, "mlp", **quiet)
    with pytest.raises(ValueError, match=r"initial= is only used with a dataset's own training steps"):
        made.evaluate(tiny_test_images, training="quick", initial=initial_of(made), **quiet)
    with pytest.raises(ValueError, match="this dataset has none"):
        plain.evaluate(tiny_test_images, training=OrderedTraining(), **quiet)
    with pytest.raises(ValueError, match="contains no state dictionary"):
        made.evaluate(tiny_test_images, initial=[], **quiet)
    with pytest.raises(ValueError, match="runs=0"):
        made.evaluate(tiny_test_images, runs=0, **quiet)
    named = build(tiny_images, dd(network=NamedCallable("mine", NET)))
    named.save(tmp_path)
    with pytest.raises(ValueError, match=r"could not be stored with it\. Give network=, the same"):
        CondensedDataset.load(tmp_path).evaluate(tiny_test_images, **quiet)
    result = CondensedDataset.load(tmp_path).evaluate(tiny_test_images, NET, runs=2, **quiet)
    assert result.accuracies == named.evaluate(tiny_test_images, runs=2, **quiet).accuracies


def test_the_schedule_is_shown_to_readers(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    made = build(tiny_images, dd(network=Xavier(NET)))
    result = made.evaluate(tiny_test_images, runs=2, progress=False)
    assert str(result).startswith("Xavier(inner=ConvNet(width=8, depth=2)): ")
    assert str(result).endswith("(2 networks, ordered protocol)")
    made.save(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "a fixed order of steps" in card
    assert "ordered protocol" in card


def test_tensors_without_a_schedule_are_refused(tiny_images: TensorDataset) -> None:
    with pytest.raises(ValueError, match=r"Recipe dd makes samples for one training run.*Use CondensedDataset"):
        condense_tensors(*tiny_images.tensors, dd())


def test_a_comparison_trains_by_the_stored_schedule(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset
) -> None:
    made = fixed(tiny_images)
    how: dict[str, Any] = {"network": "convnet-d2-w8", "runs": 1, "progress": False}
    found = compare(made, tiny_images, tiny_test_images, **how)
    assert found.own == "ConvNet(width=8, depth=2) by its 4 own steps"
    assert found.condensed.accuracies == made.evaluate(tiny_test_images, progress=False).accuracies
    text = format_comparison(found)
    assert "for all networks except those of dd (ConvNet(width=8, depth=2) by its 4 own steps)" in text
    assert "by the schedule of the condensed dataset" in text


def test_exploding_weights_raise_an_error(tiny_images: TensorDataset, tiny_test_images: TensorDataset) -> None:
    made = fixed(tiny_images)
    huge = {name: weight * 1e20 for name, weight in initial_of(made).items()}
    with pytest.raises(FloatingPointError, match="NaN or infinite weights"):
        made.evaluate(tiny_test_images, initial=huge, progress=False)


class Drops(nn.Module):
    """A network with dropout."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(144, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ipc": 3}, r"steps=2\) must divide the samples of every class, but one has 3"),
        ({"steps": 0}, r"steps=0\) must be"),
        ({"epochs": 0}, "must be an integer of at least 1"),
        ({"n_nets": 0}, r"dd\(n_nets=0\) must be"),
        ({"n_nets": 2, "fixed": True}, r"fixed initialization is a single network"),
        ({"pool": RandomInit(NET)}, r"dd\(pool=\.\.\.\) already defines the networks"),
        ({"step_size": -1.0}, "must be positive"),
        ({"batch": 0}, r"Tenths\(batch=0\) must be an integer of at least 1"),
        ({"unroll": "reverse"}, "'full', 'checkpointed', 'constant'"),
        ({"relabel": ((0, 3),)}, "class indices from 0 to 2"),
        ({"network": ConvNet(width=8, depth=2, norm="batch")}, "normalizes over the batch"),
        ({"network": NamedCallable("drops", lambda classes, shape: Drops(classes))}, "has dropout"),
    ],
)
def test_bad_recipes_are_refused(options: dict[str, Any], message: str, tiny_images: TensorDataset) -> None:
    with pytest.raises(ValueError, match=message):
        build(tiny_images, dd(**options))


def test_only_repeatable_steps_make_a_schedule(tiny_images: TensorDataset) -> None:
    ordered = {"training": OrderedTraining()}
    with pytest.raises(ValueError, match=r"OrderedTraining\(\) with this recipe: it draws its samples with PerGroup"):
        build(tiny_images, replace(recipes.dm(ipc=1, iterations=2, batch=4, network=NET), **ordered))
    with pytest.raises(ValueError, match="it has no terms"):
        build(tiny_images, replace(recipes.random(ipc=1), **ordered))
    with pytest.raises(ValueError, match="it draws its samples with TrainingSteps"):
        build(tiny_images, dd(steps=1, epochs=4).set(sampler__order="shuffled", sampler__synthetic=3))


def test_xavier_weights() -> None:
    module = networks.build(Xavier("convnet-w64"), 10, (3, 32, 32), 0)
    blocks = dict(module.named_parameters())
    weight = blocks["classifier.weight"]
    assert float(weight.detach().std()) == pytest.approx((2 / (10 + 1024)) ** 0.5, rel=0.05)
    for name, parameter in blocks.items():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert bool((parameter == 1).all()), name
    same = networks.build(Xavier("convnet-w64"), 10, (3, 32, 32), 0)
    assert torch.equal(next(same.parameters()), next(module.parameters()))
    rule = recipes.dd().terms[0].pool.network  # type: ignore[attr-defined]
    assert rule(DatasetInfo((2, 40), (), 1)) == Xavier(networks.default_network((2, 40)))
    with pytest.raises(ValueError, match="must be a network, not a DataDefault"):
        Xavier(rule)
