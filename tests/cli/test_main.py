"""The command line as a whole: help, one-line errors before any work, recipes; `cli_sources.py` holds the sources."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import FEW, SMALL, fails

from condensed_data import CondensedDataset, recipes
from condensed_data.cli.commands import COMMANDS
from condensed_data.cli.main import build_parser, main

HEAVY = {"torch", "torchvision", "numpy", "PIL", "sklearn", "tqdm"}


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from condensed_data.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('modules:', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, modules = done.stdout.partition("modules:")
    assert all(word in text for word in ("build", "evaluate", "show", "recipes", "imagefolder:PATH"))
    assert HEAVY.isdisjoint(modules.split())


def test_the_module_is_the_command() -> None:
    words = [sys.executable, "-m", "condensed_data", "build", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    options = (
        "--recipe",
        "--ipc",
        "--out",
        "--iterations",
        "--set",
        "--device",
        "--precision",
        "--seed",
        "--log",
    )
    assert all(option in done.stdout for option in options)


def test_help_texts_say_what_an_option_is_or_does() -> None:
    parser = build_parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert set(subparsers.choices) == {command.name for command in COMMANDS}
    for name, command in subparsers.choices.items():
        for action in command._actions:
            assert action.help, (name, action.dest)
            first = action.help.split()[0].lower()
            assert first not in {
                "what",
                "that",
                "which",
                "whether",
                "how",
                "where",
                "who",
                "whose",
                "of",
                "so",
            }
            assert not action.help.endswith("."), (name, action.dest)


def test_wrong_numbers_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--ipc", "1.5"], ["--runs", "0"], ["--seed", "-1"], ["--image-size", "big"]):
        with pytest.raises(SystemExit) as ended:
            main(["build", "digits", *words])
        assert ended.value.code == 2
        assert words[1] in capsys.readouterr().err


def test_an_interruption_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CondensedDataset, "__init__", interrupted)
    assert "interrupted" in fails(capsys, "build", "cli_sources:tiny", *SMALL)


def test_debugging_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDENSED_DATA_DEBUG", "1")
    with pytest.raises(ValueError, match="Unknown recipe"):
        main(["build", "digits", "--recipe", "magic"])


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert {line.split()[0] for line in text.splitlines() if not line.startswith(" ")} == set(recipes.names())
    assert "arXiv:2110.04181" in text


@pytest.mark.parametrize("name", recipes.names())
def test_fields_of_every_recipe_are_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", name]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{name}: ")
    assert "ipc " in text
    assert recipes.get(name).paper in text


def test_fields_are_listed_with_paths_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "dm"]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    fields = {row[0]: row[1] for row in rows}
    assert fields["terms.0.sampler.batch"] == "256"
    assert fields["optimizer.kind"] == "'sgd'"
    assert fields["terms.0.augment"] == "SiameseAugment"


def test_fields_of_an_unknown_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Known recipes: bdm, " in fails(capsys, "recipes", "magic")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ipc", "0"], "dm(ipc=0) must be an integer of at least 1"),
        (["--ipc", "-1"], "dm(ipc=-1) must be an integer of at least 1"),
        (["--iterations", "-1"], "iterations=-1 must be an integer of at least 0"),
        (["--recipe", "magic"], "Unknown recipe 'magic'. Known recipes: bdm, "),
        (["--recipe", "random"], "Recipe(iterations=2) must be 0, because recipe random learns nothing"),
        (["--set", "lrr=1"], "Unknown field 'lrr'. Did you mean 'lr'? Known fields: "),
        (["--set", "augment=Nothing()"], "Unknown part 'Nothing'"),
        (["--set", "lr=1"], "'lr' is ambiguous: optimizer.lr, training.lr"),
        (["--set", "iterations"], "--set iterations: the value is missing"),
        (["--set", "optimizer.lr=fast"], "Optimizer(lr='fast') must be a finite number"),
        (["--network", "convnot"], "Unknown network 'convnot'. Did you mean 'convnet'? Known networks: convnet"),
        (["--device", "abacus"], "device='abacus' is unknown; available: auto, cpu"),
        (["--precision", "fp8"], "precision='fp8' must be one of 'auto', 'fp32', 'bf16'"),
        (["--log", "run.txt"], "--log run.txt: unknown suffix '.txt'. Use FILE.jsonl"),
        (["--image-size", "8"], "image_size=8"),
    ],
)
def test_bad_options_are_reported_before_the_work(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert message in fails(capsys, "build", "cli_sources:tiny", *FEW, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "Unknown source 'nowhere'. Known sources: digits"),
        ("fashion-mnist", "needs a data folder. Give --data-root DIR"),
        ("imagefolder:absent", "imagefolder:absent is not a folder"),
        ("cli_sources:empty", "source is empty"),
        ("cli_sources:no_pairs", "not a (sample, label) pair"),
        ("cli_sources:float_labels", "has the label 0.5 (float). Labels must be single"),
        ("cli_sources:negative_labels", "has the label -1. Labels must be non-negative"),
        ("cli_sources:text_labels", "has the label 'ant' (str). Labels must be single"),
        ("cli_sources:vector_labels", "has a label of shape (2,). Labels must be single"),
        ("cli_sources:many_shapes", "--image-size N"),
        ("cli_sources:with_nan", "source[1] contains NaN"),
        ("cli_sources:stream", "whose samples have no index"),
        ("cli_sources:other_test_shape", "the test split (1, 8, 6)"),
    ],
)
def test_bad_sources_are_reported_before_the_work(
    source: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert message in fails(capsys, "build", source, *FEW, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_reported_before_the_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = fails(capsys, "build", "cli_sources:tiny", *SMALL, "--out", tmp_path / "file" / "out")
    assert "Cannot write to" in message
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_unwritable_log_is_reported_before_the_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "Cannot write a log" in fails(
        capsys, "build", "cli_sources:tiny", *SMALL, "--log", tmp_path / "file" / "log.csv"
    )


def test_an_image_too_small_for_the_network_is_reported_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = ("--set", "network=convnet", *FEW)
    message = fails(capsys, "build", "cli_sources:four_pixels", *few, "--out", tmp_path / "out")
    assert "needs images of at least 8x8; got 4x4" in message


def test_a_recipe_may_be_given_with_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "bdm(base=dm, k=3, features=raw)"]) == 0
    shown = capsys.readouterr().out
    assert "within.k" in shown
    for wrong, message in (
        ("bdm(dm)", "Write NAME or NAME(FIELD=VALUE"),
        ("bdm(base=dm", "Write NAME or NAME(FIELD=VALUE"),
        ("dm(color=1)", "unexpected keyword argument 'color'"),
        ("nothing(k=1)", "Unknown recipe 'nothing'"),
    ):
        assert main(["recipes", wrong]) == 1
        assert message in capsys.readouterr().err
