"""Helpers for tests of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from condensed_data.cli.main import main
from condensed_data.evaluation import baselines
from condensed_data.training import protocols
from condensed_data.training.protocols import quick

NET = "convnet-d2-w4"
FEW = ("--ipc", "2", "--iterations", "2", "--runs", "2", "--quiet", "--no-cache")
SMALL = (*FEW, "--set", f"network={NET}", "--network", NET)


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command line that must end with status 1 and one line on standard error; returns that line."""
    assert main([str(word) for word in words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("condensed-data: error: ")
    assert error.count("\n") == 1
    return error


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the quick protocol take 3 epochs."""

    def short() -> Any:
        return replace(quick(), epochs=3)

    monkeypatch.setattr(baselines, "quick", short)
    monkeypatch.setitem(protocols._REGISTRY, "quick", short)


def width(path: Path) -> int:
    """Width of an image file in pixels."""
    with Image.open(path) as image:
        return image.width
