"""`condensed-data clusters`; `cli_sources.py` holds the sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from cli_tools import fails, width
from PIL import Image

from condensed_data import networks
from condensed_data.cli.main import main
from condensed_data.core.spec import DatasetInfo, resolve
from condensed_data.data.real import RealData
from condensed_data.training import features
from condensed_data.training.features import Stage, StageNetwork, Trained, stage_extractor

RAW = ("--features", "raw", "--quiet")


def sizes(text: str) -> list[int]:
    (line,) = re.findall(r"sizes  (.*)", text)
    return [int(size) for size in line.split(", ")]


def test_a_row_for_every_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "clusters.png"
    words = ["clusters", "digits", "--k", "6", "--class", "3", *RAW, "--out"]
    assert main([*words, str(path), "--columns", "4"]) == 0
    text = capsys.readouterr().out
    assert "Digits, class 3: 144 samples in 6 clusters (raw values)" in text
    assert sum(sizes(text)) == 144
    assert sizes(text) == sorted(sizes(text), reverse=True)
    with Image.open(path) as image:
        six = image.height
    assert main([*words, str(tmp_path / "wide.png"), "--columns", "9"]) == 0
    assert width(tmp_path / "wide.png") > width(path)
    assert main(["clusters", "digits", "--k", "3", *RAW, "--out", str(tmp_path / "three.png")]) == 0
    assert "class 0: " in capsys.readouterr().out  # without --class the first one
    with Image.open(tmp_path / "three.png") as image:
        assert image.height < six


def test_the_same_seed_draws_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in ("0", "0", "1"):
        assert main(["clusters", "digits", *RAW, "--seed", seed, "--out", str(tmp_path / "a.png")]) == 0
    first, second, third = re.findall(r"sizes .*", capsys.readouterr().out)
    assert first == second != third


def test_class_names_and_few_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "images"
    for name, count in (("ant", 2), ("bee", 5)):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (12, 10), (40 * index, 0, 255)).save(root / name / f"{index}.png")
    words = ["clusters", f"imagefolder:{root}", "--image-size", "10", *RAW, "--out", str(tmp_path / "a.png")]
    assert main([*words, "--class", "bee"]) == 0
    assert sizes(capsys.readouterr().out) == [1] * 5
    assert main([*words, "--class", "0"]) == 0
    assert "class ant: 2 samples in 2 clusters" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["vectors", "signals"])
def test_samples_that_are_not_images(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["clusters", f"cli_sources:{source}", "--k", "3", "--quiet", "--out", str(tmp_path / "a.png")]
    assert main([*words, "--features", "raw"]) == 0
    for means in ([], ["--means"]):
        assert main([*words, "--features", "trained", "--epochs", "1", "--layer", "2", *means]) == 0
    text = capsys.readouterr().out
    assert "12 samples in 3 clusters (trained, stage 2)" in text
    assert "12 samples in 3 clusters (trained, means of stage 2)" in text
    message = fails(capsys, *words)
    assert "needs images with 1 or 3 channels" in message
    assert "features='trained' or 'raw'" in message


def test_missing_weights_are_reported_before_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr(RealData, "read", None)
    message = fails(capsys, "clusters", "digits", "--out", tmp_path / "a.png")
    assert "no network" in message
    assert "features='trained'" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", "zebra"], r"--class zebra: the source has no such class. Its classes: 0, 1, 2"),
        (["--class", "10"], r"--class 10: the source has no such class"),
        (["--layer", "2"], r"--layer only applies to --features imagenet or trained"),
        (["--means"], r"--means only applies to --features imagenet or trained"),
        (["--epochs", "2"], r"--epochs only applies to --features trained; raw trains no network"),
        (["--out", "a.xyz"], r"path='a.xyz' does not end in an image suffix"),
        (["--features", "trained", "--layer", "5"], r"layer=5 must be 1, 2, 3 or 4"),
    ],
)
def test_wrong_options_are_reported(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = fails(capsys, "clusters", "digits", *RAW, "--out", "unwritten.png", *words)
    assert re.search(message, found)
    assert not Path("unwritten.png").exists()


def test_stages_of_a_trained_network_are_those_of_imagenets() -> None:
    """The first map of a ResNet18 is its stem; stage 1 comes after it, with 64 channels at full size."""
    for shape, channels in (((3, 16, 16), (64, 128, 256, 512)), ((1, 8, 8), (64, 128, 256, 512))):
        for stage, count in enumerate(channels, 1):
            found = resolve(stage_extractor("trained", stage), DatasetInfo(shape, ("a", "b"), 1))
            assert found == Trained("resnet18" if shape[1] > 8 else "resnet18-bn", layer=stage + 1, extent=8)
            module = networks.build(networks.network(found.network), 2, shape, 0).eval()
            with torch.no_grad():
                side = min(8, shape[1] >> (stage - 1))
                assert found._layer(module, shape)(torch.zeros(2, *shape)).shape == (2, count * side * side)
    assert resolve(stage_extractor("trained", 2), DatasetInfo((9,), ("a",), 1)).layer == 2
    assert stage_extractor("trained") == Trained(StageNetwork(), layer=Stage(1), extent=8)
    assert stage_extractor("trained", means=True) == Trained(StageNetwork(), layer=Stage(1))
    assert stage_extractor("raw", 3) == features.Raw()
