from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from PIL import Image

from condensed_data.plotting import curves as module
from condensed_data.plotting.curves import curves


def drawn(monkeypatch, history, path):
    """The axes of the plot."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **kw: (figures.append(figure), save(figure, *args, **kw))
    )
    curves(history, path)
    return figures[0].axes


def losses(count: int) -> list[dict[str, float]]:
    return [{"iteration": iteration, "loss": 1000 / iteration} for iteration in range(1, count + 1)]


def accuracies(network: str = "convnet", protocol: str = "quick") -> list[dict[str, object]]:
    return [
        {"iteration": s, "network": network, "protocol": protocol, "accuracy": a, "accuracy_std": 0.01}
        for s, a in ((0, 0.5), (100, 0.7))
    ]


def test_pairs_and_records_give_the_same_loss(monkeypatch, tmp_path) -> None:
    pairs = [(3, 1.0), (1, 2.0), (2, 1.5)]
    from_pairs = drawn(monkeypatch, pairs, tmp_path / "a.png")
    from_records = drawn(monkeypatch, [{"iteration": s, "loss": v} for s, v in pairs], tmp_path / "b.png")
    for axes in (from_pairs, from_records):
        assert len(axes) == 1
        assert axes[0].lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.5], [3, 1.0]]
        assert axes[0].get_yscale() == "linear"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 400


def test_accuracy_has_its_own_panel_in_percent_and_names_the_protocol(monkeypatch, tmp_path) -> None:
    history = losses(100) + accuracies() + accuracies("mlp", "dsa")
    loss, accuracy = drawn(monkeypatch, json.loads(json.dumps(history)), tmp_path / "curves.svg")
    assert loss.get_yscale() == "log"
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == [
        "convnet, quick protocol",
        "mlp, dsa protocol",
    ]
    np.testing.assert_allclose(accuracy.containers[0][0].get_xydata(), [[0, 50], [100, 70]])
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_accuracy_alone_is_drawn(monkeypatch, tmp_path) -> None:
    (accuracy,) = drawn(monkeypatch, accuracies(), tmp_path / "curves.png")
    assert "accuracy" in accuracy.get_ylabel()


def test_long_histories_get_a_running_mean_over_the_raw_loss(monkeypatch, tmp_path) -> None:
    (axes,) = drawn(monkeypatch, losses(400), tmp_path / "curves.png")
    raw, smooth = axes.lines
    assert raw.get_alpha() < 0.5
    values = raw.get_ydata()
    np.testing.assert_allclose(smooth.get_ydata()[200], np.mean(values[195:206]), rtol=1e-12)


def test_a_short_history_shows_its_points(monkeypatch, tmp_path) -> None:
    (axes,) = drawn(monkeypatch, losses(19), tmp_path / "curves.png")
    assert [line.get_marker() for line in axes.lines] == ["o"]


def test_the_running_mean_uses_fewer_points_at_the_ends() -> None:
    values = np.array([1.0, 2.0, 6.0, 3.0])
    np.testing.assert_allclose(module._running_mean(values, 1), [1.5, 3.0, 11 / 3, 4.5])


def test_losses_that_are_not_finite_are_skipped(monkeypatch, tmp_path) -> None:
    history = [(1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0)]
    records = [*history, {"iteration": 5, "loss": None}]
    (axes,) = drawn(monkeypatch, records, tmp_path / "curves.png")
    assert axes.lines[0].get_xdata().tolist() == [1, 4]


def test_pyplot_with_its_global_state_is_not_imported(tmp_path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    curves(losses(5), tmp_path / "curves.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_empty_histories_and_unknown_suffixes_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="history has neither"):
        curves([(1, math.nan)], tmp_path / "curves.png")
    with pytest.raises(ValueError, match=r"path=.*curves\.xyz.*Supported: .*\.png"):
        curves(losses(3), tmp_path / "curves.xyz")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Cannot write path=.*curves\.png"):
        curves(losses(3), tmp_path / "file" / "curves.png")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install condensed-data\[plot\]"):
        curves(losses(3), tmp_path / "curves.png")
