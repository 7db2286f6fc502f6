"""Every example runs, at a tiny scale, the way a user starts it."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import fake_data
import pytest
from cli_tools import shorten
from hub_server import HubServer

from condensed_data import CondensedDataset
from condensed_data.methods.recipes import registry
from condensed_data.storage.hub.search import keys

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NET = "convnet-d2-w4"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an example in an empty folder and returns its output."""

    def start(name: str, *arguments: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CONDENSED_DATA_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.setattr(registry, "_FUNCTIONS", dict(registry._FUNCTIONS))  # an example adds a method
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as exit_:
            if exit_.code:
                raise
        return capsys.readouterr().out

    return start


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in source for path in EXAMPLES.glob("*.py"))


def test_examples_are_short_and_start_with_their_installation() -> None:
    for path in EXAMPLES.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# pip install")
        assert len(lines) <= 110


def test_drop_in_on_digits(run: Callable[..., str]) -> None:
    text = run("drop_in.py", "--data", "digits", "--ipc", 1, "--iterations", 1, "--epochs", 1)
    assert "trained on 10 samples" in text


def test_drop_in_on_fashion_mnist(run: Callable[..., str], tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path)
    text = run("drop_in.py", "--data-root", tmp_path, "--ipc", 1, "--iterations", 1, "--epochs", 1)
    assert "trained on 10 samples" in text


def test_drop_in_changes_one_line() -> None:
    text = (EXAMPLES / "drop_in.py").read_text(encoding="utf-8")
    (changed,) = (line for line in text.splitlines() if "THE ONE CHANGED LINE" in line)
    assert changed.strip().startswith("train_set = CondensedDataset(train_set, ")


def test_condense_fashion_mnist(run: Callable[..., str], tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path)
    words = ("--data-root", tmp_path, "--ipc", 1, "--iterations", 2, "--runs", 1, "--epochs", 1)
    text = run("condense_fashion_mnist.py", *words, "--network", NET, "--out", tmp_path / "out")
    assert "example, 1 epochs protocol" in text
    condensed = CondensedDataset.load(tmp_path / "out")
    assert len(condensed) == 10
    assert len(condensed.metadata.evaluations) == 1
    assert all((tmp_path / "out" / name).is_file() for name in ("grid.png", "loss.png", "README.md"))
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 2


def test_publish_zoo(run: Callable[..., str], hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published datasets are skipped by their key, also on another machine; missing ones are added."""
    shorten(monkeypatch)
    owner = f"zoo{tmp_path.name}".replace("_", "-")
    monkeypatch.setenv("HF_TOKEN", hub.token(owner))
    words = (
        owner,
        "--sources",
        "digits",
        "--iterations",
        2,
        "--runs",
        1,
        "--network",
        NET,
        "--license",
        "mit",
    )
    first = run("publish_zoo.py", *words, "--recipes", "random", "--ipc", 1)
    repo = f"{owner}/condensed-digits"
    assert f"{repo} random-ipc1: published in " in first
    repository = hub.hub.repositories["dataset", repo]
    head = repository.head.oid
    shutil.rmtree(tmp_path / "cache")
    again = run("publish_zoo.py", *words, "--recipes", "random", "--ipc", 1)
    assert f"{repo} random-ipc1: already published" in again
    assert repository.head.oid == head
    run("publish_zoo.py", *words, "--recipes", "random", "--ipc", 1, 2)
    run("publish_zoo.py", *words, "--recipes", "random", "--ipc", 1, "--seed", 1)
    published = {CondensedDataset.from_hub(repo, config_name=name).metadata.key: name for name in keys(repo).values()}
    assert published == keys(repo)
    assert sorted(name[:12] for name in published.values()) == ["random-ipc1", "random-ipc1-", "random-ipc2"]
    card = hub.content(repository)["README.md"].decode()
    assert 'license: "mit"' in card
    assert NET in card


def test_publish_zoo_continues_after_a_failure(
    run: Callable[..., str], hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", hub.token("mallory"))  # who has no write access
    words = ("zoo", "--iterations", 2, "--recipes", "random", "--ipc", 1, 2, "--runs", 1, "--network", NET)
    with pytest.raises(SystemExit, match=r"2 datasets were not published\. Run the same command again"):
        run("publish_zoo.py", *words)


def test_new_method(run: Callable[..., str]) -> None:
    text = run("new_method.py", "--ipc", 2, "--iterations", 2, "--runs", 1, "--epochs", 1)
    assert [line.split()[0] for line in text.splitlines() if "protocol" in line] == [
        "random",
        "dm",
        "moments",
    ]


def test_nas_proxy(run: Callable[..., str], tmp_path: Path) -> None:
    few = ("--ipc", 1, "--iterations", 1, "--widths", 4, "--depths", 1, 2, "--trials", 4, "--epochs", 1)
    text = run("nas_proxy.py", *few, "--reference-epochs", 1, "--compare", 4)
    assert "best of 4 trials: " in text
    rows = [line.split()[0] for line in text.splitlines() if line.endswith("x")]
    assert rows == ["other", "condensed", "random", "params", "flops", "synflow", "naswot"]
    assert "full dataset: 3 -> 1 configurations" in text
    assert "test accuracy" in text
    assert (tmp_path / "ranks.csv").read_text().count("\n") == 5
    assert (tmp_path / "ranks.png").is_file()


def test_debias_colored_digits(run: Callable[..., str], tmp_path: Path) -> None:
    few = ("--ratios", 0.5, "--seeds", 1, "--iterations", 2, "--runs", 1, "--epochs", 1, "--network", NET)
    text = run("debias_colored_digits.py", *few, "--out", tmp_path / "grids")
    rows = [line.split() for line in text.splitlines()[1:]]
    assert [row[:3] for row in rows] == [["0.5", "0", "none"], ["0.5", "0", "color"]]
    assert all(0 <= float(value.rstrip("%")) <= 100 for row in rows for value in row[3:])
    assert [len(row) for row in rows] == [7, 7]
    assert {path.name for path in (tmp_path / "grids").iterdir()} == {
        "0.5-0-ungrouped.png",
        "0.5-0-color.png",
    }


def test_the_colors_of_digits_have_the_requested_bias() -> None:
    import torch

    example = runpy.run_path(str(EXAMPLES / "debias_colored_digits.py"))
    labels = torch.arange(40_000) % 10
    colors = example["biased"](labels, 0.1, 0)
    for label in range(10):
        mine = colors[labels == label]
        assert int((mine == label).sum()) == 3600
        assert len(mine.unique()) == 10  # every other color is among the 400 that conflict
    assert not torch.equal(colors, example["biased"](labels, 0.1, 1))
    source = example["ColoredDigits"](torch.ones(2, 1, 1, 1), torch.tensor([3, 5]), torch.tensor([0, 8]))
    assert source.color == ["red", "white"]
    assert (255 * source[0][0]).flatten().tolist() == pytest.approx([0xE6, 0x19, 0x19])


def test_the_splits_of_colored_mnist(tmp_path: Path) -> None:
    import numpy as np

    example = runpy.run_path(str(EXAMPLES / "debias_colored_digits.py"))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(fake_data._idx(labels))
        images = np.broadcast_to(labels[:, None, None], (count, 2, 2)).copy()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(fake_data._idx(images))
    (images, labels), (test, _) = example["gray_digits"]("mnist", tmp_path)
    assert images.shape == (45_000, 1, 2, 2)
    assert test.shape == (10_000, 1, 2, 2)
    assert (255 * images[:, 0, 0, 0]).round().long().equal(labels)


def test_the_new_objective_equals_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """It equals a loop over classes and features in double precision, and dm if spread is 0."""
    import torch

    from condensed_data.core.batch import Batch, NetworkView, Pair
    from condensed_data.methods.objectives import Distribution

    monkeypatch.setattr(registry, "_FUNCTIONS", dict(registry._FUNCTIONS))
    example = runpy.run_path(str(EXAMPLES / "new_method.py"))
    torch_generator = torch.Generator().manual_seed(0)
    real = Batch(torch.randn(12, 5, generator=torch_generator).double(), torch.arange(2).repeat_interleave(6), (6, 6))
    fake = Batch(torch.randn(6, 5, generator=torch_generator).double(), torch.arange(2).repeat_interleave(3), (3, 3))
    module = torch.nn.Identity()
    net = NetworkView(module, module, lambda x: (x,))
    expected = 0.0
    for group in range(2):
        for feature in range(5):
            rows = real.x[6 * group : 6 * group + 6, feature], fake.x[3 * group : 3 * group + 3, feature]
            means = [float(row.mean()) for row in rows]
            stds = [float(row.var(correction=0) + 1e-6) ** 0.5 for row in rows]
            expected += (means[0] - means[1]) ** 2 + 2 * (stds[0] - stds[1]) ** 2
    assert float(example["Moments"](spread=2.0)(net, Pair(real, fake))) == pytest.approx(expected, rel=1e-5)
    plain = example["Moments"](spread=0.0)(net, Pair(real, fake))
    assert float(plain) == pytest.approx(float(Distribution()(net, Pair(real, fake))))
    with pytest.raises(ValueError, match="spread=-1"):
        example["Moments"](spread=-1)


# raised by Avalanche's own calls
@pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning")
def test_continual_replay(run: Callable[..., str]) -> None:
    text = run("continual_replay.py", "--data", "digits", "--images", 20, "--steps", 1, "--iterations", 1)
    assert "20 real images: " in text
    assert "condensed images in 1280 bytes: " in text
    assert "Memory/condensing_seconds" in text
