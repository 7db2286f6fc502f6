"""Our own settings hold inside a door, in every thread and worker, and the caller's are restored on every way out."""

from __future__ import annotations

import copy
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caller_settings import SETTINGS, foreign_worker, record, settings
from sources import ListDataset
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from condensed_data import CondensedDataset, NamedCallable, Recipe, SourceError, recipes
from condensed_data.core.torch_settings import doors, own_settings
from condensed_data.training.protocol import Training

NET = "convnet-d1-w4"
QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "precision": "fp32"}
EVERYTHING = (
    *("autocast to bfloat16", "inference_mode", "hooks that halve saved tensors", "default dtype float64"),
    *("deterministic algorithms", "matmul precision medium", "no oneDNN", "anomaly mode", "NumPy that raises"),
    *("flushed subnormals", "default device", "mode of functions"),
)


def dm() -> Recipe:
    return recipes.dm(ipc=2, iterations=2, batch=8, network=NET)


class DefaultDtype(Dataset[Any]):
    """Samples that are made in the default dtype and on the default device."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([index % 2, index / 40, (index * 7 % 11) / 11]), index % 2


class Interrupted(DefaultDtype):
    """Stops the program while it is read."""

    def __getitem__(self, index: int) -> Any:
        if index > 20:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_inside_a_door_our_settings_hold() -> None:
    with own_settings():
        own = record()
    for name in SETTINGS:
        with settings(name), own_settings():
            found = record()
        assert {key: value for key, value in found.items() if value != own[key]} == {}, name


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_the_callers_settings_are_restored_after_an_error(error: type[BaseException]) -> None:
    @own_settings()
    def fail() -> None:
        torch.set_default_dtype(torch.float16)  # by code of the caller's that we call
        np.seterr(all="print")
        raise error

    with settings(*EVERYTHING):
        before = record()
        with pytest.raises(error):
            fail()
        assert record() == before


def test_doors_that_raise_restore_the_settings(tmp_path: Path) -> None:
    items = [(torch.rand(3), label) for label in (0, 1)] * 20
    good = CondensedDataset(ListDataset(items), recipes.random(ipc=1), cache=False, **QUIET)
    attempts: list[tuple[type[BaseException], Callable[[], Any]]] = [
        (SourceError, lambda: CondensedDataset([], dm(), cache=False, **QUIET)),
        (KeyboardInterrupt, lambda: CondensedDataset(Interrupted(), "random", ipc=1, cache=False, **QUIET)),
        (ValueError, lambda: CondensedDataset(DefaultDtype(), "no such recipe")),
        (ValueError, lambda: CondensedDataset.from_result(good.result, soft=True)),
        (ValueError, lambda: CondensedDataset.load(tmp_path / "nothing")),
        (ValueError, lambda: good.evaluate(items, network="no such network", **QUIET)),
        (SourceError, lambda: good.standardized("test", [])),
        (ValueError, lambda: good.to_ddranking()),
    ]
    with settings(*EVERYTHING):
        before = record()
        for error, attempt in attempts:
            with pytest.raises(error):
                attempt()
            assert record() == before


def test_a_callback_may_change_settings_and_enter_again() -> None:
    small = CondensedDataset(DefaultDtype(), recipes.random(ipc=2), cache=False, **QUIET)
    expected = small.standardized("test", DefaultDtype())[0]
    with own_settings():
        torch.set_default_dtype(torch.float64)
        with torch.autocast("cpu", torch.bfloat16):
            before = record()
            assert torch.equal(small.standardized("test", DefaultDtype())[0], expected)
            assert record() == before
    assert torch.get_default_dtype() == torch.float32


def test_threads_share_the_settings_of_the_process() -> None:
    entered, may_leave = threading.Event(), threading.Event()
    seen: list[torch.dtype] = []

    def other() -> None:
        with own_settings():
            entered.set()
            may_leave.wait(60)
            seen.append(torch.get_default_dtype())

    thread = threading.Thread(target=other)
    with settings("default dtype float64", "deterministic algorithms"):
        before = record()
        with own_settings():  # the first that enters, and the first that leaves
            thread.start()
            assert entered.wait(60)
        assert torch.get_default_dtype() == torch.float32
        with own_settings():
            assert torch.get_default_dtype() == torch.float32
        may_leave.set()
        thread.join()
        assert seen == [torch.float32]
        assert record() == before


def test_many_threads_leave_the_callers_settings() -> None:
    def work() -> None:
        for _ in range(50):
            with own_settings():
                wrong.extend({torch.get_default_dtype(), torch.tensor(1.0).dtype} - {torch.float32})

    wrong: list[torch.dtype] = []
    with settings("default dtype float64", "no oneDNN"):
        before = record()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert record() == before
    assert not wrong


def test_public_methods_are_doors_and_properties_are_not() -> None:
    @doors
    class Example:
        def __init__(self) -> None:
            self.made = torch.get_default_dtype()

        def method(self) -> torch.dtype:
            return torch.get_default_dtype()

        @classmethod
        def of_the_class(cls) -> tuple[str, torch.dtype]:
            return cls.__name__, torch.get_default_dtype()

        @staticmethod
        def static() -> torch.dtype:
            return torch.get_default_dtype()

        @property
        def value(self) -> torch.dtype:
            return torch.get_default_dtype()

        def _private(self) -> torch.dtype:
            return torch.get_default_dtype()

    with settings("default dtype float64"):
        example = Example()
        assert {example.made, example.method(), example.static()} == {torch.float32}
        assert Example.of_the_class() == ("Example", torch.float32)
        assert {example.value, example._private()} == {torch.float64}


def test_what_the_cache_keeps_does_not_depend_on_the_settings(tmp_path: Path) -> None:
    source = TensorDataset(torch.rand(24, 1, 8, 8), torch.arange(24) % 2)
    plain = CondensedDataset(source, dm(), cache=False, **QUIET)
    with settings("autocast to bfloat16", "default dtype float64"):
        built = CondensedDataset(source, dm(), cache=tmp_path, **QUIET)
    loaded = CondensedDataset(source, dm(), cache=tmp_path, **QUIET)
    assert torch.equal(built.images, plain.images)
    assert torch.equal(loaded.images, plain.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_made_in_our_settings(workers: int) -> None:
    plain = CondensedDataset(DefaultDtype(), recipes.random(ipc=2), cache=False, **QUIET)
    with settings("default dtype float64", "default device", "no_grad", "NumPy that raises"):
        found = CondensedDataset(DefaultDtype(), recipes.random(ipc=2), cache=False, num_workers=workers, **QUIET)
    assert found.metadata.kind == plain.metadata.kind
    assert torch.equal(found.images, plain.images)


def test_workers_of_an_executor_compute_in_our_settings() -> None:
    source = TensorDataset(torch.rand(24, 1, 8, 8), torch.arange(24) % 2)
    recipe = recipes.mtt(ipc=1, iterations=1, network=NET, experts=1, epochs=2, ahead=1)
    plain = CondensedDataset(source, recipe, cache=False, **QUIET)
    how: dict[str, Any] = {"network": "mlp", "runs": 2, "training": Training(name="short", epochs=2, batch_size=2)}
    expected = plain.evaluate(source, **how, **QUIET)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=foreign_worker) as pool:
        built = CondensedDataset(source, recipe, cache=False, executor=pool, **QUIET)
        found = built.evaluate(source, executor=pool, **how, **QUIET)
    assert torch.equal(built.images, plain.images)
    assert found == expected


def test_a_worker_stays_in_our_settings_until_it_ends() -> None:
    code = """
        import torch
        from condensed_data.core.torch_settings import enter_for_good
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        enter_for_good(0)
        import gc; gc.collect()
        print(torch.zeros(1).dtype, torch.zeros(1).device)
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["torch.float32", "cpu"], "")


class Attention(nn.Module):
    """A network of the caller's with attention over the rows of (1, 8, 8) images."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x[:, 0]).flatten(1))


@pytest.mark.parametrize(
    "setting", ["no flash attention", "no attention by math", "no fast path of attention", "math alone"]
)
def test_attention_is_computed_as_in_a_plain_program(setting: str) -> None:
    source = TensorDataset(torch.rand(24, 1, 8, 8), torch.arange(24) % 2)
    module = Attention().eval()
    recipe = recipes.dm(
        ipc=1, iterations=1, batch=8, network=NamedCallable("attention", lambda *shape: copy.deepcopy(module))
    )
    plain = CondensedDataset(source, recipe, cache=False, **QUIET)
    math_alone = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with math_alone if setting == "math alone" else settings(setting):
        before = record()
        found = CondensedDataset(source, recipe, cache=False, **QUIET)
        assert record() == before
    assert torch.equal(found.images, plain.images)
