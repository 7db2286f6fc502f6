"""The cache, checkpoints, resumed runs and corrupt files: nothing is computed twice and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import condense_tensors, recipes
from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.spec import NamedCallable
from condensed_data.dataset import CondensedDataset
from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.engine.divergence import DivergedError
from condensed_data.methods.base import Objective
from condensed_data.methods.recipe import Recipe, Term
from condensed_data.networks import ConvNet
from condensed_data.storage import checkpoint
from condensed_data.storage.cache import Cache

Make = Callable[..., CondensedDataset]


def small(iterations: int = 4, ipc: int = 2, **options: Any) -> Recipe:
    return recipes.dm(ipc=ipc, iterations=iterations, batch=8, network=ConvNet(width=8, depth=2), **options)


class Counter(Callback):
    """Counts the iterations that were computed, and can raise an error after one."""

    def __init__(self, stop: int | None = None, error: type[BaseException] = RuntimeError) -> None:
        self.iterations, self.stop, self.error = 0, stop, error

    def on_iteration(self, progress: Progress) -> None:
        self.iterations += 1
        if progress.iteration == self.stop:
            raise self.error("stop")


@pytest.fixture
def make(tiny_images: TensorDataset, tmp_path: Path) -> Make:
    def build(recipe: Any = None, source: Any = tiny_images, **options: Any) -> CondensedDataset:
        chosen = {
            "cache": tmp_path / "cache",
            "progress": False,
            "device": "cpu",
            "precision": "fp32",
        } | options
        return CondensedDataset(source, small() if recipe is None else recipe, **chosen)

    return build


def test_the_second_build_is_loaded(make: Make) -> None:
    first, counter = make(), Counter()
    second = make(callbacks=[counter])
    assert counter.iterations == 0
    assert torch.equal(first.images, second.images)
    assert first.metadata.to_manifest() == second.metadata.to_manifest()


def test_the_source_is_not_read_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    monkeypatch.setattr("condensed_data.engine.builder.RealData.read", lambda *_, **__: pytest.fail("read"))
    make()


def _changed_pixel(source: TensorDataset) -> dict[str, Any]:
    images = source.tensors[0].clone()
    images[3, 0, 2, 2] += 0.1
    return {"source": TensorDataset(images, source.tensors[1])}


def _changed_label(source: TensorDataset) -> dict[str, Any]:
    labels = source.tensors[1].clone()
    labels[0] = (labels[0] + 1) % 3
    return {"source": TensorDataset(source.tensors[0], labels)}


CHANGES: dict[str, Callable[[TensorDataset], dict[str, Any]]] = {
    "pixel": _changed_pixel,
    "label": _changed_label,
    "seed": lambda _: {"seed": 1},
    "groups": lambda source: {"groups": [i % 2 for i in range(len(source))]},
    "ipc": lambda _: {"recipe": small(ipc=3)},
    "field": lambda _: {"recipe": small(lr=0.5)},
    "iterations": lambda _: {"recipe": small(iterations=5)},
    "precision": lambda _: {"precision": "bf16"},
    "fingerprint": lambda _: {"fingerprint": "mine"},
    "force": lambda _: {"force": True},
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_affect_the_result_miss_the_cache(make: Make, tiny_images: TensorDataset, change: str) -> None:
    make()
    counter = Counter()
    make(**CHANGES[change](tiny_images), callbacks=[counter])
    assert counter.iterations > 0


def test_a_new_version_of_a_part_misses_the_cache(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    counter = Counter()
    monkeypatch.setattr("condensed_data.methods.objectives.Distribution.version", 99)
    make(callbacks=[counter])
    assert counter.iterations == 4


def test_changes_that_do_not_affect_the_result_hit_the_cache(make: Make) -> None:
    make()
    counter = Counter()
    make(callbacks=[counter], num_workers=1, transform=lambda x: x, memory=10**9)
    assert counter.iterations == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_resumes_to_the_same_bits(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    whole = make(cache=False)
    monkeypatch.setenv("CONDENSED_DATA_CHECKPOINT_SECONDS", "0")
    with pytest.raises(error):
        make(callbacks=[Counter(2, error)])
    counter = Counter()
    resumed = make(callbacks=[counter])
    assert counter.iterations in (2, 3)  # the checkpoint of the iteration that failed may not be written yet
    assert torch.equal(resumed.images, whole.images)


def test_ctrl_c_stops_after_the_iteration_and_saves(make: Make) -> None:
    class Press(Counter):
        def on_iteration(self, progress: Progress) -> None:
            super().on_iteration(progress)
            if progress.iteration == 1:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="Run the same command again"):
        make(callbacks=[Press()])
    assert signal.getsignal(signal.SIGINT) is before
    counter = Counter()
    assert torch.equal(make(callbacks=[counter]).images, make(cache=False).images)
    assert counter.iterations < 4


def test_a_finished_run_resumes_for_more_iterations(make: Make) -> None:
    make(small(iterations=4))
    counter = Counter()
    longer = make(small(iterations=6), callbacks=[counter])
    assert counter.iterations == 2
    assert torch.equal(longer.images, make(small(iterations=6), cache=False).images)


def test_a_corrupt_entry_is_moved_aside_and_rebuilt(make: Make, tmp_path: Path) -> None:
    first = make()
    (entry,) = Cache(tmp_path / "cache").entries()
    file = entry.path / "condensed.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    with pytest.warns(UserWarning, match="A cached dataset cannot be read and is condensed again"):
        again = make()
    assert torch.equal(first.images, again.images)
    assert len(list((tmp_path / "cache" / "corrupt").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 100])
def test_a_corrupt_checkpoint_is_refused_with_a_warning(make: Make, tmp_path: Path, damage: bytes) -> None:
    make()
    (path,) = (tmp_path / "cache" / "builds").glob("*/checkpoint-*.safetensors")
    path.write_bytes(damage)
    with pytest.warns(UserWarning, match="cannot be read"):
        longer = make(small(iterations=6))
    assert torch.equal(longer.images, make(small(iterations=6), cache=False).images)


def test_a_checkpoint_of_another_number_of_threads_waits_for_it(make: Make, tmp_path: Path) -> None:
    before = make()
    folder = tmp_path / "cache" / "builds"
    (mine,) = folder.glob("*/checkpoint-*.safetensors")
    theirs = mine.rename(mine.with_name("checkpoint-torch-1.0-threads-7.safetensors"))
    counter = Counter()
    with pytest.warns(UserWarning, match=r"starts from the beginning.*there is only checkpoint-torch-1.0-threads-7"):
        make(small(iterations=5), callbacks=[counter])
    assert counter.iterations == 5
    theirs.replace(mine)
    counter = Counter()
    make(small(iterations=6), callbacks=[counter])
    assert counter.iterations == 2
    assert torch.equal(make().images, before.images)  # the number of threads is no part of the key


def test_a_checkpoint_that_was_renamed_by_hand_is_refused(make: Make, tmp_path: Path) -> None:
    make()
    (path,) = (tmp_path / "cache" / "builds").glob("*/checkpoint-*.safetensors")
    checkpoint.write(path, checkpoint.read(path, {}), {"lineage": path.parent.name, "torch": "1.0"})
    counter = Counter()
    with pytest.warns(UserWarning, match="another run: its torch is '1.0'"):
        make(small(iterations=5), callbacks=[counter])
    assert counter.iterations == 5
    assert path.with_suffix(".refused").is_file()


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_a_checkpoint_is_noticed(make: Make, tmp_path: Path, seed: int) -> None:
    make()
    (path,) = (tmp_path / "cache" / "builds").glob("*/checkpoint-*.safetensors")
    whole, identity = path.read_bytes(), {"lineage": path.parent.name}
    state = checkpoint.read(path, identity)
    draw = random.Random(seed)
    header = 8 + int.from_bytes(whole[:8], "little")
    for position in [*draw.sample(range(header), 60), *draw.sample(range(header, len(whole)), 60), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.CheckpointError, match="cannot be read"):
            checkpoint.read(path, identity)
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"checksum does not match.*starts from the beginning"):
        longer = make(small(iterations=6))
    assert torch.equal(longer.images, make(small(iterations=6), cache=False).images)
    path.write_bytes(whole)
    assert state["iteration"] == checkpoint.read(path, identity)["iteration"] == 4


def test_a_recipe_with_an_unnamed_callable_is_not_cached(make: Make, tmp_path: Path) -> None:
    def mine(num_classes: int, shape: tuple[int, ...]) -> Any:
        return ConvNet(width=4, depth=1)(num_classes, shape)

    recipe = recipes.dm(ipc=1, iterations=2, batch=8, network=mine)
    with pytest.warns(UserWarning, match="will not be cached.*Named"):
        made = make(recipe)
    assert made.metadata.recipe is None
    assert Cache(tmp_path / "cache").entries() == []
    counter = Counter()
    make(recipes.dm(ipc=1, iterations=2, batch=8, network=NamedCallable("mine", mine)))
    make(recipes.dm(ipc=1, iterations=2, batch=8, network=NamedCallable("mine", mine)), callbacks=[counter])
    assert counter.iterations == 0


def test_a_cache_that_cannot_be_written_only_causes_a_warning(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be written"):
        made = make(cache=tmp_path / "file" / "cache")
    assert torch.equal(made.images, make(cache=False).images)


class Exploding(Objective):
    """Finite for two iterations, then NaN."""

    calls = 0

    def __call__(self, net: NetworkView, pair: Pair) -> torch.Tensor:
        type(self).calls += 1
        factor = float("nan") if type(self).calls > 2 else 1.0
        return pair.synthetic.x.square().sum() * factor


def test_divergence_keeps_the_last_good_state(make: Make) -> None:
    base = small()
    term: Term = base.terms[0]
    recipe = base.set(terms=(Term(Exploding(), term.pool, term.sampler, term.augment),))
    with pytest.raises(DivergedError, match=r"learning rate.*iteration 2") as caught:
        make(recipe, cache=False)
    assert torch.isfinite(caught.value.condensed.images).all()
    assert caught.value.condensed.metadata.iterations == 2


def test_eviction_and_clearing(make: Make, tmp_path: Path) -> None:
    for seed in range(3):
        make(seed=seed)
    cache = Cache(tmp_path / "cache")
    entries = cache.entries()
    os.utime(entries[1].path, (1, 1))
    Cache(cache.root, max_bytes=sum(entry.size for entry in entries) - 1).evict()
    assert {entry.key for entry in cache.entries()} == {entries[0].key, entries[2].key}
    assert cache.clear(entries[0].key) == 1
    assert cache.clear() == 1
    assert cache.entries() == []


def test_tensors_in_tensors_out(tiny_images: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDENSED_DATA_CACHE", str(tmp_path))
    images, labels = condense_tensors(*tiny_images.tensors, small(), device="cpu", precision="fp32")
    made = CondensedDataset(tiny_images, small(), cache=False, progress=False, device="cpu", precision="fp32")
    assert torch.equal(images, made.images)
    assert labels.tolist() == made.targets
    assert list(tmp_path.iterdir()) == []
