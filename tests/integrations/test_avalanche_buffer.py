"""CondensedBuffer without a strategy: sizes, bytes, formats, recurring classes, and no side effects."""

from __future__ import annotations

import gc
import math
import pickle
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.core import Agent
from avalanche_tools import KINDS, SHAPE, Samples, linear, old_kind, tiny
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from condensed_data import recipes
from condensed_data_avalanche import CondensedBuffer, ReducedInputs, condenser, fast


def buffer(size: int = 9, **arguments: Any) -> CondensedBuffer:
    return CondensedBuffer(size, **{"recipe": tiny(), **arguments})


def feed(memory: CondensedBuffer, benchmark: Any = None) -> CondensedBuffer:
    for experience in (benchmark or old_kind()).train_stream:
        memory.update(SimpleNamespace(experience=experience))
    return memory


def rows(memory: CondensedBuffer) -> Tensor:
    return torch.stack([item[0] for item in memory.buffer])


@pytest.mark.parametrize("kind", KINDS)
def test_items_have_the_format_of_the_benchmark(kind: str) -> None:
    benchmark = KINDS[kind]()
    memory = feed(buffer(), benchmark)
    theirs, ours = benchmark.train_stream[0].dataset[0], memory.buffer[0]
    assert len(ours) == len(theirs)
    assert [type(field) for field in ours] == [type(field) for field in theirs]
    assert ours[0].dtype == theirs[0].dtype
    assert ours[0].shape == theirs[0].shape
    assert not ours[0].requires_grad
    assert len(memory.buffer) == 9
    mixed = benchmark.train_stream[0].dataset.concat(memory.buffer)
    assert len(next(iter(DataLoader(mixed, batch_size=len(mixed))))) == len(theirs)


def test_the_size_is_exact_and_divided_evenly() -> None:
    memory, sizes = buffer(11), []
    for experience in old_kind().train_stream:
        memory.update(SimpleNamespace(experience=experience))
        sizes.append(memory.samples_per_class)
    assert sizes == [{0: 6, 1: 5}, {0: 3, 1: 3, 2: 3, 3: 2}]


def test_fixed_sizes_of_classes_do_not_depend_on_the_classes_seen() -> None:
    memory, sizes = buffer(11, adaptive_size=False, total_num_classes=4), []
    for experience in old_kind().train_stream:
        memory.update(SimpleNamespace(experience=experience))
        sizes.append(memory.samples_per_class)
    assert sizes == [{0: 3, 1: 3}, {0: 3, 1: 3, 2: 3, 3: 2}]


def test_samples_that_fit_are_all_kept() -> None:
    memory = feed(buffer(4 * 12, storage_dtype=torch.float32))
    kept = {tuple(sample.flatten().tolist()) for sample in rows(memory)}
    assert kept == {tuple(sample.flatten().tolist()) for sample, _ in Samples()}


def test_with_fewer_samples_than_classes_the_last_classes_get_none() -> None:
    memory = feed(buffer(3))
    assert memory.samples_per_class == {0: 1, 1: 1, 2: 1, 3: 0}
    assert len(memory.buffer_groups[3].buffer) == 0


def test_resize_merges_but_does_not_create_samples() -> None:
    memory = feed(buffer(12))
    memory.resize(None, 6)
    assert len(memory.buffer) == 6
    assert memory.max_size == 6
    memory.resize(None, 40)
    assert len(memory.buffer) == 6


def test_merged_samples_are_means() -> None:
    memory = feed(buffer(4 * 12, storage_dtype=torch.float32))
    memory.resize(None, 4)
    source = Samples()
    for sample, label, _ in memory.buffer:
        mean = torch.stack([x for x, y in source if y == label]).mean(0)
        torch.testing.assert_close(sample, mean)


def test_a_coreset_keeps_real_samples_as_it_shrinks() -> None:
    memory = feed(buffer(12, recipe="random", storage_dtype=torch.float32))
    memory.resize(None, 4)
    # standardized and back: equal up to rounding
    assert torch.cdist(rows(memory).flatten(1), Samples().samples.flatten(1)).amin(1).max() < 1e-2


def test_recurring_classes_are_condensed_together_with_kept_samples() -> None:
    memory = CondensedBuffer(4, recipe=fast(iterations=1, lr=1e-6), storage_dtype=torch.float32)
    for level in (0.0, 1.0):
        data = Samples()
        data.samples = torch.full_like(data.samples, level) + 0.01 * data.samples
        memory.update_from_dataset(data)
    # 12 samples at 0 and 12 at 1: one centroid of both halves lies between them
    assert rows(memory).mean().item() == pytest.approx(0.5, abs=0.05)
    assert {cell.seen for cell in memory.memory.cells.values()} == {24}


def test_a_coreset_of_recurring_classes_keeps_old_and_new_samples() -> None:
    memory = CondensedBuffer(16, recipe="random", storage_dtype=torch.float32)
    for level in (0.0, 1.0):
        data = Samples()
        data.samples = level + 0.01 * data.samples
        memory.update_from_dataset(data)
    assert (rows(memory) > 0.5).float().mean().item() == 0.5


def test_a_class_is_divided_over_its_tasks() -> None:
    benchmark = old_kind(task_labels=True, class_ids_from_zero_in_each_exp=True)
    memory = feed(buffer(9), benchmark)
    assert memory.samples_per_class == {0: 5, 1: 4}
    assert sorted((item[1], item[2]) for item in memory.buffer) == sorted(
        [(0, 0)] * 3 + [(0, 1)] * 2 + [(1, 0)] * 2 + [(1, 1)] * 2
    )
    assert set(memory.buffer.task_set) == {0, 1}


def test_real_fraction_keeps_real_samples_with_learned_ones() -> None:
    memory = feed(buffer(16, real_fraction=0.5, storage_dtype=torch.float32))
    real = {tuple(sample.flatten().tolist()) for sample, _ in Samples()}
    found = [tuple(sample.flatten().tolist()) in real for sample in rows(memory)]
    assert sum(found) == 8
    assert len(found) == 16


@pytest.mark.parametrize("shape", [(6,), (2, 16), (3, 9, 8)])
def test_every_shape_and_dtype(shape: tuple[int, ...]) -> None:
    net: Any = {1: "mlp"}.get(len(shape), NETS[len(shape)])
    for dtype in (torch.uint8, torch.float16, torch.float32):
        memory = buffer(recipe=recipes.dm(iterations=1, batch=4, network=net), storage_dtype=dtype)
        memory.update_from_dataset(Samples(shape))
        assert rows(memory).shape == (9, *shape)
        assert rows(memory).dtype == torch.float32
        assert -0.5 < rows(memory).mean() < 1.5


NETS = {1: "mlp", 2: "convnet1d-d2-w4", 3: "convnet-d2-w4"}


def test_small_samples_take_a_quarter_of_the_bytes() -> None:
    whole, small = feed(buffer(8)), feed(buffer(8, factor=2))
    blocks = 4 * (8 + 8)  # label and task; the affine map of one channel
    assert whole.memory_bytes == 8 * 64 + blocks
    assert small.memory_bytes == 8 * 16 + blocks
    assert rows(small).shape == rows(whole).shape


def test_a_budget_of_bytes_is_used_up_and_not_exceeded() -> None:
    memory = CondensedBuffer.from_bytes(600, SHAPE, factor=2, recipe=tiny())
    assert memory.max_size == (600 - 16) // 16
    for experience in old_kind().train_stream:
        memory.update(SimpleNamespace(experience=experience))
        assert memory.memory_bytes <= 600
    assert memory.memory_bytes > 600 - 16
    assert len(memory.buffer) == (600 - 4 * 16) // 16


def test_staged_samples_count_in_the_budget() -> None:
    memory = CondensedBuffer.from_bytes(3000, SHAPE, recipe=tiny(), condense_on=16)
    for first in range(0, 48, 4):
        memory.update_from_dataset(Part(Samples(), range(first, first + 4)))
        assert memory.memory_bytes <= 3000


class Part(Subset[Any]):
    @property
    def targets(self) -> list[int]:
        return [self.dataset.targets[index] for index in self.indices]


def test_staged_samples_fill_the_buffer_until_they_are_condensed() -> None:
    memory = buffer(8, condense_on=20)
    sizes = []
    for first in range(0, 24, 4):
        memory.update_from_dataset(Part(Samples(), range(first, first + 4)))
        sizes.append((len(memory.buffer), memory.memory.num_staged))
    assert sizes == [(4, 4), (8, 8), (8, 12), (8, 16), (8, 0), (8, 4)]
    memory.condense()
    assert memory.memory.num_staged == 0
    assert len(memory.buffer) == 8


def test_buffer_is_one_object_until_the_memory_changes() -> None:
    memory = feed(buffer())
    first = memory.buffer
    assert memory.buffer is first
    memory.resize(None, 5)
    assert memory.buffer is not first


def test_samples_cannot_be_changed_from_outside() -> None:
    memory = feed(buffer())
    memory.buffer[0][0].zero_()
    assert memory.buffer[0][0].abs().sum() > 0


def test_buffer_transform_applies_to_training_only() -> None:
    memory = feed(buffer(buffer_transform=torch.zeros_like))
    assert rows(memory).abs().sum() == 0
    assert memory.buffer.eval()[0][0].abs().sum() > 0


@pytest.mark.parametrize("agent", [None, MagicMock(), SimpleNamespace(), Agent()])
def test_any_agent_works(agent: Any) -> None:
    memory, experience = buffer(), old_kind().train_stream[0]
    if isinstance(agent, Agent):
        agent.memory = memory
        agent.post_adapt(experience)
    else:
        memory.post_adapt(agent, experience)
    assert len(memory.buffer) == 9


def test_model_and_global_random_states_stay_unchanged(untouched_rng: None) -> None:
    model = linear()
    model.train()
    model[1].eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    experience = old_kind().train_stream[0]
    agent = SimpleNamespace(model=model, experience=experience)
    with torch.no_grad():
        buffer(logits=True).update(agent)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())
    assert all(weight.grad is None for weight in model.parameters())
    assert [module.training for module in model] == [True, False, True, True]


def test_the_same_seed_gives_the_same_memory() -> None:
    found = [rows(feed(buffer(seed=seed))) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_source_is_released_and_pickles_are_small() -> None:
    class Large(Samples):
        def __init__(self) -> None:
            super().__init__((1, 28, 28))

    data = Large()
    known = weakref.ref(data)
    memory = buffer(48)
    memory.update_from_dataset(data)
    _ = memory.buffer
    del data
    gc.collect()
    assert known() is None
    assert len(pickle.dumps(memory)) < 200_000
    assert torch.equal(rows(pickle.loads(pickle.dumps(memory))), rows(memory))  # noqa: S301


def test_a_loaded_state_continues_without_the_raw_data() -> None:
    first = buffer(12)
    stream = old_kind().train_stream
    first.update(SimpleNamespace(experience=stream[0]))
    second = buffer(12)
    second.load_state_dict(first.state_dict())
    for memory in (first, second):
        memory.update(SimpleNamespace(experience=stream[1]))
    assert torch.equal(rows(first), rows(second))
    with pytest.raises(ValueError, match="factor"):
        buffer(12, factor=2).load_state_dict(first.state_dict())


def test_files_hold_arguments_and_recipe(tmp_path: Path) -> None:
    memory = feed(buffer(10, factor=2, real_fraction=0.25, seed=3))
    memory.save(tmp_path / "memory.pt")
    loaded = CondensedBuffer.load(tmp_path / "memory.pt")
    assert torch.equal(rows(loaded), rows(memory))
    assert loaded.memory.settings == memory.memory.settings
    assert loaded.memory_bytes == memory.memory_bytes
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no CondensedBuffer"):
        CondensedBuffer.load(tmp_path / "other.pt")


def test_it_becomes_a_condensed_dataset(tmp_path: Path) -> None:
    memory = feed(buffer(10))
    condensed = memory.to_condensed_dataset()
    assert torch.equal(condensed.images, rows(memory))
    assert condensed.targets == list(memory.buffer.targets)
    condensed.save(tmp_path / "set")
    assert len(type(condensed).load(tmp_path / "set")) == 10
    with pytest.raises(ValueError, match="empty"):
        buffer().to_condensed_dataset()


def test_recipes_that_read_labels_use_kept_classes_too() -> None:
    recipe = recipes.dc(iterations=1, batch=4, network=tiny().terms[0].pool.network)
    memory = CondensedBuffer(6, recipe=recipe)
    data = Samples(classes=2)
    memory.update_from_dataset(data)
    single = Samples(classes=3)
    memory.update_from_dataset(Part(single, range(24, 36)))
    assert memory.samples_per_class == {0: 2, 1: 2, 2: 2}
    with pytest.raises(ValueError, match="compares classes with each other, but there is only one"):
        CondensedBuffer(6, recipe=recipe).update_from_dataset(Part(single, range(12)))


def test_recipes_by_name_get_few_iterations_and_recipe_objects_keep_theirs() -> None:
    assert CondensedBuffer(5, recipe="dm").memory.settings.recipe.iterations == fast().iterations
    assert CondensedBuffer(5, recipe=tiny(7)).memory.settings.recipe.iterations == 7


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"max_size": 0}, "max_size"),
        ({"adaptive_size": False}, "total_num_classes"),
        ({"total_num_classes": 4}, "adaptive_size"),
        ({"factor": 0}, "factor"),
        ({"storage_dtype": torch.int64}, "storage_dtype"),
        ({"condense_on": "sometimes"}, "condense_on"),
        ({"real_fraction": 2}, "real_fraction"),
        ({"seed": -1}, "seed"),
        ({"recipe": "unknown"}, "Unknown recipe"),
        ({"recipe": "dd"}, "one order"),
        ({"recipe": recipes.dc().set(soft_labels=True)}, "soft labels"),
        ({"recipe": recipes.frepo()}, "soft labels"),
        ({"recipe": "haba", "factor": 2}, "factor=2"),
    ],
)
def test_arguments_are_refused_by_name(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        CondensedBuffer(**{"max_size": 9, **arguments})


@pytest.mark.parametrize(
    ("budget", "arguments", "names"),
    [
        (10, {}, "memory_bytes=10"),
        (9_000, {"condense_on": "task_boundary"}, "task_boundary"),
        (9_000, {"condense_on": 1_000}, "condense_on"),
        (9_000, {"logits": True}, "logits"),
    ],
)
def test_budgets_that_cannot_be_guaranteed_are_refused(budget: int, arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        CondensedBuffer.from_bytes(budget, SHAPE, **arguments)


class Odd(Samples):
    def __init__(self, item: Any) -> None:
        super().__init__()
        self.item = item

    def __getitem__(self, index: int) -> Any:
        return self.item


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ({"x": 1, "y": 2}, "dictionaries"),
        (3, "int"),
        (("text", 0), "not a tensor"),
        ((torch.zeros(3), 0, 0, 0), "4 fields"),
        ((torch.zeros(3), 0), "of shape"),
    ],
)
def test_unsupported_items_are_refused(item: Any, names: str) -> None:
    memory = buffer()
    memory.update_from_dataset(Samples())
    before = rows(memory)
    with pytest.raises(ValueError, match=names):
        memory.update_from_dataset(Odd(item))
    assert torch.equal(rows(memory), before)


def test_random_samples_are_refused() -> None:
    class Noisy(Samples):
        def __getitem__(self, index: int) -> Any:
            sample, label = super().__getitem__(index)
            return sample + torch.rand(()), label

    with pytest.raises(ValueError, match=r"Sample \d+ of the experience differs between two reads"):
        buffer().update_from_dataset(Noisy())


def test_more_classes_than_total_num_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="total_num_classes=2"):
        buffer(4, adaptive_size=False, total_num_classes=2).update_from_dataset(Samples())


def test_buffers_of_classes_are_avalanche_datasets() -> None:
    memory = feed(buffer())
    assert isinstance(memory.buffer, AvalancheDataset)
    assert all(len(set(data.targets)) == 1 for data in memory.buffer_datasets)
    with pytest.raises(AttributeError, match="update_from_dataset"):
        memory.buffer = memory.buffer


def test_with_reduced_inputs_samples_are_condensed_at_stored_size(tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []

    def network(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        shapes.append(sample_shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(sample_shape), num_classes))

    recipe = recipes.dm(iterations=2, batch=4, network=network)
    kept = feed(buffer(8, factor=2, reduced_inputs=True, recipe=recipe))
    assert set(shapes) == {(1, 4, 4)}
    assert {tuple(item[0].shape) for item in kept.buffer} == {SHAPE}
    kept.save(tmp_path / "memory")
    again = CondensedBuffer.load(tmp_path / "memory", recipe=recipe)
    assert again.reduced_inputs
    assert torch.equal(rows(again), rows(kept))


def test_stored_real_samples_equal_reduced_inputs() -> None:
    stream = old_kind().train_stream
    kept = buffer(24, factor=2, reduced_inputs=True, recipe="random", storage_dtype=torch.float32)
    kept.update(SimpleNamespace(experience=stream[0]))
    seen = ReducedInputs(2).reduce_resolution(torch.stack([item[0] for item in stream[0].dataset])).flatten(1)
    assert len(kept.buffer) == len(seen) == 24
    torch.testing.assert_close(rows(kept).flatten(1).sort(0).values, seen.sort(0).values)


def test_samples_kept_at_stored_size_are_condensed_again_without_enlarging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[list[Tensor]] = []

    def condense(sources: Any, *arguments: Any) -> Any:
        given.append(sources)
        return condenser.condense(sources, *arguments)

    monkeypatch.setattr("condensed_data_avalanche.memory.condense", condense)
    first = old_kind().train_stream[0]
    kept = buffer(8, factor=2, reduced_inputs=True)
    for _ in range(2):
        before = [cell.kept.dequantize() for cell in kept.memory.cells.values() if cell.kept is not None]
        kept.update(SimpleNamespace(experience=first))
    for own, source in zip(before, given[-1], strict=True):
        assert len(own) == 4
        assert torch.equal(source[: len(own)], own)


def test_reduced_inputs_get_more_iterations() -> None:
    assert buffer(factor=2, recipe=None).memory.settings.recipe.iterations == 150
    assert buffer(factor=2, recipe=None, reduced_inputs=True).memory.settings.recipe.iterations == 1000
    assert buffer(factor=2, recipe="dm", reduced_inputs=True).memory.settings.recipe.iterations == 1000


def test_reduced_inputs_need_a_factor() -> None:
    with pytest.raises(ValueError, match="reduced_inputs=True needs a factor above 1"):
        buffer(reduced_inputs=True)
