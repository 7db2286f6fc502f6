"""Text of others cannot act where it is shown: on a terminal, in Markdown, in HTML, in errors."""

from __future__ import annotations

import html
import pickle
import re

import pytest
from hostile_text import HOSTILE, has_controls

from condensed_data.core import text
from condensed_data.core.errors import ArtifactError, IntegrityError, SaveError
from condensed_data.core.hub_errors import HubError, HubNotFoundError
from condensed_data.data.sample import SourceError


@pytest.mark.parametrize("name", HOSTILE)
def test_terminals(name: str) -> None:
    for shown in (text.visible(name), text.visible_name(name)):
        assert not has_controls(shown)
        shown.encode("utf-8")
    assert len(text.visible_name(name)) <= text.MAX_NAME
    assert text.visible(text.visible(name)) == text.visible(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown(name: str) -> None:
    """One line, in which every character with a meaning has a backslash before it, as CommonMark asks."""
    found = text.markdown(name)
    assert not has_controls(found)
    assert re.sub(r"\\(.)", r"\1", found) == text.visible(" ".join(name.split()))
    assert not set(re.sub(r"\\.", "", found)) & set("<>&|`*_~[]#$\\")
    assert "://" not in re.sub(r"\\.", "", found)


@pytest.mark.parametrize("name", HOSTILE)
def test_html(name: str) -> None:
    found = text.html_text(name)
    assert not has_controls(found.replace("\n", ""))
    assert not set(found) & set("<>\"'")
    assert html.unescape(found) == text.visible(name, "\n")


@pytest.mark.parametrize("kind", [ArtifactError, IntegrityError, SaveError, HubError, HubNotFoundError, SourceError])
def test_errors(kind: type[Exception]) -> None:
    for name in HOSTILE:
        error = kind(f"{name} is bad")
        assert not has_controls(str(error))
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), str(again)) == (kind, str(error))


def test_names_in_other_scripts_stay() -> None:
    for name in ("crêpe", "猫", "کتاب\u200cها", "👩\u200d🚀", "שלום", "a\\b"):
        assert text.visible(name) == name
