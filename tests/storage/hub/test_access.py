"""What is not there, or not for everybody: a sentence that names the repository and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import refused, seed_of, small, source

from condensed_data import CondensedDataset
from condensed_data.core import hub_errors as errors


@pytest.fixture(autouse=True)
def _logged_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))


@pytest.fixture
def repository(hub: HubServer, repo_id: str) -> Repository:
    """A repository with the set of seed 0."""
    small(0).push_to_hub(repo_id)
    hub.requests.clear()
    return hub.hub.repositories["dataset", repo_id]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def pull(repository: Repository | str, **options: Any) -> CondensedDataset:
    name = repository if isinstance(repository, str) else repository.name
    return CondensedDataset.from_hub(name, **options)


def test_what_is_not_there(hub: HubServer, repository: Repository, cache: Path) -> None:
    missing = f"{repository.name}-missing"
    told = refused(
        errors.HubNotFoundError, "no such dataset repository, or it is private", pull, repository=missing
    )
    assert missing in told
    refused(errors.HubNotFoundError, "has no revision 'v9'", pull, repository=repository, revision="v9")
    refused(
        errors.HubNotFoundError,
        f"has no revision '{'0' * 40}'",
        pull,
        repository=repository,
        revision="0" * 40,
    )
    refused(
        errors.HubNotFoundError,
        r"no config 'b'\. Give config_name=",
        pull,
        repository=repository,
        config_name="b",
    )
    hub.add_repo(f"{missing}-model", {"README.md": b"#"}, kind="model")
    refused(errors.HubNotFoundError, "is a model repository", pull, repository=f"{missing}-model")
    refused(errors.HubNotFoundError, "is a model repository", small().push_to_hub, repo_id=f"{missing}-model")
    assert ("dataset", f"{missing}-model") not in hub.hub.repositories


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "../b", "a/b c", "a\n/b", None])
def test_names_that_are_none(hub: HubServer, name: Any) -> None:
    for call in (CondensedDataset.from_hub, small().push_to_hub):
        with pytest.raises(ValueError, match=r"repo_id=.* give USER/NAME"):
            call(name)
    assert hub.requests == []


def test_who_may_not_see_it(hub: HubServer, repository: Repository, cache: Path) -> None:
    def look(token: str | bool) -> Callable[..., object]:
        return lambda: pull(repository, token=token, cache_dir=cache)

    bob = hub.token("bob")
    refused(errors.HubNotFoundError, "or it is private and the token does not open it", look(bob))
    refused(errors.HubAccessError, "does not accept the token, or wants one.*Log in", look(False))
    hub.hub.revoked.add(hub.token("carol"))
    refused(errors.HubAccessError, "does not accept the token", look(hub.token("carol")))
    repository.private, repository.gated = False, True
    for token in (bob, False):
        refused(errors.HubAccessError, "is gated: its owner grants access.*Ask for it", look(token))
    repository.guests.add("bob")
    assert seed_of(pull(repository, token=bob, cache_dir=cache)) == 0


def test_who_may_not_write_it(hub: HubServer, repository: Repository) -> None:
    repository.private = False
    for token in (hub.token("bob"), hub.token("alice", "read")):
        refused(
            errors.HubAccessError,
            "the token may not do this.*Use a token with write access",
            small(1).push_to_hub,
            repo_id=repository.name,
            token=token,
        )
    refused(errors.HubAccessError, "may not do this", small().push_to_hub, repo_id="bob/set")
    repository.disabled = True
    refused(errors.HubAccessError, "is disabled on the Hub", small(1).push_to_hub, repo_id=repository.name)
    refused(errors.HubAccessError, "is disabled on the Hub", pull, repository=repository)


def test_a_push_with_a_bad_token_is_told_before_the_work(hub: HubServer, repo_id: str, cache: Path) -> None:
    hub.hub.revoked.add(hub.token("alice"))
    with pytest.raises(errors.HubAccessError, match="does not accept the token"):
        CondensedDataset(source(), "dm", ipc=1, hub=repo_id, push=True, cache=cache)
    assert not cache.exists()
