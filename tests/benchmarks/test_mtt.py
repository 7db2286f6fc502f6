"""The benchmark of MTT: memory and time of unrolling, on any device."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from simulated_device import DEVICE, simulated

from condensed_data.core.device import choose_device

FOLDER = Path(__file__).parent


@pytest.fixture
def mtt(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("mtt")


def test_unrolling_is_measured_on_any_device(mtt: Any) -> None:
    here = mtt.unrolled("full", 2, choose_device("cpu"))
    with simulated() as waits:
        there = mtt.unrolled("full", 2, DEVICE)
        assert waits  # the samples are copied to the device
    for found in (here, there):
        assert found["seconds"] > 0
        assert found["megabytes"] >= 0


def test_measurements_of_a_device_have_their_own_folder(
    mtt: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["--folder", str(tmp_path)]
    assert mtt.parse(words).folder == tmp_path
    with pytest.raises(ValueError, match="device='cuda:99' is not available"):
        mtt.parse([*words, "--device", "cuda:99"])
    monkeypatch.setattr(mtt, "choose_device", lambda asked: DEVICE)
    assert mtt.parse([*words, "--device", "simulated"]).folder == tmp_path / str(DEVICE)
