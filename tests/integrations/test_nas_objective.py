"""ProxyObjective: configurations, seeds, failures, training on real samples, many configurations at once."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nas_data
import numpy as np
import pytest
import torch
from nas_data import FINE, LIVELY, SMALLER, TOO_DEEP, condensed, objective, samples
from PIL import Image
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core import spec as specs
from condensed_data.data.sample import SourceError
from condensed_data.training.protocols import quick
from condensed_data_nas import ProxyObjective, Range, Result, convnet_space, grid, sample
from condensed_data_nas import space as spaces


def test_the_space_of_the_papers_has_720_networks() -> None:
    everything = grid(convnet_space())
    assert len(everything) == 720
    assert len({spaces.key_of(config) for config in everything}) == 720
    chosen = sample(convnet_space(), 60)
    assert len({spaces.key_of(config) for config in chosen}) == 60
    assert chosen == sample(convnet_space(), 60)
    assert chosen != sample(convnet_space(), 60, seed=1)


def test_ranges() -> None:
    drawn = sample({"lr": Range(0.001, 0.1, log=True), "batch_size": Range(4, 6)}, 200)
    assert {config["batch_size"] for config in drawn} == {4, 5, 6}
    assert all(0.001 <= config["lr"] <= 0.1 for config in drawn)
    assert 60 < sum(config["lr"] < 0.01 for config in drawn) < 140
    with pytest.raises(ValueError, match="Range"):
        grid({"lr": Range(0, 1)})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "no names"),
        ({"width": ()}, r"space\['width'\]"),
        ({"width": "8"}, "list of choices"),
        ({"width": [object()]}, "choices must be strings"),
    ],
)
def test_invalid_spaces_are_refused(space: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective(space=space)


def test_the_value_of_a_configuration_does_not_depend_on_the_order(untouched_rng: None) -> None:
    first, second = objective(), objective()
    value = first(FINE)
    assert isinstance(value, float)
    assert 0.4 < value <= 1
    second.measure(SMALLER)
    assert second.measure(dict(reversed(FINE.items()))).values == first.measure(FINE).values
    assert objective(seed=1).measure(FINE).curve != first.measure(FINE).curve


def test_the_same_configuration_is_trained_once() -> None:
    built = []

    def counted(config: dict[str, Any]) -> Any:
        built.append(config)
        return spaces.convnet(config)

    chosen = objective(counted)
    reports: list[tuple[int, float]] = []
    first = chosen.measure(FINE, lambda *report: reports.append(report))
    assert tuple(reports) == first.curve
    assert [epoch for epoch, _ in reports] == [1, 2, 3, 4, 5, 6]
    reports.clear()
    times = len(built)
    assert chosen.measure(FINE, lambda *report: reports.append(report)) == first
    assert len(built) == times
    assert tuple(reports) == first.curve


def test_results_equal_those_of_evaluate() -> None:
    """One network of the objective is a network of `evaluate` with the same seed and protocol."""
    chosen = objective()
    task = chosen.task
    seed = spaces_seed(chosen, FINE)
    training = replace(LIVELY, epochs=5, name="lively, 5 epochs")
    from condensed_data.core.rng import RandomStreams
    from condensed_data.training.compute import accuracy
    from condensed_data.training.trainer import Trainer

    trainer = Trainer.prepare(
        task.images,
        task.labels,
        network=spaces.convnet(FINE),
        num_classes=3,
        training=specs.resolve(training, task.info),
    )
    module = trainer.fit(RandomStreams(RandomStreams(seed).seed_for("run", 0)))
    assert chosen(FINE) == accuracy(module, task.val_images, task.val_labels)[0]
    assert chosen.training == training


def spaces_seed(chosen: ProxyObjective, config: dict[str, Any]) -> int:
    from condensed_data.core.rng import RandomStreams

    return RandomStreams(chosen.seed).seed_for(f"nas/{spaces.key_of(config)}")


def test_costs_of_a_trial() -> None:
    found = objective(seeds=2).measure(FINE)
    assert len(found.values) == 2
    assert found.parameters == sum(weight.numel() for weight in spaces.convnet(FINE)(3, (1, 12, 12)).parameters())
    assert found.flops == 2 * (9 * 8 * 144 + 9 * 64 * 36 + 72 * 3)
    assert found.seconds > 0
    assert found.peak_bytes is None or found.peak_bytes > 1e6
    assert Result.from_json(json.loads(json.dumps(asdict(found)))) == found


def test_failed_builds_are_reported_and_bugs_are_raised() -> None:
    found = objective().measure(TOO_DEEP)
    assert found.failed
    assert found.value == 0
    assert found.error.startswith("ValueError: ConvNet(depth=4) needs images of at least 16x16")
    diverging = objective(space={"lr": (1e9,)}).measure({**FINE, "lr": 1e9, "norm": "none"})
    assert "diverged" in diverging.error
    assert "lr" in objective().measure({**FINE, "lr": -1.0}).error
    with pytest.raises(KeyError, match="width"):
        objective(nas_data.plain_module)({})


def test_every_kind_of_build_model() -> None:
    assert objective(nas_data.plain_module).measure({"width": 8}).values
    assert objective(lambda config: config["name"]).measure({"name": "convnet-d1-w4"}).values
    with pytest.raises(TypeError, match="a mapping; got int"):
        objective()(3)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_networks_trained_together_equal_those_trained_alone(norm: str, untouched_rng: None) -> None:
    config = {**FINE, "norm": norm}
    alone = objective(seeds=3, batched=False).measure(config)
    together = objective(seeds=3, batched=True).measure(config)
    assert together.error == ""
    assert together.values == pytest.approx(alone.values, abs=0.04)
    assert [epoch for epoch, _ in together.curve] == [epoch for epoch, _ in alone.curve]


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_fan_in"])
def test_weights_trained_together_equal_those_trained_alone(optimizer: str) -> None:
    from condensed_data.core.rng import RandomStreams
    from condensed_data.training import batched_trainer as together
    from condensed_data.training.trainer import Trainer

    chosen = objective(training=replace(quick(), epochs=4, optimizer=optimizer, cutmix=0.5), epochs=None)
    task = chosen.task
    trainer = Trainer.prepare(
        task.images,
        task.labels,
        network=spaces.convnet({**FINE, "norm": "none"}),  # in which every weight has a gradient
        num_classes=3,
        training=specs.resolve(chosen.training, task.info),
    )
    rng = [RandomStreams(5), RandomStreams(6)]
    epochs: list[int] = []
    modules = together.fit(trainer, rng, lambda epoch, first: epochs.append(epoch))
    assert epochs == [1, 2, 3, 4, 5]
    for module, one in zip(modules, rng, strict=True):
        alone = trainer.fit(one)
        for weight, expected in zip(module.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=2e-3, atol=2e-4)


def test_small_networks_are_trained_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from condensed_data.training import batched_trainer as together

    counts: list[int] = []
    fit = together.fit

    def counted(trainer: Any, rng: Any, *rest: Any) -> Any:
        counts.append(len(rng))
        return fit(trainer, rng, *rest)

    monkeypatch.setattr(together, "fit", counted)
    small = objective(seeds=2).measure(FINE)
    assert counts == [2]
    objective(seeds=2).measure({**FINE, "width": 64})
    objective(seeds=1).measure(FINE)
    assert counts == [2]
    assert small.values == objective(seeds=2).measure(FINE).values


def test_the_faster_way_of_training_can_be_measured(untouched_rng: None) -> None:
    from condensed_data import networks
    from condensed_data.training import batched_trainer as together
    from condensed_data.training.trainer import Trainer

    chosen, network = objective(), spaces.convnet(FINE)
    task, training = chosen.task, specs.resolve(chosen.training, chosen.task.info)
    made: list[int] = []

    def build(num_classes: int, sample_shape: tuple[int, ...]) -> Any:
        made.append(num_classes)
        return networks.network(network)(num_classes, sample_shape)

    trainer = Trainer.prepare(task.images, task.labels, network=build, num_classes=3, training=training)
    made.clear()
    assert together.faster(trainer, 3, torch.arange(12)) in (True, False)
    assert made == [3] * 4


def test_soft_labels_and_factorized_datasets() -> None:
    soft = condensed(recipes.dc(ipc=1, iterations=1, network="convnet-d1-w4").set(soft_labels=True))
    assert soft.labels.ndim == 2
    assert objective(made=soft).measure(FINE).values
    grids = condensed(recipes.idc(ipc=1, iterations=1, network="convnet-d1-w4").set(training__epochs=2))
    assert len(grids) > 3
    assert objective(made=grids, training=None, epochs=2).measure(FINE).values


def test_the_training_is_that_of_the_condensed_dataset_and_can_be_changed() -> None:
    made = condensed()
    assert objective(made=made, training=None, epochs=None).training == made.training
    assert objective(epochs=7).training.epochs == 7
    changed = spaces.training_of({"lr": 0.5, "augment": "crop+flip", "width": 3}, quick())
    assert changed.lr == 0.5
    assert changed.augment.ops == ("crop", "flip")  # type: ignore[attr-defined]
    ordered = condensed(recipes.dd(ipc=1, steps=1, epochs=1, iterations=1, network="convnet-d1-w4"))
    with pytest.raises(ValueError, match=r"is order-dependent.*training=\"quick\""):
        objective(made=ordered, training=None)
    assert objective(made=ordered).measure(FINE).values


def test_the_same_objective_trained_on_real_samples() -> None:
    chosen = objective()
    real = chosen.trained_on(samples(20, 1), seeds=2, epochs=1)
    assert len(real.task.images) == 60
    assert real.training.epochs == 1
    assert len(real.measure(FINE).values) == 2
    assert torch.equal(real.task.val_images, chosen.task.val_images)
    with pytest.raises(SourceError):
        chosen.trained_on([(torch.zeros(1, 8, 8), 0)])


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="seeds=0"):
        objective(seeds=0)
    with pytest.raises(TypeError, match="tested on real samples"):
        objective(val=condensed())
    with pytest.raises(TypeError, match="CondensedDataset"):
        ProxyObjective(samples(2, 0), space=nas_data.SPACE, val=samples(2, 0))
    with pytest.raises(ValueError, match="both are missing"):
        objective(space=None)
    with pytest.raises(TypeError, match="JSON cannot hold"):
        objective().measure({"width": object()})


def test_many_with_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "rows" / "journal.jsonl"
    configs = [FINE, TOO_DEEP, SMALLER, FINE]
    first = objective().evaluate_many(configs, journal=journal)
    assert [result.config for result in first] == configs
    assert first[0] == first[3]
    assert first[1].failed
    with journal.open("a") as file:
        file.write('{"half a li')

    def refuse(*_: Any) -> Any:
        raise AssertionError("trained again")

    again = objective()
    again.measure = refuse  # type: ignore[method-assign]
    assert again.evaluate_many(configs, journal=journal) == first
    other = objective(seed=1).evaluate_many([FINE], journal=journal)
    assert other[0].curve != first[0].curve
    assert objective().evaluate_many([FINE], journal=journal) == first[:1]
    assert len(journal.read_text().splitlines()) == 5
    assert json.loads(journal.read_text().splitlines()[0])["result"]["config"] == FINE


def test_a_journal_needs_a_build_model_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Give a function of a module"):
        objective(lambda config: spaces.convnet(config)).evaluate_many([FINE], journal=tmp_path / "one.jsonl")


def test_numpy_scalars_equal_python_numbers() -> None:
    config = {**FINE, "width": np.int64(8), "lr": np.float64(0.1)}
    assert objective()(config) == objective()({**FINE, "lr": 0.1})


def test_out_of_memory_is_a_failure() -> None:
    found = objective().measure({**FINE, "width": 2_000_000})
    assert found.error.startswith("out of memory")
    assert found.value == 0


def test_vectors_and_pil_images() -> None:
    vectors = TensorDataset(torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3)
    few = CondensedDataset(vectors, recipes.random(ipc=2), cache=False, progress=False)
    chosen = ProxyObjective(few, lambda config: "mlp", val=vectors, training="quick", epochs=1, device="cpu")
    assert 0 <= chosen({}) <= 1
    pictures = [(Image.new("L", (12, 12), 60 * (index % 3)), index % 3) for index in range(12)]
    few = CondensedDataset(pictures, recipes.random(ipc=2), cache=False, progress=False)
    chosen = ProxyObjective(few, space=nas_data.SPACE, val=pictures, training="quick", epochs=1, device="cpu")
    assert 0 <= chosen(FINE) <= 1


def test_threads_are_refused() -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="share random states"):
        objective().evaluate_many([FINE], threads)


@pytest.mark.slow
def test_worker_processes_give_the_results_of_this_process() -> None:
    configs = [FINE, SMALLER, TOO_DEEP]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        found = objective().evaluate_many(configs, executor)
    expected = objective().evaluate_many(configs)
    assert [one.values for one in found] == [one.values for one in expected]
    assert found[2].error == expected[2].error


def test_neither_optuna_nor_ray_is_imported_before_it_is_used() -> None:
    code = "import condensed_data_nas, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"optuna", "ray", "matplotlib"}.isdisjoint(done.stdout.split())


def test_a_loaded_condensed_dataset_gives_the_same_result(tmp_path: Path) -> None:
    made = condensed()
    made.save(tmp_path)
    loaded = CondensedDataset.load(tmp_path)
    assert objective(made=loaded).measure(FINE).values == objective(made=made).measure(FINE).values


def test_recalibration_uses_the_final_weights(untouched_rng: None) -> None:
    from condensed_data import networks
    from condensed_data_nas.recalibration import recalibrate

    draw = torch.Generator().manual_seed(0)
    images = torch.randn(70, 1, 12, 12, generator=draw)
    module = networks.build(spaces.convnet({**FINE, "norm": "batch"}), 3, (1, 12, 12), 0).eval()
    recalibrate(module, images, 35, "fp32")
    first = next(layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    with torch.no_grad():
        maps = next(layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d))(images)
    torch.testing.assert_close(first.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert first.momentum == 0.1
    assert not first.training
    expected = module(images)
    recalibrate(module, images, 35, "fp32")  # depends on weights and samples only
    torch.testing.assert_close(module(images), expected)


def test_a_journal_distinguishes_recalibration(tmp_path: Path) -> None:
    batch = {**FINE, "norm": "batch"}
    plain, precise = objective(), objective(recalibrate=True)
    assert plain.measure(FINE).values == precise.measure(FINE).values  # no batch normalization
    assert plain.measure(batch).curve != precise.measure(batch).curve
    assert plain.digest() != precise.digest()
    without = precise.trained_on(samples(5, 1)).trained_on(samples(5, 0), recalibrate=False)
    assert without.digest() == plain.trained_on(samples(5, 0)).digest()
