"""Recorded steps: the bits of the steps as they are written, with nothing that a recording device refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from simulated_device import DEVICE, SimulatedGraph, near, simulated
from test_another_device import started, values
from test_recipes import GROUPED, LEARNING
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import captured
from condensed_data.captured import Tape
from condensed_data.device import sent
from condensed_data.meeting import Meeting
from condensed_data.objectives import Distribution
from condensed_data.parts import Applied, Augment, Net, Objective, Pair
from condensed_data.recipe import Recipe
from condensed_data.run import Run
from condensed_data.streams import Streams

SWEEPS = 6
# What cannot be recorded, and why.
AS_WRITTEN = {
    "ncfm": "its frequencies are made inside the objective",
    "bdm_published": "its network has batch normalisation",
    "haba on dm": "its two decoders are drawn every sweep",
    "haba on idc": "the same",
    "haba on mtt": "the same",
}


def on_the_cpu(images: TensorDataset, recipe: Recipe) -> list[Tensor]:
    """The losses of a run that records nothing."""
    run = started(images, recipe, torch.device("cpu"), None)
    return [run.step() for _ in range(SWEEPS)]


class Spoiled(SimulatedGraph):
    """A graph whose results are nowhere near."""

    def record(self, function: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        self.results = super().record(function)
        return self.results

    def replay(self) -> None:
        super().replay()
        for result in self.results:
            near(result).mul_(2)


class Full(SimulatedGraph):
    """A graph that fits the memory at the second attempt."""

    attempts = 0

    def record(self, function: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        Full.attempts += 1
        if Full.attempts == 1:
            raise torch.OutOfMemoryError
        return super().record(function)


@dataclass(frozen=True)
class Brighter(Augment):
    """Adds what changes from sweep to sweep and is declared nowhere."""

    def draw(
        self, streams: Streams, sweep: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> Applied:
        return lambda batch: batch.x + sweep


@contextmanager
def recording(
    monkeypatch: pytest.MonkeyPatch, kind: type[SimulatedGraph] = SimulatedGraph
) -> Iterator[list[SimulatedGraph]]:
    """Inside, the simulated device records."""
    made: list[SimulatedGraph] = []

    def new() -> SimulatedGraph:
        made.append(kind())
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setitem(captured.GRAPHS, DEVICE.type, lambda device: new)
        yield made


@pytest.mark.parametrize("name", LEARNING | GROUPED)
def test_a_recorded_step_gives_the_bits_of_the_written_one(
    name: str, tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = (LEARNING | GROUPED)[name]()
    groups = [index % 2 for index in range(len(tiny_images))] if name in GROUPED else None
    here = started(tiny_images, recipe, torch.device("cpu"), groups)
    losses = [here.step() for _ in range(SWEEPS)]
    with recording(monkeypatch) as graphs, simulated(), warnings.catch_warnings():
        warnings.simplefilter("error")
        there = started(tiny_images, recipe, DEVICE, groups)
        found = [near(there.step()).clone() for _ in range(SWEEPS)]
    for name_of, tensor in values(here).items():
        assert torch.equal(tensor, values(there)[name_of]), name_of
    assert all(map(torch.equal, losses, found))
    replayed = sum(graph.replays for graph in graphs)
    assert bool(replayed) == (name not in AS_WRITTEN), replayed


@dataclass(frozen=True)
class Told(Objective):
    """Distribution matching, times a number that it takes from the host."""

    number: Callable[[int], float]
    recordable: ClassVar[bool] = True

    def __call__(self, net: Net, pair: Pair) -> Tensor:
        told = sent(torch.tensor([self.number(pair.sweep)]), pair.real.x.device)
        return Distribution()(net, pair) * told.sum()


def matched(objective: Objective) -> Recipe:
    recipe = LEARNING["dm"]()
    return replace(recipe, terms=tuple(replace(term, objective=objective) for term in recipe.terms))


@pytest.mark.parametrize("objective", [Told(lambda sweep: 1.0 + sweep), Told(lambda sweep: 2.0)])
def test_what_changes_without_being_declared_is_found(
    objective: Told, tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = objective.number(0) != objective.number(1)
    losses = on_the_cpu(tiny_images, matched(objective))
    with recording(monkeypatch) as graphs, simulated(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        there = started(tiny_images, matched(objective), DEVICE, None)
        found = [near(there.step()).clone() for _ in range(SWEEPS)]
    assert all(map(torch.equal, losses, found))
    assert any("goes on without recorded steps" in str(one.message) for one in told) == changes
    assert bool(sum(graph.replays for graph in graphs)) != changes


def test_a_recording_that_gives_something_else_is_not_used(
    tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = on_the_cpu(tiny_images, LEARNING["dm"]())

    with recording(monkeypatch, Spoiled) as graphs, simulated():
        there = started(tiny_images, LEARNING["dm"](), DEVICE, None)
        with pytest.warns(UserWarning, match="replaying it does not give what it gives as it is written"):
            found = [near(there.step()).clone() for _ in range(SWEEPS)]
    assert all(map(torch.equal, losses, found))
    assert sum(graph.replays for graph in graphs) == 1


def test_a_device_that_cannot_record_goes_on(
    tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what a meeting does not declare is sent while the device records
    monkeypatch.setattr(Meeting, "sends", lambda meeting: [meeting.labels])
    monkeypatch.setattr(Tape, "_sent", lambda tape, tensor, dtype: tensor.to(tape.device, dtype))
    losses = on_the_cpu(tiny_images, LEARNING["dm"]())
    with recording(monkeypatch), simulated():
        there = started(tiny_images, LEARNING["dm"](), DEVICE, None)
        with pytest.warns(UserWarning, match="not permitted while the device records"):
            found = [near(there.step()).clone() for _ in range(SWEEPS)]
    assert all(map(torch.equal, losses, found))


def test_no_more_steps_are_recorded_than_that(
    tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "MOST", 1)
    recipe = LEARNING["idc"]()  # a step for each class
    losses = on_the_cpu(tiny_images, recipe)
    with recording(monkeypatch) as graphs, simulated():
        there = started(tiny_images, recipe, DEVICE, None)
        found = [near(there.step()).clone() for _ in range(SWEEPS)]
    assert all(map(torch.equal, losses, found))
    assert len(graphs) == 1


def test_memory_that_ends_while_a_step_is_recorded_halves_it(
    tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = on_the_cpu(tiny_images, LEARNING["dm"]())
    monkeypatch.setattr(Full, "attempts", 0)
    with recording(monkeypatch, Full) as graphs, simulated():
        there = started(tiny_images, LEARNING["dm"](), DEVICE, None)
        found = [near(there.step()).clone() for _ in range(SWEEPS)]
    assert there.pieces == 2
    assert sum(graph.replays for graph in graphs)
    torch.testing.assert_close(torch.stack(found), torch.stack(losses))


def test_an_augmentation_that_declares_nothing_is_applied_as_it_is_written(
    tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = LEARNING["dm"]()
    recipe = replace(recipe, terms=tuple(replace(term, augment=Brighter()) for term in recipe.terms))
    with recording(monkeypatch) as graphs, simulated():
        there = started(tiny_images, recipe, DEVICE, None)
        for _ in range(SWEEPS):
            there.step()
    assert not graphs


def test_a_short_run_records_nothing(tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(monkeypatch), simulated():
        run = started(tiny_images, LEARNING["dm"](), DEVICE, None)
        short = Run(run.recipe, replace(run.context, compiles=False))
        assert run.captures.new is not None
        assert short.captures.new is None


def test_no_step_is_recorded_on_a_cpu(tiny_images: TensorDataset) -> None:
    assert started(tiny_images, LEARNING["dm"](), torch.device("cpu"), None).captures.new is None
