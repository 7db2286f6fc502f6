"""`condensed-data evaluate` and `show`, on intact and on damaged condensed datasets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import NET, SMALL, fails, shorten, width

from condensed_data import CondensedDataset
from condensed_data.cli.main import main


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture
def built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A condensed dataset in a folder."""
    out = tmp_path / "built"
    assert main(["build", "cli_sources:tiny", *SMALL, "--out", str(out), "--no-evaluate"]) == 0
    capsys.readouterr()
    return out


def _edit(built: Path, **changes: object) -> None:
    manifest = json.loads((built / "condensed.json").read_text())
    manifest.pop("manifest_sha256")
    (built / "condensed.json").write_text(json.dumps({**manifest, **changes}))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_evaluate(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(built), "--test", "cli_sources:tiny", "--runs", "2", "--quiet"]
    words += ["--protocol", "quick", "--network", f"{NET},mlp", "--network", "convnet-d1-w4"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [NET, "mlp", "convnet-d1-w4"]
    assert all("(2 networks, quick protocol)" in line for line in lines)
    assert not CondensedDataset.load(built).metadata.evaluations
    assert main([*words, "--save"]) == 0
    assert [e.network for e in CondensedDataset.load(built).metadata.evaluations] == [
        NET,
        "mlp",
        "convnet-d1-w4",
    ]


def test_evaluate_by_the_stored_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--set", "training.epochs=2", "--set", "training.name=two", "--no-evaluate", "--out", str(out)]
    assert main(["build", "cli_sources:tiny", *SMALL, *words]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--test", "cli_sources:tiny", "--runs", "1", "--network", NET, "--quiet"]) == 0
    assert "(1 network, two protocol)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test", "cli_sources:other_values"], "another value space"),
        (["--test", "cli_sources:other_labels"], "labels that the source did not have: [3]"),
        (["--test", "cli_sources:other_test_shape"], "test_set has samples of shape (1, 8, 6)"),
        (["--test", "cli_sources:only_train"], "has no test split"),
        (
            ["--test", "cli_sources:tiny", "--protocol", "slow"],
            "Unknown protocol 'slow'. Known protocols: dc, dsa, quick",
        ),
        (["--test", "cli_sources:tiny", "--network", f"{NET},convnot"], "Unknown network 'convnot'"),
    ],
)
def test_evaluate_refuses(words: list[str], message: str, built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(capsys, "evaluate", built, "--runs", "1", "--quiet", *words)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda built: _flip(built / "condensed.safetensors"), "sha256"),
        (lambda built: (built / "condensed.safetensors").unlink(), "no such file"),
        (lambda built: (built / "condensed.json").unlink(), "no such file"),
        (lambda built: (built / "condensed.json").write_text("{"), "condensed.json"),
        (lambda built: _edit(built, format_version="2.0"), "Upgrade condensed-data"),
        (lambda built: _edit(built, required_features=["teleport"]), "teleport"),
    ],
)
def test_damaged_datasets_are_refused(
    damage: Callable[[Path], object],
    message: str,
    built: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    damage(built)
    assert message in fails(capsys, "show", built, "--out", tmp_path / "grid.png")
    assert message in fails(capsys, "evaluate", built, "--test", "cli_sources:tiny")
    assert not (tmp_path / "grid.png").exists()


def test_show(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(built), "--out", str(tmp_path / "grid.png")]) == 0
    text = capsys.readouterr().out
    assert "recipe dm, 2 iterations, seed 0" in text
    for name in ("grid.png", "grid-curves.png"):
        assert str(tmp_path / name) in text
        assert width(tmp_path / name) > 0


def test_show_without_matplotlib_names_the_extra_to_install(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["show", str(built), "--out", str(tmp_path / "grid.png")]) == 0
    assert "pip install condensed-data[plot]" in capsys.readouterr().out
    assert (tmp_path / "grid.png").exists()
    assert not (tmp_path / "grid-curves.png").exists()


def test_show_of_a_missing_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is neither an existing folder nor a repository" in fails(
        capsys, "show", tmp_path / "absent", "--out", tmp_path / "grid.png"
    )
    assert "condensed.json" in fails(capsys, "show", tmp_path, "--out", tmp_path / "grid.png")


def test_results_do_not_depend_on_the_number_of_jobs(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(built), "--test", "cli_sources:tiny", "--network", NET, "--runs", "2", "--quiet"]
    for jobs in ("1", "2"):
        assert main([*words, "--protocol", "quick", "--save", "--jobs", jobs]) == 0
    capsys.readouterr()
    alone, together = json.loads((built / "condensed.json").read_text())["evaluation"]
    assert alone["accuracies"] == together["accuracies"]
    assert "Remove --jobs" in fails(capsys, *words, "--ranking", "--jobs", "2")


def test_show_refuses_an_unknown_image_suffix(built: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "grid.xyz" in fails(capsys, "show", built, "--out", tmp_path / "grid.xyz")
