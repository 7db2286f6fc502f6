"""Text of others in what commands print and warn cannot control the terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_tools import fails
from hostile_text import HOSTILE, has_controls
from hub_server import HubServer
from hub_worker import small

from condensed_data import CondensedDataset
from condensed_data.cli.main import main
from condensed_data.cli.terminal import VisibleStream
from condensed_data.core.caller_warnings import warn_caller

NAMES = [name for name in HOSTILE if "\ud800" not in name and len(name) < 1000]  # others cannot be stored


def hostile(name: str, directory: Path) -> Path:
    result = small().result
    metadata = replace(result.metadata, name=name, recipe_name=name, classes=(name, name + "2"))
    replace(result, metadata=metadata).save(directory)
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_downloaded_dataset(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = hostile(name, tmp_path / "set")
    loaded = CondensedDataset.load(folder)
    assert loaded.classes == [name, name + "2"]
    assert not has_controls(repr(loaded).replace("\n", ""))
    assert not has_controls(loaded._repr_html_().replace("\n", ""))
    capsys.readouterr()
    assert main(["show", str(folder), "--out", str(tmp_path / "grid.png")]) == 0
    output = capsys.readouterr().out
    assert not has_controls(output.replace("\n", ""))
    assert output.count("\n") == repr(loaded).count("\n") + 2


def test_lists_of_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(NAMES):
        hostile(name, tmp_path / "datasets" / f"{number:064}")
    assert main(["cache", "--cache", str(tmp_path), "list"]) == 0
    output = capsys.readouterr().out
    assert not has_controls(output.replace("\n", ""))


def test_tags_of_others(hub: HubServer, repo_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    tags = ["condensed-data", "source-\x1b[31mx", "ipc-1", "\x1b]8;;http://evil\x1b\\"]
    card = f"---\ntags: {json.dumps(tags)}\n---\n"
    hub.add_repo(repo_id, {"README.md": card.encode()}, private=False)
    assert main(["search"]) == 0
    output = capsys.readouterr().out
    assert repo_id in output
    assert not has_controls(output.replace("\n", ""))


def test_errors_of_the_hub(
    hub: HubServer, repo_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    hub.add_repo(repo_id, {"README.md": b"#"})
    hub.fault("GET ", status=403, message="no \x9b1m access", times=100)
    error = fails(capsys, "pull", repo_id, "--out", tmp_path / "set")
    assert not has_controls(error.replace("\n", ""))


def test_errors_about_files_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a\x1b[31m\u202eb"
    folder.mkdir()
    assert not has_controls(fails(capsys, "show", folder, "--out", tmp_path / "x.png").replace("\n", ""))
    source = f"imagefolder:{folder}"
    assert not has_controls(fails(capsys, "build", source, "--image-size", 8, "--no-cache").replace("\n", ""))


def test_what_is_printed_and_warned(recwarn: pytest.WarningsRecorder) -> None:
    written = io.StringIO()
    for name in HOSTILE:
        print(name, file=VisibleStream(written))
        warn_caller(name)
    for text in (written.getvalue(), *(str(warning.message) for warning in recwarn)):
        assert not has_controls(text.replace("\n", ""))
        text.encode("utf-8")
