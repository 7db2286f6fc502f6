"""Plans agree with the runs that they predict, and read only a small part of a large source."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from condensed_data import recipes
from condensed_data.cli.main import main
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError
from condensed_data.data.source import Source, inspect
from condensed_data.data.value_space import SampleKind
from condensed_data.engine.loop import CondensationRun
from condensed_data.engine.memory_estimate import MemoryEstimate, estimate_memory
from condensed_data.engine.planning import iteration_cost
from condensed_data.engine.planning.cost_estimate import Plan, plan
from condensed_data.engine.planning.iteration_cost import IterationCost, extrapolate
from condensed_data.engine.planning.source_sample import read_labels
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import ConvNet
from condensed_data.training.context import Context

NET = ConvNet(width=4, depth=1)
CPU = torch.device("cpu")


class Large(Dataset[tuple[torch.Tensor, int]]):
    """100,000 samples of 50 classes, which counts how many are read."""

    def __init__(self, listed: bool) -> None:
        self.read = 0
        self.classes = [f"class {label}" for label in range(50)]
        if listed:
            self.targets = [index % 50 for index in range(len(self))]

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.read += 1
        return torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(index)), index % 50


@pytest.fixture
def source() -> TensorDataset:
    labels = torch.arange(8).repeat_interleave(16)
    return TensorDataset(torch.rand(128, 1, 8, 8, generator=torch.Generator().manual_seed(0)), labels)


def planned(source: Dataset[object], recipe: Recipe) -> Plan:
    return plan(inspect(source), recipe, CPU, "fp32")


@pytest.mark.parametrize("name", ["dm", "dsa", "idm"])
def test_a_plan_agrees_with_the_run(name: str, source: TensorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iteration_cost, "SECONDS", 1e9)  # measures all samples on a busy machine too
    recipe = recipes.get(name, ipc=2, iterations=4, batch=8, network=NET)
    found = planned(source, recipe)
    real = RealData.read(inspect(source), progress=False)
    resolved = recipe.resolve(real.sample_shape, real.class_names, samples=len(real))
    run = CondensationRun(resolved, Context(real, 2, RandomStreams(0), CPU))
    with FlopCounterMode(display=False) as counter:
        run.step()
    assert found.iteration_flop == pytest.approx(counter.get_total_flops(), rel=0.15)
    needed = estimate_memory(run.parts, run.context, run.plan.largest_block)
    assert found.memory.learned == needed.learned
    assert found.memory.working == pytest.approx(needed.working, rel=0.15)
    assert (found.samples, found.classes, found.iterations) == (128, 8, 4)
    assert found.result_bytes == run.synthetic_data.stored_floats * 4
    assert found.seconds > found.iterations * found.iteration_seconds > 0


@pytest.mark.parametrize("listed", [True, False])
def test_a_large_source_is_sampled(listed: bool) -> None:
    source = Large(listed)
    found = planned(source, recipes.dm(ipc=1, iterations=100, batch=16, network=NET))
    assert source.read < 3_500
    assert found.classes == 50
    assert found.all_labels_read is listed
    assert found.memory.samples == 100_000 * 36 * 4
    assert found.memory.learned == 3 * 50 * 36 * 4


def test_an_error_names_the_sample_of_the_source() -> None:
    class Broken(Large):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if index > 50_000:
                raise OSError("broken file")
            return super().__getitem__(index)

    with pytest.raises(SourceError, match=r"source\[50\d\d\d\] cannot be read: OSError: broken file"):
        read_labels(Source(Broken(False), SampleKind("tensor:float32", (1, 6, 6)), None, "broken", None))


@pytest.mark.parametrize("name", ["dm", "dsa", "idm", "cafe", "mtt"])
def test_few_samples_of_few_classes_predict_large_iterations(
    name: str, source: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for photographs, of which the measured classes cannot be computed whole within seconds."""
    short = {"experts": 1, "steps": 2, "epochs": 2, "ahead": 1} if name == "mtt" else {"batch": 16}
    recipe = recipes.get(name, ipc=2, iterations=4, network=NET, **short)
    whole = planned(source, recipe)
    announced: list[str] = []
    monkeypatch.setattr(iteration_cost, "SECONDS", 1e-3)
    found = plan(inspect(source), recipe, CPU, "fp32", announce=announced.append)
    assert found.iteration_flop == pytest.approx(whole.iteration_flop, rel=0.15)
    assert found.memory.working == pytest.approx(whole.memory.working, rel=0.15)
    assert found.result_bytes == whole.result_bytes
    assert "timing iterations with 2 classes of 4 real samples" in announced
    assert not any("of 16 real samples" in step for step in announced)


def test_pretraining_is_included(source: TensorDataset) -> None:
    short = {"ipc": 2, "iterations": 2, "network": NET, "steps": 2, "epochs": 4, "ahead": 1}
    two, four = (planned(source, recipes.mtt(experts=experts, **short)) for experts in (2, 4))
    assert two.pretraining_seconds > 0
    assert four.network_bytes == 2 * two.network_bytes > 0


def test_time_and_memory_grow_with_classes() -> None:
    memory = MemoryEstimate(0, False, 10, 20, 30)
    costs = [IterationCost(2, 8, 1.0, 10.0, memory, 0, 0), IterationCost(4, 8, 2.0, 30.0, memory, 0, 0)]
    assert extrapolate(costs, 10, lambda cost: cost.seconds) == 5.0
    assert extrapolate(costs, 10, lambda cost: cost.flop) == 90.0
    assert extrapolate(costs[:1], 4, lambda cost: cost.flop) == 20.0
    noisy = [costs[0], replace(costs[1], seconds=0.5)]
    assert extrapolate(noisy, 10, lambda cost: cost.seconds) == 0.5


def test_plan_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "plan",
        "digits",
        "--recipe",
        "dm",
        "--ipc",
        "2",
        "--set",
        "network=convnet-d1-w4",
        "--device",
        "cpu",
    ]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("1,400 samples of 10 classes", "time", "FLOP", "memory", "disk"))
    assert main(["plan", "digits", "--recipe", "random"]) == 1
    assert "learns nothing" in capsys.readouterr().err
