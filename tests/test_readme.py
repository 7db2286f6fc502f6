"""Every command and every line of Python in the README works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_sources import tiny
from fake_data import fashion_mnist, image_folder
from hub_server import HubServer

from condensed_data import CondensedDataset, recipes
from condensed_data.cli.main import build_parser, main
from condensed_data.data.catalog import Digits
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes import registry

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Fenced blocks of this language, with the indentation of their list item removed."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


COMMANDS = [
    shlex.split(line)[1:] for block in blocks("sh") for line in block.splitlines() if line.startswith("condensed-data ")
]


def test_the_readme_has_commands_and_python() -> None:
    assert len(COMMANDS) >= 6
    assert len(blocks("python")) >= 2


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_has_only_known_options(words: list[str]) -> None:
    assert callable(build_parser().parse_args(words).run)


@pytest.mark.filterwarnings("ignore:ipc=:UserWarning")  # the data have few samples of a class
def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    whole = recipes.dm

    def short(ipc: int = 10, **options: Any) -> Recipe:
        small: dict[str, Any] = {"network": "convnet-w8-d2", "batch": 4, "iterations": 2}
        recipe = whole(ipc=ipc, **small | options)
        return recipe.set(training__epochs=1)

    fashion_mnist(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry._FUNCTIONS, "dm", short)
    names: dict[str, Any] = {}
    for block in blocks("python")[:1]:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "grid.png").exists()
    assert "convnet: " in capsys.readouterr().out
    monkeypatch.setattr(recipes, "dm", short)
    exec(compile(blocks("python")[1].replace("2000", "2"), "README.md", "exec"), names)


def test_the_python_of_the_hub_runs(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("user"))
    (block,) = (block for block in blocks("python") if "push_to_hub" in block)
    names: dict[str, Any] = {"CondensedDataset": CondensedDataset, "train_set": Digits()}
    exec(compile(block.replace('"dm"', '"random"'), "README.md", "exec"), names)
    published = hub.content(hub.hub.repositories["dataset", "user/fashion-dm"])
    assert "ipc10/condensed.json" in published
    assert 'license: "mit"' in published["README.md"].decode()
    assert len(names["small"]) == 100


def test_the_python_of_a_search_runs(capsys: pytest.CaptureFixture[str]) -> None:
    small = CondensedDataset(tiny("train"), recipes.random(ipc=2), cache=False, progress=False)
    (block,) = (block for block in blocks("python") if "rank_report" in block)
    for long, short in (("(32, 64)", "(4,)"), ("epochs=100", "epochs=1"), ("=20", "=2")):
        block = block.replace(long, short)
    names: dict[str, Any] = {"small": small, "val_set": tiny("test"), "train_set": tiny("train")}
    exec(compile(block, "README.md", "exec"), names)
    assert "condensed " in capsys.readouterr().out


def lines_of_many_devices() -> list[list[str]]:
    """The commands that name several processes, with the Python of the tests."""
    programs = {"condensed-data": ("-m", "condensed_data"), "torchrun": ("-m", "torch.distributed.run")}
    (block,) = (block for block in blocks("sh") if "torchrun" in block)
    words = [shlex.split(line) for line in block.splitlines()]
    return [[sys.executable, *programs[program], *rest] for program, *rest in words]


def run_in(folder: Path, command: list[str]) -> str:
    """Output of a command that must end with status 0."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "Warning" not in done.stderr
    return done.stdout


def test_torchrun_builds_and_rank_0_compares_alone(tmp_path: Path) -> None:
    """The README's command, in few steps: the comparison needs nobody but rank 0."""
    command = lines_of_many_devices()[0]
    small = ("--set", "network=convnet-d2-w4", "--network", "convnet-d1-w4", "--runs", "1", "--ipc", "1")
    output = run_in(tmp_path, [*command, *small])
    assert re.search(r"random +[\d.]+ %", output), output
    assert output.count("Digits condensed by dm") == 1
    assert (tmp_path / "condensed" / "two" / "grid.png").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_many_devices_run_as_they_stand(tmp_path: Path) -> None:
    image_folder(tmp_path / "imagenet" / "train", {f"class {i}": (9 * i, 20, 200) for i in range(20)}, count=12)
    outputs = [run_in(tmp_path, command) for command in lines_of_many_devices()]
    assert all(re.search(r"random +[\d.]+ %", output) for output in outputs[:1])
    assert "convnet" in outputs[4]
    assert "240 samples of 20 classes" in outputs[5]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_digits_job(tmp_path: Path) -> None:
    """Under two minutes on two free cores, and well above random subsets."""
    command = re.search(r"\.venv/bin/condensed-data (build digits .*)", TEXT)
    assert command is not None
    started = time.perf_counter()
    words = [sys.executable, "-m", "condensed_data", *shlex.split(command[1])]
    output = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    print(output, f"{time.perf_counter() - started:.0f} s")
    scores = {name: float(value) for name, value in re.findall(r"^ *(dm|random|whole set)\D+([\d.]+) %", output, re.M)}
    assert scores["dm"] > scores["random"] + 1.5
    assert (tmp_path / "condensed" / "digits" / "grid.png").exists()


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for words in COMMANDS:
        assert words[0] in shown
