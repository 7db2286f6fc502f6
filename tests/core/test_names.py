"""The known name that an unknown one resembles."""

from __future__ import annotations

import pytest

from condensed_data.core.names import did_you_mean, unknown_name


@pytest.mark.parametrize(
    ("name", "known", "similar"),
    [
        ("dmm", ["dc", "dm", "mtt"], "dm"),
        ("k-means", ["k_center", "k_means"], "k_means"),
        ("ConvNet", ["convnet", "mlp"], "convnet"),
        ("iteration", ["ipc", "iterations"], "iterations"),
    ],
)
def test_a_similar_name_is_suggested(name: str, known: list[str], similar: str) -> None:
    assert did_you_mean(name, known) == f" Did you mean {similar!r}?"


@pytest.mark.parametrize("name", ["xyz", "", 5, None])
def test_nothing_is_suggested_for_other_names(name: object) -> None:
    assert did_you_mean(name, ["dm", "mtt"]) == ""
    assert did_you_mean(name, []) == ""


def test_the_message_lists_what_is_known() -> None:
    assert (
        unknown_name("recipe", "dmm", ["dc", "dm"]) == "Unknown recipe 'dmm'. Did you mean 'dm'? Known recipes: dc, dm."
    )
