"""Missing or inaccessible repositories: the error names the repository and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import load, refused, seed_of, small, source

from condensed_data import CondensedDataset
from condensed_data.core import hub_errors as errors
from condensed_data.storage.hub import search

pytestmark = pytest.mark.usefixtures("alice")


def test_missing_repositories_revisions_and_configs(hub: HubServer, repository: Repository, cache: Path) -> None:
    missing = f"{repository.name}-missing"
    message = refused(
        errors.HubNotFoundError, "this dataset repository does not exist, or it is private", load, repository=missing
    )
    assert missing in message
    refused(errors.HubNotFoundError, "has no revision 'v9'", load, repository=repository, revision="v9")
    refused(errors.HubNotFoundError, f"has no revision '{'0' * 40}'", load, repository=repository, revision="0" * 40)
    refused(errors.HubNotFoundError, r"no config 'b'\. Give config_name=", load, repository=repository, config_name="b")
    hub.add_repo(f"{missing}-model", {"README.md": b"#"}, kind="model")
    refused(errors.HubNotFoundError, "is a model repository", load, repository=f"{missing}-model")
    refused(errors.HubNotFoundError, "is a model repository", small().push_to_hub, repo_id=f"{missing}-model")
    assert ("dataset", f"{missing}-model") not in hub.hub.repositories


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "../b", "a/b c", "a\n/b", None])
def test_invalid_repository_names(hub: HubServer, name: Any) -> None:
    for call in (CondensedDataset.from_hub, small().push_to_hub):
        with pytest.raises(ValueError, match=r"repo_id=.* (Give USER/NAME|must be a string)"):
            call(name)
    assert hub.requests == []


def test_repositories_without_read_access(hub: HubServer, repository: Repository, cache: Path) -> None:
    def pull_with(token: str | bool) -> Callable[..., object]:
        return lambda: load(repository, token=token, cache_dir=cache)

    bob = hub.token("bob")
    refused(errors.HubNotFoundError, "or it is private and the token has no access", pull_with(bob))
    refused(errors.HubAccessError, "rejected the token, or requires one.*Log in", pull_with(False))
    hub.hub.revoked.add(hub.token("carol"))
    refused(errors.HubAccessError, "rejected the token", pull_with(hub.token("carol")))
    repository.private, repository.gated = False, True
    for token in (bob, False):
        refused(errors.HubAccessError, "is gated: its owner must grant you access.*Request access", pull_with(token))
    repository.guests.add("bob")
    assert seed_of(load(repository, token=bob, cache_dir=cache)) == 0


def test_repositories_without_write_access(hub: HubServer, repository: Repository) -> None:
    repository.private = False
    for token in (hub.token("bob"), hub.token("alice", "read")):
        refused(
            errors.HubAccessError,
            "the token lacks permission.*to publish, write to it",
            small(1).push_to_hub,
            repo_id=repository.name,
            token=token,
        )
    refused(errors.HubAccessError, "lacks permission", small().push_to_hub, repo_id="bob/set")
    repository.disabled = True
    refused(errors.HubAccessError, "is disabled on the Hub", small(1).push_to_hub, repo_id=repository.name)
    refused(errors.HubAccessError, "is disabled on the Hub", load, repository=repository)


def test_a_build_with_push_checks_the_token_first(hub: HubServer, repo_id: str, cache: Path) -> None:
    hub.hub.revoked.add(hub.token("alice"))
    with pytest.raises(errors.HubAccessError, match="rejected the token"):
        CondensedDataset(source(), "dm", ipc=1, hub=repo_id, push=True, cache=cache)
    assert not cache.exists()


@pytest.mark.parametrize(
    "token", ["", " ", "hf_se\ncret", "hf_secret\u202e", "hf secret", "hf_s\xe4cret", "x" * 501, 5, b"cret"]
)
def test_values_that_are_no_token_are_not_sent_and_not_shown(
    token: Any, hub: HubServer, repository: Repository
) -> None:
    for call in (CondensedDataset.from_hub, small().push_to_hub):
        with pytest.raises(ValueError, match=r"token=( cannot be a token|\*\*\*\) must be)") as caught:
            call(repository.name, token=token)
        assert "cret" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^token= cannot be a token"):
        search.find(token=token)
    assert hub.requests == []


def test_a_token_read_from_a_file_may_end_with_a_line_break(
    hub: HubServer, repository: Repository, cache: Path
) -> None:
    token = f"{hub.token('alice')}\n"
    assert seed_of(load(repository, token=token, cache_dir=cache)) == 0
    assert small(1).push_to_hub(repository.name, token=token).changed


@pytest.mark.parametrize("revision", ["", "a\0b", "../x", "a b", "\u202e", "x" * 251, "a?b", "a:b", "-x", "a\\b", 5])
def test_values_that_are_no_revision(revision: Any, hub: HubServer, repository: Repository) -> None:
    for call in (CondensedDataset.from_hub, small().push_to_hub):
        with pytest.raises(
            ValueError, match=r"revision=.* (cannot be a revision\. Give a branch|must be a string or None)"
        ):
            call(repository.name, revision=revision)
    assert hub.requests == []


def test_other_values(hub: HubServer, repository: Repository) -> None:
    for options in ({"commit_message": ""}, {"commit_message": 5}, {"private": "no"}, {"create_pr": 1.5}):
        ((argument, _),) = options.items()
        with pytest.raises(ValueError, match=rf"\b{argument}="):
            small().push_to_hub(repository.name, **options)
    for options in ({"cache_dir": 5}, {"cache_dir": "a\0b"}):
        with pytest.raises(ValueError, match=r"\bcache_dir="):
            CondensedDataset.from_hub(repository.name, **options)
    for argument in ("source", "recipe", "author"):
        for value in ("", "\ud800", 5):
            with pytest.raises(ValueError, match=rf"^{argument}="):
                search.find(**{argument: value})
    assert hub.requests == []
