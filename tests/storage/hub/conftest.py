"""Fixtures for the Hub: alice's token, and a repository of hers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import small


@pytest.fixture
def alice(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs alice in."""
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))


@pytest.fixture
def repository(alice: None, hub: HubServer, repo_id: str) -> Repository:
    """A repository of alice with the dataset of seed 0."""
    small(0).push_to_hub(repo_id)
    hub.requests.clear()
    return hub.hub.repositories["dataset", repo_id]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub cache"
