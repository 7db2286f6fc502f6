"""One round trip through the Hub, on the test server and, if a token is given, on the live Hub.

    CONDENSED_DATA_TEST_TOKEN=hf_... pytest -m online

creates a private dataset repository with a random name, with Xet, and deletes it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from hub_server import HubServer
from hub_worker import Workers
from huggingface_hub import HfApi

LIVE = "https://huggingface.co"


def visit(endpoint: str, token: str, folder: Path, **environment: str) -> None:
    """Push, pull and inspect datasets in a new repository."""
    api = HfApi(endpoint=endpoint, token=token)
    repo_id = f"{api.whoami()['name']}/condensed-data-test-{secrets.token_hex(6)}"
    home = {"HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HOME": str(folder / "home")}
    with Workers(folder, **home, **environment) as workers:
        missing = workers.do("pull", repo_id)
        assert missing["error"] == "HubNotFoundError", missing
        try:
            _visit(api, repo_id, workers, folder)
        finally:
            api.delete_repo(repo_id, repo_type="dataset", missing_ok=True)


def _visit(api: HfApi, repo_id: str, workers: Workers, folder: Path) -> None:
    first = workers.do("push", repo_id, 0, license="mit")
    assert "oid" in first, first
    assert api.dataset_info(repo_id).private
    assert workers.do("push", repo_id, 0, license="mit") == first
    assert workers.do("pull", repo_id) == {"seed": 0, "commit": first["oid"]}
    hidden = workers.do("pull", repo_id, token=False, cache_dir=str(folder / "nobody"))
    assert hidden["error"] in ("HubNotFoundError", "HubAccessError"), hidden
    second = workers.do("push", repo_id, 1, config_name="other")
    proposed = workers.do("push", repo_id, 2, create_pr=True)
    assert "oid" in proposed, proposed
    assert workers.do("pull", repo_id, revision="refs/pr/1")["seed"] == 2
    assert workers.do("pull", repo_id)["seed"] == 0
    assert workers.do("pull", repo_id, config_name="other") == {"seed": 1, "commit": second["oid"]}
    titles = [commit.commit_id for commit in api.list_repo_commits(repo_id, repo_type="dataset")]
    assert titles[:2] == [second["oid"], first["oid"]]
    assert "condensed-data" in (api.dataset_info(repo_id).tags or [])
    unknown = workers.do("pull", repo_id, revision="no-such-branch")
    assert unknown["error"] == "HubNotFoundError", unknown
    for streaming in (False, True):
        found = workers.do("load_pictures", repo_id, str(folder / "datasets"), streaming)
        assert found["names"] == ["class 0", "class 1"], found
        assert found["errors"] <= 0.5 / 255 + 1e-6


@pytest.mark.slow
def test_the_local_server(hub: HubServer, tmp_path: Path) -> None:
    visit(hub.url, hub.token("alice"), tmp_path)


@pytest.mark.online
def test_the_live_hub(tmp_path: Path) -> None:
    token = os.environ.get("CONDENSED_DATA_TEST_TOKEN")
    assert token, "CONDENSED_DATA_TEST_TOKEN must hold a token that may make and delete repositories."
    visit(LIVE, token, tmp_path, HF_HUB_DISABLE_XET="0")
