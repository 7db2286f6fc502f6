"""The naive loops agree with the package, and the benchmark that compares their times runs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_device import DEVICE, DeviceTensor, simulated, to_cpu
from torch import Tensor, nn

from condensed_data import recipes
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.synthetic import LowResolution
from condensed_data.training.context import Context

FOLDER = Path(__file__).parent
TINY = "network=convnet-d2-w8, batch=8"
CPU = torch.device("cpu")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The files beside `iteration.py` by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in ("measuring", "naive", "iteration", "table_parts")}


@pytest.fixture
def real(tiny_images: torch.utils.data.TensorDataset) -> RealData:
    return RealData.read(inspect(tiny_images), progress=False)


@pytest.fixture
def grouped(tiny_images: torch.utils.data.TensorDataset) -> RealData:
    """Every class in two groups."""
    return RealData.read(inspect(tiny_images), [row % 2 for row in range(len(tiny_images))], progress=False)


def _run(
    modules: dict[str, Any],
    real: RealData,
    text: str,
    ipc: int = 2,
    device: torch.device = CPU,
    **fields: str,
) -> CondensationRun:
    recipe = modules["table_parts"].recipe_of(text, ipc, fields, 5).resolve(real.sample_shape, [""] * 3)
    return CondensationRun(recipe, Context(real.to(device), ipc, RandomStreams(3), device, "fp32", compiles=False))


ONCE = "Pretraining(epochs=1, networks=1)"
CONTRAST = "hallucinators=2, contrast=100"  # so large that its gradient matters
STUDENT = "network=convnet-d2-w8, steps=3, batch=4, experts=1, epochs=2, ahead=1"
LEARNED = [name for name in recipes.names() if recipes.get(name, ipc=2).terms]
TEXTS = {f"iid_{base}": f"iid(base={base}, {TINY}, extractor=convnet-d1-w8, pretrain={ONCE})" for base in ("dm", "idm")}
TEXTS["dance"] = f"dance({TINY}, pretrain={ONCE})"
TEXTS["ncfm"] = f"ncfm({TINY}, pretrain={ONCE})"
TEXTS["ncfm_normal"] = f"ncfm({TINY}, pretrain={ONCE}, sampling_lr=0)"
TEXTS["mtt"] = f"mtt({STUDENT})"
TEXTS["dd"] = "dd(network=convnet-d2-w8, epochs=2, batch=16)"
TEXTS["dd_nets"] = "dd(network=convnet-d2-w8, steps=1, batch=16, n_nets=2, relabel=((0, 1),))"
TEXTS |= {f"haba_{base}": f"haba(base={base}, {TINY}, {CONTRAST})" for base in ("dm", "idc")}
TEXTS["haba_mtt"] = f"haba(base=mtt, {STUDENT}, hallucinators=2)"
TEXTS |= {f"fred_{base}": f"fred(base={base}, {TINY})" for base in ("dm", "idm")}
TEXTS["kfs"] = f"kfs({TINY}, width=4, fit=2)"
TEXTS["bdm"] = f"bdm({TINY}, k=2, features=raw)"
TEXTS["bdm_published"] = "bdm_published(network=convnet-d2-w8-bn, batch=8, features=raw)"
TEXTS |= {f"debiased_{base}": f"debiased(base={base}, {TINY})" for base in ("dc", "cafe")}
# all others need no arguments of their own
_NAMED = {text.partition("(")[0] for text in TEXTS.values()}
TEXTS |= {name: f"{name}({TINY})" for name in LEARNED if name not in _NAMED}
TEXTS["dream"] = f"idc({TINY}, within=NearestToCentroids(features=raw))"
# with the cells below, every part of the naive loops
ON_DEVICE = ["idm", "cafe", "iid_dm", "ncfm", "dd_nets", "haba_dm", "fred_dm"]
BUDGETS = {"haba": 6}  # samples per class, enough to hold the hallucinators


@pytest.mark.parametrize("name", TEXTS)
def test_naive_iterations_are_those_of_the_package(
    modules: dict[str, Any], real: RealData, grouped: RealData, name: str
) -> None:
    kind = name.partition("_")[0]
    source, ipc = grouped if kind == "debiased" else real, BUDGETS.get(kind, 2)
    known = (*modules["naive"].KNOWN, modules["naive"].Trajectory, modules["naive"].Unrolled)
    if all(isinstance(term.objective, known) for term in recipes.parse(TEXTS[name], ipc=2).terms):
        _check_iterations(modules, source, TEXTS[name], ipc)
    else:  # a naive loop is optional, and a recipe without one is refused
        with pytest.raises(ValueError, match="no naive loop"):
            modules["naive"].Naive(_run(modules, source, TEXTS[name], ipc))


@pytest.mark.parametrize("name", ON_DEVICE)
def test_naive_iterations_compute_on_the_device(modules: dict[str, Any], real: RealData, name: str) -> None:
    with simulated() as waits:
        learned = _check_iterations(modules, real, TEXTS[name], BUDGETS.get(name.partition("_")[0], 2), DEVICE)
        assert all(isinstance(tensor, DeviceTensor) for tensor in learned.values())
        assert waits  # allowed in a naive loop


def test_cells_of_sides_that_the_factor_does_not_divide(
    modules: dict[str, Any], tiny_images: torch.utils.data.TensorDataset
) -> None:
    images, labels = tiny_images.tensors
    cropped = torch.utils.data.TensorDataset(images[:, :, :10, :11], labels)
    source, text = RealData.read(inspect(cropped), progress=False), f"idc({TINY}, factor=3)"
    _check_iterations(modules, source, text, 2)
    with simulated():
        _check_iterations(modules, source, text, 2, DEVICE)


def _check_iterations(
    modules: dict[str, Any], source: RealData, text: str, ipc: int, device: torch.device = CPU
) -> dict[str, Tensor]:
    """Compare two iterations; returns the learned tensors of the naive loop."""
    run = _run(modules, source, text, ipc, device)
    naive = modules["naive"].Naive(_run(modules, source, text, ipc, device))
    ours, learned = modules["iteration"].Ours(run), run.synthetic_data.learned
    assert list(naive.samples.learned) == list(learned)
    before = {part: tensor.detach().clone() for part, tensor in learned.items()}
    _iterate(naive, ours, 2)
    for part, tensor in learned.items():
        _check_same(*map(to_cpu, (naive.samples.learned[part], tensor, before[part])))
    return naive.samples.learned


def _iterate(naive: Any, ours: Any, iterations: int) -> None:
    for side in [naive, ours] * iterations:
        side.matching()
        side.learning()


def _check_same(naive: Tensor, ours: Tensor, start: Tensor) -> None:
    """Both have moved equally from the start."""
    moved = (ours.detach() - start).norm()
    assert moved > 0
    assert (naive.detach() - ours.detach()).norm() < 1e-3 * moved


@pytest.mark.parametrize("name", ["dsa", "idc", "idm", "cafe", "kfs", "haba_dm", "bdm_published"])
def test_networks_learn_the_same(modules: dict[str, Any], real: RealData, name: str) -> None:
    ipc = BUDGETS.get(name.partition("_")[0], 2)
    always = {"terms.0.pool.sgd.cutmix": "1.0"} if name in ("idc", "kfs") else {}  # instead of in half of the steps
    run, other = (_run(modules, real, TEXTS[name], ipc, **always) for _ in range(2))
    pool = run.recipe.terms[-1].pool
    naive, ours = modules["naive"].Naive(other), modules["iteration"].Ours(run)
    found, known = naive.pools[pool], run.pool_states[pool]

    def networks(iteration: int) -> list[list[nn.Module]]:
        if name == "idm":
            return [[one.module for one in found.members], [member.module for member in known.members]]
        return [[found.network_at(iteration).module], [known.network_at(iteration).module]]

    start = _weights(networks(0)[0])
    _iterate(naive, ours, 3)
    _check_same(*map(_weights, networks(3)), start)


def _weights(modules: Sequence[nn.Module]) -> Tensor:
    return torch.cat([weight.detach().flatten() for module in modules for weight in module.parameters()])


def test_the_sampling_network_is_trained_the_same(modules: dict[str, Any], real: RealData) -> None:
    run, other, unused = (_run(modules, real, TEXTS["ncfm"]) for _ in range(3))
    naive, ours = modules["naive"].Naive(other), modules["iteration"].Ours(run)
    _iterate(naive, ours, 1)
    (found,), known = naive.frequencies.values(), run.losses[0]
    size = next(found.network.parameters()).shape[1]
    start = _weights([unused.losses[0]._network(torch.zeros(2, size))])
    moved = [_weights([module]) - start for module in (found.network, known.module)]
    assert (moved[0].sign() == moved[1].sign()).float().mean() > 0.99


def test_recipes_without_a_naive_loop_are_rejected(modules: dict[str, Any], real: RealData) -> None:
    naive = modules["naive"]
    with pytest.raises(ValueError, match=r"no naive loop for random \(it learns nothing\)"):
        naive.Naive(_run(modules, real, "random"))
    soft = modules["table_parts"].recipe_of(f"dc({TINY})", 2, {"soft_labels": "True"}, 5)
    context = Context(real, 2, RandomStreams(3), CPU)
    with pytest.raises(ValueError, match="no naive loop for learned labels"):
        naive.Naive(CondensationRun(soft.resolve(real.sample_shape, [""] * 3), context))
    with pytest.raises(ValueError, match="no naive loop for batch normalization over all classes"):
        naive.Naive(_run(modules, real, "dm(network=convnet-d2-w8-bn, batch=8)"))
    reduced = recipes.dm(2, iterations=5, network="convnet-d2-w8").set(synthetic=LowResolution())
    with pytest.raises(ValueError, match="no naive loop for samples of LowResolution"):
        naive.Naive(CondensationRun(reduced.resolve(real.sample_shape, [""] * 3), context))


def test_the_benchmark_runs(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules["measuring"], "SIDE", 64)
    out = tmp_path / "iteration.jsonl"
    words = ["--data", "digits", "--recipe", f"dsa({TINY})", "--ipc", "2", "--repeats", "2", "--threads", "1"]
    modules["iteration"].main([*words, "--out", str(out)])
    row = json.loads(out.read_text())
    assert row["ratio"]["learning"] > 0
    assert row["ratio"]["timed"] > 0
    assert row["flops_of_matching"] > 1e6
    assert (row["recipe"], row["ipc"]) == (f"dsa({TINY})", 2)
    assert row["flops_per_second"] == pytest.approx(row["flops_of_matching"] / row["seconds"]["matching"])


def test_the_benchmark_runs_on_another_device(
    modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SIDE", "DEVICE_SIDE"):
        monkeypatch.setattr(modules["measuring"], name, 64)
    out, iteration = tmp_path / "iteration.jsonl", modules["iteration"]
    words = ["--data", "digits", "--recipe", f"dm({TINY})", "--ipc", "1", "--repeats", "1", "--threads", "1"]
    words += ["--precision", "fp32", "--out", str(out)]
    iteration.main(words)
    here = json.loads(out.read_text())
    assert here["device"] == "cpu"
    assert here["device_name"]
    assert here["peak_resident_bytes"] > 1e6
    del here["device"]
    out.write_text(json.dumps(here) + "\n")
    iteration.main(words)  # a row without a device is one of a CPU
    assert out.read_text().count("\n") == 1
    monkeypatch.setattr(iteration, "choose_device", lambda asked: DEVICE)
    with simulated() as waits:
        iteration.main([*words, "--device", "simulated"])
        assert waits
    _, there = map(json.loads, out.read_text().splitlines())
    assert there["device"] == str(DEVICE)
    assert there["flops_of_matching"] == here["flops_of_matching"]
    assert there["ratio"]["timed"] > 0


def test_several_recipes_are_resumed(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules["measuring"], "SIDE", 64)
    texts = [f"dm({TINY})", "dd(network=convnet-d1-w8, batch=16)", f"debiased({TINY})"]
    out, picture = tmp_path / "s.jsonl", tmp_path / "s.png"
    words = ["--data", "digits", "--ipc", "2", "--repeats", "2", "--threads", "1", "--cache", str(tmp_path)]
    words += ["--out", str(out), "--picture", str(picture), "--recipe"]
    measured, begun = modules["iteration"]._measure, []

    def interrupted(recipe: Any, *others: Any) -> Any:
        begun.append(recipe.name)
        if begun == ["dm", "dd"]:
            raise KeyboardInterrupt
        return measured(recipe, *others)

    monkeypatch.setattr(modules["iteration"], "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        modules["iteration"].main([*words, *texts])
    first = out.read_text()
    modules["iteration"].main([*words, *texts])
    assert begun == ["dm", "dd", "dd", "debiased_dc"]
    assert out.read_text().startswith(first)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["recipe"] for row in rows] == texts
    assert [set(row["ratio"]) for row in rows[:2]] == [{"matching", "timed"}] * 2
    assert picture.stat().st_size > 1000
    modules["iteration"].main([*words, *texts[:1], "--parts", "matching"])
    assert begun[4:] == ["dm"]
    for wrong, message in (("dmm", "Unknown recipe 'dmm'"), ("random", "no naive loop for random")):
        with pytest.raises(ValueError, match=message):
            modules["iteration"].main([*words, "idm", wrong])
    assert len(begun) == 5
