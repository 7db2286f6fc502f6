"""CondensedBuffer in Avalanche's strategies and plugins: online streams, checkpoints, loggers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dill
import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.checkpointing import maybe_load_checkpoint, save_checkpoint
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from avalanche.training.plugins.mir import MIRPlugin
from avalanche.training.plugins.update_fecam import MemoryFeCAMUpdate
from avalanche.training.storage_policy import ClassBalancedBuffer
from avalanche.training.supervised import DER, ER_ACE, ER_AML, Naive
from avalanche_tools import CLASSES, KINDS, common, linear, naive, new_kind, old_kind, tiny
from torch import Tensor, nn

from condensed_data_avalanche import (
    CondensedBuffer,
    CondensedGDumb,
    CondensedGDumbPlugin,
    CondensedReplay,
    CondensedReplayPlugin,
    ReducedInputs,
)

# raised by Avalanche's own calls
pytestmark = pytest.mark.filterwarnings(
    "ignore:No loggers specified:UserWarning",
    "ignore:Call to deprecated function update:DeprecationWarning",
)


def memory(size: int = 9, **arguments: Any) -> CondensedBuffer:
    return CondensedBuffer(size, **{"recipe": tiny(), **arguments})


def train(strategy: Any, benchmark: Any, **arguments: Any) -> None:
    for experience in benchmark.train_stream:
        strategy.train(experience, **arguments)
    strategy.eval(benchmark.test_stream)


class Batches:
    """Records the size and the labels of every training batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.labels: list[set[int]] = []

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.sizes.append(len(strategy.mb_y))
        self.labels.append(set(strategy.mb_y.tolist()))


def recorded(plugin: Any, **arguments: Any) -> tuple[Any, Batches]:
    from avalanche.core import SupervisedPlugin

    class Recorder(Batches, SupervisedPlugin):  # type: ignore[misc]
        def __init__(self) -> None:
            SupervisedPlugin.__init__(self)
            Batches.__init__(self)

    batches = Recorder()
    return Naive(**common(**arguments), plugins=[plugin, batches]), batches


@pytest.mark.parametrize("kind", KINDS)
def test_replay_and_gdumb_on_every_kind_of_benchmark(kind: str) -> None:
    for plugin in (
        ReplayPlugin(8, storage_policy=memory(8)),
        CondensedReplayPlugin(storage_policy=memory(8)),
        CondensedGDumbPlugin(storage_policy=memory(8)),
    ):
        train(naive(plugin), KINDS[kind]())
        assert len(plugin.storage_policy.buffer) == 8


@pytest.mark.parametrize("strategy", [CondensedReplay, CondensedGDumb])
def test_strategies_learn_all_classes(strategy: Any) -> None:
    found = strategy(
        **common(train_epochs=30, evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[])),
        storage_policy=memory(16),
    )
    benchmark = old_kind()
    train(found, benchmark)
    accuracy = found.evaluator.get_last_metrics()["Top1_Acc_Stream/eval_phase/test_stream/Task000"]
    assert accuracy > 0.8


def test_gdumb_trains_on_the_memory_only() -> None:
    strategy, batches = recorded(CondensedGDumbPlugin(storage_policy=memory(8)))
    train(strategy, old_kind())
    assert batches.sizes == [8, 8]
    assert batches.labels[1] == set(range(CLASSES))


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_small_memory_is_in_every_batch(drop_last: bool) -> None:
    strategy, batches = recorded(CondensedReplayPlugin(storage_policy=memory(4), batch_size_mem=50))
    train(strategy, old_kind(), drop_last=drop_last)
    second = batches.sizes[len(batches.sizes) // 2 :]
    assert second == [12, 12, 12]
    assert all({0, 1} & labels for labels in batches.labels[3:])


def test_worker_processes_and_task_balanced_loaders() -> None:
    benchmark = old_kind(task_labels=True, class_ids_from_zero_in_each_exp=True)
    plugin = CondensedReplayPlugin(storage_policy=memory(8), task_balanced_dataloader=True)
    strategy, batches = recorded(plugin)
    train(strategy, benchmark, num_workers=1)
    assert batches.sizes
    assert {task for _, _, task in plugin.storage_policy.buffer} == {0, 1}


class Heads(MultiTaskModule):
    def __init__(self) -> None:
        super().__init__()
        self.flat, self.heads = nn.Flatten(), MultiHeadClassifier(64, 2)

    def forward(self, x: Tensor, task_labels: Tensor) -> Tensor:
        return self.heads(self.flat(x), task_labels)


def test_multi_head_and_growing_classifiers() -> None:
    tasks = old_kind(task_labels=True, class_ids_from_zero_in_each_exp=True)
    train(naive(CondensedReplayPlugin(storage_policy=memory(8)), Heads()), tasks)
    for plugin in (CondensedReplayPlugin, CondensedGDumbPlugin):
        model = nn.Sequential(nn.Flatten(), IncrementalClassifier(64, 2))
        train(naive(plugin(storage_policy=memory(8)), model), old_kind())


def _swapped(strategy: Any, owner: Any, **arguments: Any) -> Any:
    owner.storage_policy = memory(**arguments)
    return strategy


def _mir() -> Any:
    plugin = MIRPlugin(batch_size_mem=3, mem_size=9)
    return _swapped(naive(plugin), plugin)


def _er_ace() -> Any:
    found = ER_ACE(**common(), batch_size_mem=4, mem_size=9)
    return _swapped(found, found)


def _der() -> Any:
    found = DER(**common(), batch_size_mem=4, mem_size=9)
    return _swapped(found, found, logits=True)


def _er_aml(train_mb_size: int = 2) -> Any:
    model: Any = linear()
    arguments = common(model, train_mb_size=train_mb_size)
    found = ER_AML(**arguments, feature_extractor=model[:3], batch_size_mem=4, mem_size=9)
    return _swapped(found, found)


@pytest.mark.parametrize("make", [_mir, _er_ace, _er_aml, _der])
def test_strategies_work_with_the_memory_in_place_of_their_own(make: Any) -> None:
    strategy = make()
    train(strategy, old_kind())
    owners = [strategy, *strategy.plugins]
    policy = next(owner.storage_policy for owner in owners if hasattr(owner, "storage_policy"))
    assert isinstance(policy, CondensedBuffer)
    assert len(policy.buffer) == 9


@pytest.mark.timeout(60)
def test_er_aml_is_refused_where_it_would_loop_forever() -> None:
    first, second = old_kind().train_stream
    strategy = _er_aml(train_mb_size=3)
    strategy.train(first)
    with pytest.raises(ValueError, match=r"train_mb_size=3 .* keeps only 2 of class \d\. Use train_mb_size=2"):
        strategy.train(second)


def test_logits_are_those_of_the_model_at_the_update() -> None:
    strategy = _der()
    stream = old_kind().train_stream
    strategy.train(stream[0])
    item = strategy.storage_policy.buffer[0]
    assert len(item) == 4
    strategy.model.eval()
    with torch.no_grad():
        expected = strategy.model(item[0][None])[0]
    torch.testing.assert_close(item[3], expected, atol=2e-3, rtol=2e-3)
    blocks, values = 2 * 16, 9 * (64 + 2 * CLASSES)
    assert strategy.storage_policy.memory_bytes == blocks + values


class InputRecorder(nn.Module):
    """Records its latest inputs in training and in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.inputs = linear(), dict[bool, Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.inputs[self.training] = x.detach().clone()
        return self.inner(x)


def test_reduced_inputs_equal_stored_samples() -> None:
    stream = old_kind().train_stream
    kept = memory(24, recipe="random", factor=2)
    kept.update(SimpleNamespace(experience=stream[0]))
    reduce, samples = ReducedInputs(2).reduce_resolution, torch.stack([item[0] for item in stream[0].dataset])
    found = torch.stack([item[0] for item in kept.buffer])
    distances = torch.cdist(found.flatten(1), reduce(samples).flatten(1)).amin(1)
    assert len(found) == 24
    assert distances.max() < 0.1 < torch.cdist(found.flatten(1), samples.flatten(1)).amin(1).min()


@pytest.mark.parametrize("make", [_der, _er_ace])
def test_current_and_tested_samples_are_reduced_and_stored_ones_are_not(make: Any) -> None:
    strategy, plugin, model = make(), ReducedInputs(2), InputRecorder()
    strategy.model, strategy.plugins = model, [*strategy.plugins, plugin]
    strategy.storage_policy = memory(8, factor=2, logits=make is _der)
    strategy.optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    first, second = (benchmark := old_kind()).train_stream
    strategy.train(first)
    own = [item[0] for item in strategy.storage_policy.buffer]
    strategy.train(second)
    own += [item[0] for item in strategy.storage_policy.buffer]  # DER updates its memory afterwards
    raw = torch.stack([item[0] for item in second.dataset])
    known = torch.cat([torch.stack(own), plugin.reduce_resolution(raw)]).flatten(1)
    assert torch.cdist(model.inputs[True].flatten(1), known).amin(1).max() < 0.01
    strategy.eval(benchmark.test_stream)
    tested = torch.stack([item[0] for item in benchmark.test_stream[1].dataset])
    assert torch.cdist(model.inputs[False].flatten(1), plugin.reduce_resolution(tested).flatten(1)).amin(1).max() < 0.01


@pytest.mark.parametrize("plugin", [CondensedReplayPlugin, CondensedGDumbPlugin])
def test_reduced_inputs_refuse_batches_of_the_memory(plugin: Any) -> None:
    strategy = naive(plugin(storage_policy=memory(8, factor=2)))
    strategy.plugins = [*strategy.plugins, ReducedInputs(2)]
    with pytest.raises(ValueError, match=f"ReducedInputs with {plugin.__name__}.*train=False"):
        strategy.train(old_kind().train_stream[0])
    strategy.plugins[-1] = ReducedInputs(2, train=False)
    train(strategy, old_kind())


@pytest.mark.parametrize("factor", [1, 2.0, True])
def test_a_factor_that_reduces_nothing_is_refused(factor: Any) -> None:
    with pytest.raises(ValueError, match=f"ReducedInputs\\(factor={factor}\\) must be an integer of at least [12]"):
        ReducedInputs(factor)


def test_vectors_have_no_sides_to_reduce() -> None:
    with pytest.raises(ValueError, match=r"ReducedInputs.*vectors"):
        ReducedInputs(2).reduce_resolution(torch.zeros(3, 5))


def test_classifiers_by_class_means_read_the_memory() -> None:
    plugin = MemoryFeCAMUpdate(storage_policy=memory())
    for experience in old_kind().train_stream:
        plugin.storage_policy.update(type("Agent", (), {"experience": experience}))
    assert len(plugin.storage_policy.buffer.eval()) == 9


def _online(**arguments: Any) -> Any:
    return split_online_stream(old_kind().train_stream, experience_size=6, **arguments)


@pytest.fixture
def renamed_function_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Avalanche announces the new name of a function
        yield


def test_online_streams_condense_by_count(renamed_function_ignored: None) -> None:
    strategy = naive(CondensedReplayPlugin(storage_policy=memory(8, condense_on=12)))
    updates, sizes = [], []
    for experience in _online():
        strategy.train(experience)
        policy = strategy.plugins[0].storage_policy
        updates.append(policy.memory.updates)
        sizes.append(len(policy.buffer))
    assert updates == [0, 1, 1, 2, 2, 3, 3, 4]
    assert sizes == [6, *[8] * 7]


def test_online_streams_with_access_to_boundaries_condense_there(renamed_function_ignored: None) -> None:
    strategy = naive(CondensedReplayPlugin(storage_policy=memory(8, condense_on="task_boundary")))
    updates = []
    for experience in _online(access_task_boundaries=True):
        strategy.train(experience)
        updates.append(strategy.plugins[0].storage_policy.memory.updates)
    # the last part is not marked if parts divide a task evenly: the first part of the next task shows the boundary
    assert updates == [0, 0, 0, 0, 1, 1, 1, 1]
    policy = strategy.plugins[0].storage_policy
    policy.condense(strategy)
    assert (policy.memory.updates, policy.memory.num_staged, len(policy.buffer)) == (2, 0, 8)
    with pytest.raises(ValueError, match="access_task_boundaries"):
        memory(condense_on="task_boundary").post_adapt(None, next(iter(_online())))


class MetricRecorder(BaseLogger):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[Any]] = {}

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        self.values.setdefault(name, []).append(value)


def test_loggers_get_time_and_size() -> None:
    logger = MetricRecorder()
    strategy = naive(CondensedReplayPlugin(storage_policy=memory(8)), evaluator=EvaluationPlugin(loggers=[logger]))
    train(strategy, old_kind())
    assert logger.values["Memory/samples"] == [8, 8]
    assert logger.values["Memory/samples_per_class"] == [4, 2]
    assert logger.values["Memory/bytes"][-1] == strategy.plugins[0].storage_policy.memory_bytes
    assert all(seconds > 0 for seconds in logger.values["Memory/condensing_seconds"])


@pytest.fixture
def recursing() -> Iterator[None]:
    """The workaround of the README: dill pickles torch's optimizers by value, with all globals of their module."""
    before = dill.settings["recurse"]
    dill.settings["recurse"] = True
    yield
    dill.settings["recurse"] = before


def test_avalanches_checkpoints_contain_the_memory(recursing: None, tmp_path: Path) -> None:
    stream = old_kind().train_stream
    strategy = naive(CondensedReplayPlugin(storage_policy=memory(8)))
    strategy.train(stream[0])
    save_checkpoint(strategy, str(tmp_path / "checkpoint.pkl"))
    loaded, seen = maybe_load_checkpoint(naive(CondensedReplayPlugin()), str(tmp_path / "checkpoint.pkl"))
    assert seen == 1
    first, second = (found.plugins[0].storage_policy for found in (strategy, loaded))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first.buffer, second.buffer, strict=True))
    loaded.train(stream[1])
    assert len(second.buffer) == 8


def test_conflicting_sizes_are_refused() -> None:
    for plugin in (CondensedReplayPlugin, CondensedGDumbPlugin):
        with pytest.raises(ValueError, match="max_size=9"):
            plugin(8, storage_policy=memory(9))


def test_other_storage_policies_work_in_these_plugins() -> None:
    for plugin in (CondensedReplayPlugin, CondensedGDumbPlugin):
        train(naive(plugin(storage_policy=ClassBalancedBuffer(8))), old_kind())


def test_gdumb_works_on_new_benchmarks_where_avalanches_own_fails() -> None:
    train(naive(CondensedGDumbPlugin(storage_policy=memory(8)), linear()), new_kind())
