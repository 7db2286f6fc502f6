"""The benchmark of condensed memories: equal bytes and steps, tuning, DM's protocol, and its paired report."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_data
import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "benchmarks"
NAMES = (
    "rows",
    "continual_parts",
    "continual_run",
    "continual_memory_only",
    "continual_report",
    "continual_picture",
)

# raised by Avalanche's own calls
pytestmark = pytest.mark.filterwarnings(
    "ignore:No loggers specified:UserWarning",
    "ignore:Call to deprecated function update:DeprecationWarning",
)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The files beside `continual.py` by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in NAMES}


def row(competitor: str, seed: int, curve: list[float], **more: Any) -> dict[str, Any]:
    """A row as the benchmark writes it."""
    given = {
        "competitor": competitor,
        "bytes": 39_200,
        "seed": seed,
        "curve": curve,
        "lr": 0.02,
        "augment": True,
    }
    return {**given, "steps": 600, "split": None, "condensing_seconds": [0.0], **more}


def test_differences_are_paired_by_seed(modules: dict[str, Any]) -> None:
    # 2, 3, 4 apart: deviation 1, and Student's t of 2 degrees of freedom is 4.303
    middle, half, count = modules["continual_report"].paired(
        {1: 72.0, 2: 83.0, 3: 64.0, 9: 0.0}, {1: 70.0, 2: 80.0, 3: 60.0}
    )
    assert (middle, count) == (3.0, 3)
    assert half == pytest.approx(4.30265 / 3**0.5, abs=1e-4)


def test_the_report_compares_with_our_row(modules: dict[str, Any], tmp_path: Path) -> None:
    rows = [row("gdumb+fast14", seed, [95.0, 77.0 + seed]) for seed in (1, 2, 3)]
    rows += [row("er_ace", seed, [97.0, 70.0 + 2 * seed]) for seed in (1, 2, 3)]
    rows += [row("gdumb+raw14", seed, [60.0 + seed], final_only=True) for seed in (1, 2, 3)]
    rows += [row("er_ace", 0, [99.0, 99.0], split="validation")]
    text = modules["continual_report"].report(rows)
    assert "39,200 bytes" in text
    ours, second, third = text.splitlines()[1:4]
    assert "79.0 ± 1.0 (3 seeds)" in ours
    assert "ours minus it +5.0 ± 2.5" in second
    assert "ours minus it +17.0 ± 0.0" in third
    assert "ours minus er_ace" in text
    assert "-2.0 ± 0.0  +5.0 ± 2.5" in text
    assert "gdumb+raw14" not in text.split("after each experience")[1]
    assert "ours minus it -5.0 ± 2.5" in modules["continual_report"].report(rows, "er_ace")
    with pytest.raises(SystemExit, match="--ours naive has no rows; there are: er_ace, gdumb"):
        modules["continual_report"].report(rows, "naive")
    modules["continual_picture"].draw(rows, None, tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("budget", [39_200, 78_400, 156_800, 392_000, 9_000])
def test_icarl_never_keeps_more_than_the_budget(modules: dict[str, Any], budget: int) -> None:
    parts = modules["continual_parts"]
    size, images = parts.icarl_size(parts.raw_images(budget)), parts.raw_images(budget)
    kept = [-(-size // seen) * seen for seen in (2, 4, 6, 8, 10)]
    assert images - 10 < max(kept) <= images


def test_every_competitor_keeps_to_its_bytes_and_steps(modules: dict[str, Any], tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path, train=200, test=20)
    run, parts = modules["continual_run"], modules["continual_parts"]
    benchmark = run.benchmark_of(tmp_path, None, validation=False)
    names = (
        "der++",
        "icarl",
        "mir",
        "er_ace",
        "er_ace+raw14",
        "replay+class",
        "replay+experience",
        "replay+reservoir",
    )
    for name in (*names, "replay+raw14", "gdumb+class", "gdumb+raw14"):
        counted = []

        class Counted(parts.Steps):  # type: ignore[misc, name-defined]
            def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
                counted.append(strategy.clock.train_exp_counter)  # noqa: B023
                super().after_training_iteration(strategy, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parts, "Steps", Counted)
            made = run.measure(benchmark, name, 15_680, 1, 0.02, True, 3, False)
        assert counted == [number for number in range(5) for _ in range(3)], name
        assert 15_680 * 0.9 < made["memory_bytes"] <= 15_680, name
        assert len(made["curve"]) == len(made["condensing_cpu_seconds"]) == 5


def test_icarls_batches_are_augmented_once(modules: dict[str, Any]) -> None:
    parts = modules["continual_parts"]
    model = parts.Network(1, augment=True)
    strategy = argparse.Namespace(mbatch=[torch.rand(4, *parts.SHAPE), torch.zeros(4)])
    before = strategy.mbatch[0]
    parts.Augmented(model.augment).before_forward(strategy)
    assert strategy.mbatch[0].shape == before.shape
    assert not torch.equal(strategy.mbatch[0], before)
    assert model.augment.step == 1


def test_tuning_uses_no_test_sample(modules: dict[str, Any], tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path, train=60, test=20)
    benchmark = modules["continual_run"].benchmark_of(tmp_path, None, validation=True)
    trained, tested = (
        sum(len(exp.dataset) for exp in stream) for stream in (benchmark.train_stream, benchmark.test_stream)
    )
    assert (trained, tested) == (50, 10)
    train = {item[0].numpy().tobytes() for exp in benchmark.train_stream for item in exp.dataset}
    assert not train & {x.numpy().tobytes() for xs, _ in benchmark.tested for x in xs}


def cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four classes of learnable patterns in the files of torchvision's CIFAR-100."""
    folder = root / CIFAR100.base_folder
    folder.mkdir()
    prototypes = np.random.default_rng(0).integers(0, 200, (4, 3 * 32 * 32))
    for name, count, seed in (("train", 10, 1), ("test", 6, 2)):
        labels = np.arange(4).repeat(count)
        noise = np.random.default_rng(seed).integers(0, 55, (len(labels), 3 * 32 * 32))
        made = {"data": (prototypes[labels] + noise).astype(np.uint8), "fine_labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(made))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bear", "cloud", "dolphin"]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


def test_dms_protocol_on_files_of_cifar100(
    modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar100(tmp_path, monkeypatch)
    protocol = modules["continual_memory_only"].Protocol(
        "cifar100", 3, 2, "convnet-d1-w8", 2, 12, 2, None, tmp_path, "cpu"
    )
    rows = modules["rows"].Rows(tmp_path / "rows.jsonl")
    methods = ["random", "herding(features=raw)", "dm(network=convnet-d1-w8, batch=4)"]
    protocol.run(rows, methods, [0, 1])
    found = rows.all()
    assert [(row["competitor"], row["seed"]) for row in found] == [(name, seed) for seed in (0, 1) for name in methods]
    for made in found:
        assert made["samples_kept"] == 4 * 3
        assert made["memory_bytes"] == 4 * (3 * 3 * 32 * 32 * 4 + 8)  # float32, and the labels of a class
        assert len(made["curve"]) == len(made["condensing_seconds"]) == 2
        assert made["curve"][-1] > 50  # a quarter by chance
    protocol.run(rows, methods, [0, 1])
    assert rows.all() == found
    text = modules["continual_report"].report(found)
    assert text.startswith("cifar100, 3 samples per class, 2 experiences, memory only")
    assert "herding(features=raw) (12 steps)" in text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"experiences": 3}, "--experiences 3 does not divide the 4 classes of cifar100"),
        ({"per_class": 11}, "--per-class 11 is more than the 10 samples"),
        ({"samples": 20}, "both splits must hold the same classes|does not divide|is more than"),
    ],
)
def test_dms_protocol_rejects_data_that_it_cannot_divide(
    modules: dict[str, Any],
    changed: dict[str, Any],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cifar100(tmp_path, monkeypatch)
    given = {"data": "cifar100", "per_class": 3, "experiences": 2, "network": "mlp", "runs": 1, "steps": 1}
    given |= {"iterations": None, "samples": None, "data_root": tmp_path, "device": "cpu"}
    protocol = modules["continual_memory_only"].Protocol(**{**given, **changed})
    with pytest.raises(SystemExit, match=reason):
        protocol.run(modules["rows"].Rows(tmp_path / "rows.jsonl"), ["random"], [0])
    with pytest.raises(SystemExit, match=r"--competitors: .*dmm"):
        protocol.run(modules["rows"].Rows(tmp_path / "rows.jsonl"), ["dmm"], [0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tuning_running_and_reporting_each_run_once(tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path, train=60)
    out = tmp_path / "rows.jsonl"
    words = [
        "--data-root",
        tmp_path,
        "--out",
        out,
        "--bytes",
        7840,
        "--seeds",
        1,
        2,
        "--steps",
        1,
        "--final-only",
    ]
    words += ["--competitors", "gdumb+raw14", "gdumb+class", "er_ace", "--lrs", 0.01, 0.05]
    assert "not tuned: the file lacks 4 of the grid's 4 runs" in _run(words, fails=True)
    assert _run([*words, "--tune"]).count("of the held-out samples") == 3 * 4
    first = _run(words)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["split"] for row in rows] == ["validation"] * 12 + [None] * 6
    table = rows[12:]
    assert [row["competitor"] for row in table] == ["gdumb+raw14", "gdumb+class", "er_ace"] * 2
    assert [len(row["curve"]) for row in table] == [1, 1, 5] * 2
    for name in ("gdumb+raw14", "gdumb+class", "er_ace"):
        best = max((row for row in rows[:12] if row["competitor"] == name), key=lambda row: row["curve"][-1])
        taken = {(row["lr"], row["augment"]) for row in table if row["competitor"] == name}
        assert taken == {(best["lr"], best["augment"])}
    assert first.count(" % ") == 6
    assert _run(words) == ""
    assert "7,840 bytes" in _run(["--out", out, "--report", "--plot", tmp_path / "curves.svg", "--ours", "er_ace"])
    assert "er_ace" in (tmp_path / "curves.svg").read_text()
    assert "gdumb+fast15; known: gdumb+class" in _run([*words, "--competitors", "gdumb+fast15"], fails=True)


def _run(words: list[object], fails: bool = False) -> str:
    paths = (ROOT, ROOT / "integrations")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, str(FOLDER / "continual.py"), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (found.returncode != 0) == fails, found.stderr[-2000:]
    return found.stderr if fails else found.stdout.strip()
