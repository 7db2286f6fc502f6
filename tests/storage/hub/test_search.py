"""Search for datasets on the Hub by the tags of their cards."""

from __future__ import annotations

import pytest
from hub_server import HubServer
from hub_worker import small, source

from condensed_data import CondensedDataset
from condensed_data.storage.hub import search


@pytest.fixture(autouse=True)
def _published(hub: HubServer, repo_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public repository with two datasets, a private one, and an unrelated one of another user."""
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    small(0, ipc=1).push_to_hub(repo_id, config_name="one", private=False)
    herding = CondensedDataset(source(), "k_means", ipc=3, cache=False, progress=False)
    herding.push_to_hub(repo_id, config_name="three")
    small(1, ipc=5).push_to_hub(f"{repo_id}-private")
    hub.add_repo("bob/other", {"README.md": b"---\ntags:\n- condensed\n---\n"})


def test_by_recipe_source_and_size(hub: HubServer, repo_id: str) -> None:
    assert [found.repo_id for found in search.find(recipe="k_means")] == [repo_id]
    assert [found.repo_id for found in search.find(ipc=5)] == [f"{repo_id}-private"]
    assert [found.repo_id for found in search.find(recipe="random", ipc=3)] == [repo_id]
    assert len(search.find(source="tensor dataset")) == 2
    assert search.find(source="mnist") == []
    assert search.find(author="bob") == []


def test_search_results(hub: HubServer, repo_id: str) -> None:
    (found,) = search.find(recipe="k_means")
    assert found.commit == hub.hub.repositories["dataset", repo_id].head.oid
    assert (set(found.recipes), found.ipcs) == ({"random", "k_means"}, (1, 3))
    assert found.sources == ("tensordataset",)
    assert not found.private


def test_private_repositories_are_found_by_their_owner_only(hub: HubServer, repo_id: str) -> None:
    assert len(search.find()) == 2
    for token in (hub.token("bob"), False):
        assert [found.repo_id for found in search.find(token=token)] == [repo_id]


def test_pages_and_limits(hub: HubServer) -> None:
    hub.hub.page = 1
    assert len(search.find(limit=None)) == 2
    assert len(hub.asked(r"GET /api/datasets\?")) == 2
    assert len(search.find(limit=1)) == 1
