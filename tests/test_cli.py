"""The command line: what the verbs do, and what they say where they cannot.

The sources are in `cli_sources.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from condensed_data import CondensedDataset, comparison, recipes, summary, training
from condensed_data.cli import main
from condensed_data.evaluate import quick

NET = "convnet-d2-w4"
FEW = ("--ipc", "2", "--sweeps", "2", "--runs", "2", "--quiet", "--no-cache")
SMALL = (*FEW, "--set", f"network={NET}", "--network", NET)
HEAVY = {"torch", "torchvision", "numpy", "PIL", "sklearn", "tqdm"}


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick protocol takes 3 epochs."""

    def short() -> Any:
        return replace(quick(), epochs=3)

    monkeypatch.setattr(comparison, "quick", short)
    monkeypatch.setitem(training._PROTOCOLS, "quick", short)


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that must end with status 1 and one line on standard error; returns that line."""

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 1
        error = capsys.readouterr().err
        assert error.startswith("condensed-data: error: ")
        assert error.count("\n") == 1
        return error

    return run


@pytest.fixture
def built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A condensed set in a folder."""
    out = tmp_path / "built"
    assert main(["build", "cli_sources:tiny", *SMALL, "--out", str(out), "--no-evaluate"]) == 0
    capsys.readouterr()
    return out


def _width(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from condensed_data.cli import main\n"
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
        "--sweeps",
        "--set",
        "--device",
        "--precision",
        "--seed",
        "--log",
    )
    assert all(option in done.stdout for option in options)


def test_build_saves_draws_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, log = tmp_path / "out", tmp_path / "run.jsonl"
    assert main(["build", "cli_sources:tiny", *SMALL, "--out", str(out), "--log", str(log)]) == 0
    text = capsys.readouterr().out
    assert "36 -> 6 (6.0 times fewer)" in text
    assert "2.25 KiB -> 384 bytes" in text
    assert "2 sweeps" in text
    assert f"image grid  {out / 'grid.png'}" in text
    assert "Accuracy on 24 test samples: convnet-d2-w4, quick protocol, 4 steps for every network" in text
    assert [line.split()[0] for line in text.splitlines() if "%" in line][:3] == ["dm", "random", "whole"]
    assert "estimated" in text
    condensed = CondensedDataset.load(out)
    assert len(condensed.record.evaluations) == 1
    assert condensed.record.evaluations[0].training.name == "quick"
    assert "quick protocol" in (out / "README.md").read_text()
    assert _width(out / "grid.png") > 0
    assert [json.loads(line)["sweep"] for line in log.read_text().splitlines()] == [1, 2]


def test_build_without_a_folder_says_that_nothing_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "cli_sources:tiny", *SMALL, "--no-evaluate"]) == 0
    text = capsys.readouterr().out
    assert "saved in    nowhere; --out DIR" in text
    assert "not measured (--no-evaluate)" in text


def test_a_second_build_comes_from_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSED_DATA_CACHE", str(tmp_path / "cache"))
    words = ["build", "cli_sources:tiny", *(word for word in SMALL if word != "--no-cache"), "--no-evaluate"]
    texts = []
    for extra in ([], [], ["--force"]):
        assert main([*words, *extra]) == 0
        texts.append(capsys.readouterr().out)
    assert ["the cache had it" in text for text in texts] == [False, True, False]
    assert all("saved in    the cache" in text for text in texts)


def test_build_without_a_test_split_says_how_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "cli_sources:only_train", *SMALL]) == 0
    text = capsys.readouterr().out
    assert "Accuracy was not measured: cli_sources:only_train has no test split" in text
    assert "condensed-data evaluate DIR --test SOURCE" in text


def test_comparison_beats_random_where_training_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "quick", lambda: replace(quick(), epochs=60, lr=0.05))
    import cli_sources

    train, test = cli_sources.tiny("train"), cli_sources.tiny("test")
    condensed = CondensedDataset(train, recipes.random(ipc=2), cache=False, progress=False)
    found = comparison.compare(condensed, train, test, network="convnet-d2-w8", runs=2, progress=False)
    assert found.whole.name == "whole set"
    assert found.training.max_steps == 61
    assert found.epochs == 61
    assert found.full_steps == 61
    assert found.test_samples == 24
    for row in (found.condensed, found.random, found.whole):
        assert len(row.accuracies) == 2
        assert row.seconds > 0
        assert min(row.accuracies) > 0.6  # chance is a third
    assert found.condensed.accuracies == condensed.record.evaluations[0].accuracies
    # the same samples, drawn with the same seed and trained with the same seed
    assert found.random.accuracies[0] == found.condensed.accuracies[0]


def test_of_a_large_whole_set_a_part_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import cli_sources

    monkeypatch.setattr(comparison, "MOST_BYTES", 20 * 4 * 64)
    train, test = cli_sources.tiny("train"), cli_sources.tiny("test")
    condensed = CondensedDataset(train, recipes.random(ipc=1), cache=False, progress=False)
    found = comparison.compare(condensed, train, test, network=NET, runs=1, progress=False)
    assert found.whole.name == "20 of the whole set"
    assert "20 of the whole set" in summary.compared(found)
    monkeypatch.undo()
    seen, title = comparison._seen(train, 10, condensed.record, seed=0)
    assert (len(seen), title) == (10, "whole set")
    assert len(set(seen.indices)) == 10
    assert comparison._seen(train, 36, condensed.record, seed=0)[0] is train


def test_set_reaches_fields_by_path_and_by_name(tmp_path: Path) -> None:
    words = (
        "terms.0.augment.cutout=0.25",
        "batch=7",
        "optimizer.kind=adam",
        "network=ConvNet(width=4, depth=2)",
    )
    sets = [word for text in words for word in ("--set", text)]
    assert (
        main(["build", "cli_sources:tiny", *SMALL, *sets, "--no-evaluate", "--out", str(tmp_path / "x")]) == 0
    )
    recipe: Any = CondensedDataset.load(tmp_path / "x").recipe
    term = recipe.terms[0]
    assert (term.augment.cutout, term.sampler.batch, recipe.optimizer.kind) == (0.25, 7, "adam")
    assert (term.pool.network.width, recipe.sweeps, recipe.ipc) == (4, 2, 2)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for seed in (3, 3, 4):
        out = tmp_path / f"{len(contents)}"
        command = [
            "build",
            "cli_sources:tiny",
            *SMALL,
            "--no-evaluate",
            "--seed",
            str(seed),
            "--out",
            str(out),
        ]
        assert main(command) == 0
        contents.append((out / "condensed.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ipc", "0"], "ipc=0 must be a positive whole number"),
        (["--ipc", "-1"], "ipc=-1 must be a positive whole number"),
        (["--sweeps", "-1"], "sweeps=-1 must be a whole number"),
        (["--recipe", "magic"], "Unknown recipe 'magic'. Known recipes: dm"),
        (["--recipe", "random"], "sweeps=2: recipe random learns nothing"),
        (["--set", "lrr=1"], "Unknown field 'lrr'. Known fields: "),
        (["--set", "augment=Nothing()"], "Unknown part 'Nothing'"),
        (["--set", "lr=1"], "'lr' is ambiguous: optimizer.lr, training.lr"),
        (["--set", "sweeps"], "--set sweeps: the value is missing"),
        (["--set", "optimizer.lr=fast"], "'optimizer.lr' cannot be 'fast'"),
        (["--network", "convnot"], "Unknown network 'convnot'. Known networks: convnet"),
        (["--device", "abacus"], "device='abacus' is unknown. Present here: auto, cpu"),
        (["--precision", "fp8"], "precision='fp8' is unknown; known: auto, fp32, bf16"),
        (["--log", "run.txt"], "--log run.txt: give FILE.jsonl"),
        (["--image-size", "8"], "image_size=8"),
    ],
)
def test_bad_options_are_told_before_the_work(
    words: list[str], message: str, failing: Callable[..., str], tmp_path: Path
) -> None:
    assert message in failing("build", "cli_sources:tiny", *FEW, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "Unknown source 'nowhere'. Known sources: digits"),
        ("fashion-mnist", "needs a folder: give --data-root DIR"),
        ("imagefolder:absent", "imagefolder:absent is no folder"),
        ("cli_sources:empty", "source is empty"),
        ("cli_sources:no_pairs", "not a pair (sample, label)"),
        ("cli_sources:float_labels", "has the label 0.5 (float). Supported labels are"),
        ("cli_sources:negative_labels", "has the label -1. Supported labels are"),
        ("cli_sources:text_labels", "has the label 'ant' (str). Supported labels are"),
        ("cli_sources:vector_labels", "has a label of shape (2,). Supported labels are"),
        ("cli_sources:many_shapes", "--image-size N"),
        ("cli_sources:with_nan", "source[1] holds NaN"),
        ("cli_sources:stream", "has no samples by index"),
        ("cli_sources:four_pixels", "4"),
        ("cli_sources:other_test_shape", "the test split (1, 8, 6)"),
    ],
)
def test_bad_sources_are_told_before_the_work(
    source: str, message: str, failing: Callable[..., str], tmp_path: Path
) -> None:
    assert message in failing("build", source, *FEW, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_words_that_are_no_numbers_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--ipc", "1.5"], ["--runs", "0"], ["--seed", "-1"], ["--image-size", "big"]):
        with pytest.raises(SystemExit) as ended:
            main(["build", "digits", *words])
        assert ended.value.code == 2
        assert words[1] in capsys.readouterr().err


def test_an_unwritable_folder_is_told_before_the_work(failing: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = failing("build", "cli_sources:tiny", *SMALL, "--out", tmp_path / "file" / "out")
    assert "Cannot save a condensed dataset to" in message
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_unwritable_log_is_told_before_the_work(failing: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "Cannot write a log" in failing(
        "build", "cli_sources:tiny", *SMALL, "--log", tmp_path / "file" / "log.csv"
    )


def test_a_diverging_run_saves_its_last_good_state(failing: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (*SMALL, "--sweeps", "5", "--set", "optimizer.lr=1e38", "--out", out)
    message = failing("build", "cli_sources:tiny", *words)
    assert "optimizer.lr=1e+38; try 1e+37" in message
    assert f"It is saved in {out}." in message
    assert bool(torch.isfinite(CondensedDataset.load(out).images).all())


def test_an_interruption_is_told(failing: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CondensedDataset, "__init__", interrupted)
    assert "interrupted" in failing("build", "cli_sources:tiny", *SMALL)


def test_debugging_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDENSED_DATA_DEBUG", "1")
    with pytest.raises(ValueError, match="Unknown recipe"):
        main(["build", "digits", "--recipe", "magic"])


def test_evaluate(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(built), "--test", "cli_sources:tiny", "--runs", "2", "--quiet"]
    words += ["--protocol", "quick", "--network", f"{NET},mlp", "--network", "convnet-d1-w4"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [NET, "mlp", "convnet-d1-w4"]
    assert all("(2 networks, quick protocol)" in line for line in lines)
    assert not CondensedDataset.load(built).record.evaluations
    assert main([*words, "--save"]) == 0
    assert [e.network for e in CondensedDataset.load(built).record.evaluations] == [
        NET,
        "mlp",
        "convnet-d1-w4",
    ]


def test_evaluate_by_the_protocol_of_the_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--set", "training.epochs=2", "--set", "training.name=two", "--no-evaluate", "--out", str(out)]
    assert main(["build", "cli_sources:tiny", *SMALL, *words]) == 0
    capsys.readouterr()
    assert (
        main(["evaluate", str(out), "--test", "cli_sources:tiny", "--runs", "1", "--network", NET, "--quiet"])
        == 0
    )
    assert "(1 network, two protocol)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test", "cli_sources:other_values"], "another value space"),
        (["--test", "cli_sources:other_labels"], "labels that the source had not: [3]"),
        (["--test", "cli_sources:other_test_shape"], "test_set has samples of shape (1, 8, 6)"),
        (["--test", "cli_sources:only_train"], "has no test split"),
        (
            ["--test", "cli_sources:tiny", "--protocol", "slow"],
            "'slow'. Give a Training or one of: standard, quick",
        ),
        (["--test", "cli_sources:tiny", "--network", f"{NET},convnot"], "Unknown network 'convnot'"),
    ],
)
def test_evaluate_refuses(words: list[str], message: str, built: Path, failing: Callable[..., str]) -> None:
    assert message in failing("evaluate", built, "--runs", "1", "--quiet", *words)


def _edit(built: Path, **changes: object) -> None:
    manifest = json.loads((built / "condensed.json").read_text())
    manifest.pop("manifest_sha256")
    (built / "condensed.json").write_text(json.dumps({**manifest, **changes}))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


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
def test_damaged_sets_are_refused(
    damage: Callable[[Path], object], message: str, built: Path, failing: Callable[..., str], tmp_path: Path
) -> None:
    damage(built)
    assert message in failing("show", built, "--out", tmp_path / "grid.png")
    assert message in failing("evaluate", built, "--test", "cli_sources:tiny")
    assert not (tmp_path / "grid.png").exists()


def test_show(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(built), "--out", str(tmp_path / "grid.png")]) == 0
    text = capsys.readouterr().out
    assert "recipe dm, 2 sweeps, seed 0" in text
    for name in ("grid.png", "grid-curves.png"):
        assert str(tmp_path / name) in text
        assert _width(tmp_path / name) > 0


def test_show_without_matplotlib_says_what_to_install(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["show", str(built), "--out", str(tmp_path / "grid.png")]) == 0
    assert "pip install condensed-data[plot]" in capsys.readouterr().out
    assert (tmp_path / "grid.png").exists()
    assert not (tmp_path / "grid-curves.png").exists()


def test_show_of_nothing(failing: Callable[..., str], tmp_path: Path) -> None:
    assert "condensed.json" in failing("show", tmp_path / "absent", "--out", tmp_path / "grid.png")


def test_show_to_an_impossible_file(built: Path, failing: Callable[..., str], tmp_path: Path) -> None:
    assert "grid.xyz" in failing("show", built, "--out", tmp_path / "grid.xyz")


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


def test_fields_show_what_set_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "dm"]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    fields = {row[0]: row[1] for row in rows}
    assert fields["terms.0.sampler.batch"] == "256"
    assert fields["optimizer.kind"] == "'sgd'"
    assert fields["terms.0.augment"] == "Siamese"


def test_fields_of_an_unknown_recipe(failing: Callable[..., str]) -> None:
    assert "Known recipes: dm" in failing("recipes", "magic")
