"""Every message about the Hub is true in each situation: what was done, and what helps."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import load, seed_of, small

from condensed_data.core import hub_errors as errors
from condensed_data.storage.hub import commit, retry, search

WHOLE = "The dataset is published as a whole or not at all; push again"

pytestmark = pytest.mark.usefixtures("alice")


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (commit, retry):
        monkeypatch.setattr(module, "pause", lambda attempt: None)
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def message_of(call: Any, *arguments: Any, **options: Any) -> tuple[type[Exception], str]:
    with pytest.raises(errors.HubError) as caught:
        call(*arguments, **options)
    return type(caught.value), str(caught.value)


REFUSED = {
    401: (errors.HubAccessError, "rejected the token, or requires one"),
    402: (errors.HubAccessError, "asks for payment (a fault of the test)"),
    403: (errors.HubAccessError, "lacks permission (a fault of the test)"),
    404: (errors.HubError, "refused the request (status 404: a fault of the test)"),
    429: (errors.HubRateLimitError, "too many requests"),
    500: (errors.HubUnavailableError, "the Hub failed (status 500)"),
    503: (errors.HubUnavailableError, "the Hub failed (status 503)"),
}


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize(
    "step", ["GET /api/datasets/", "POST .*/paths-info/", "POST .*/commit/", "POST .*/lfs/|POST .*batch"]
)
def test_pushes(status: int, step: str, hub: HubServer, repository: Repository) -> None:
    """ "Push again" is advised only where it may help."""
    before = repository.head.oid
    hub.fault(step, status=status, times=100)
    kind, message = message_of(small(1).push_to_hub, repository.name)
    assert (kind, REFUSED[status][1] in message) == (REFUSED[status][0], True)
    transient = issubclass(kind, errors.HubUnavailableError)
    assert ("push again" in message, "Nothing was published." in message) == (transient, not transient)
    assert (WHOLE in message) == transient
    assert repository.head.oid == before


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("step", ["GET /api/datasets/", "HEAD .*/resolve/", "GET /objects/|/resolve-cache/"])
def test_pulls(status: int, step: str, hub: HubServer, repository: Repository, cache: Path) -> None:
    """The Hub "was not reached" only if it was not."""
    hub.fault(step, status=status, times=100)
    kind, message = message_of(load, repository, cache_dir=cache)
    assert (kind, REFUSED[status][1] in message) == (REFUSED[status][0], True)
    assert "not reached" not in message
    assert "Nothing was published" not in message
    hub.faults.clear()
    assert seed_of(load(repository, cache_dir=cache)) == 0


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_searches(status: int, hub: HubServer) -> None:
    hub.fault("GET /api/datasets", status=status, times=100)
    kind, message = message_of(search.find)
    assert (kind, REFUSED[status][1] in message) == (REFUSED[status][0], True)


@pytest.mark.parametrize("cut", [0, 1, 20, 100, 300])
def test_pulls_that_are_cut(cut: int, hub: HubServer, repository: Repository, cache: Path) -> None:
    hub.fault("GET /objects/|/resolve-cache/", cut=cut, times=100)
    kind, message = message_of(load, repository, cache_dir=cache)
    assert kind is errors.HubUnavailableError
    assert "cannot reach the Hub" in message
    hub.faults.clear()
    assert seed_of(load(repository, cache_dir=cache)) == 0


def test_a_lost_response_to_a_pull_request(hub: HubServer, repository: Repository) -> None:
    """It may exist, so pushing again could open a second one."""
    hub.fault("POST .*/commit/", drop=True, after=True, times=100)
    kind, message = message_of(small(1).push_to_hub, repository.name, create_pr=True)
    assert kind is errors.HubUnavailableError
    assert "Check its pull requests before you push again" in message


def test_a_push_that_changes_nothing_says_so(hub: HubServer, repository: Repository) -> None:
    before = repository.head.oid
    for options in ({}, {"create_pr": True}):
        done = small(0).push_to_hub(repository.name, **options)
        assert (done.changed, done.oid, done.pr_url) == (False, before, None)
    assert repository.head.oid == before
    done = small(1).push_to_hub(repository.name)
    assert (done.changed, done.oid) == (True, repository.head.oid)
    assert small(1).push_to_hub(repository.name, revision="trial").changed is False  # a branch of the same content
    assert small(0).push_to_hub(repository.name, revision="trial").changed


def test_a_dataset_of_a_newer_version_is_not_replaced(hub: HubServer, repository: Repository) -> None:
    """A build looks for an unused name; one that this version cannot read is used."""
    from condensed_data import UnsupportedFormatError
    from condensed_data.storage.hub.push import publish_build

    result = small(0).result
    hub.commit(repository, {"random-ipc2/condensed.json": b'{"format":"condensed-data","format_version":"2.0"}'})
    with pytest.raises(UnsupportedFormatError, match="pip install --upgrade condensed-data"):
        publish_build(replace(result, metadata=replace(result.metadata, key="0" * 64)), repository.name)
    assert b"2.0" in hub.content(repository)["random-ipc2/condensed.json"]


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(-3, "Temporary failure in name resolution"),
        ssl.SSLError(1, "certificate verify failed"),
        TimeoutError(errno.ETIMEDOUT, "timed out"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        RuntimeError("Xet failed"),
    ],
)
def test_failures_of_the_network_are_not_those_of_the_disk(error: Exception, tmp_path: Path) -> None:
    found = errors.to_hub_error(error, "a/b", folder=tmp_path)
    assert type(found) is errors.HubUnavailableError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ELOOP, errno.EIO, errno.EMFILE])
def test_failures_of_the_disk(code: int, tmp_path: Path) -> None:
    found = errors.to_hub_error(OSError(code, os.strerror(code)), "a/b", folder=tmp_path)
    assert isinstance(found, OSError)
    assert str(found).startswith(f"Cannot write to {tmp_path}: ")
    assert errors.to_hub_error(OSError(code, os.strerror(code)), "a/b") is None  # nothing was written


def test_a_renamed_repository(hub: HubServer, repository: Repository, cache: Path) -> None:
    """The Hub redirects its old name; whatever the client makes of it, nothing is half done, and the name is said."""
    new = f"{repository.name}-renamed"
    files = hub.content(repository)
    moved = hub.add_repo(new, files)
    before = moved.head.oid
    del hub.hub.repositories["dataset", repository.name]
    hub.fault(
        f"/api/datasets/{repository.name}(/revision/[^/]*)?$",
        status=307,
        headers={"Location": f"/api/datasets/{new}"},
        times=1000,
    )
    for call, options in ((load, {"repository": repository, "cache_dir": cache}), (small(1).push_to_hub, {})):
        arguments = () if options else (repository.name,)
        kind, message = message_of(call, *arguments, **options)
        assert issubclass(kind, errors.HubError)
        assert repository.name in message
    assert moved.head.oid == before


@pytest.mark.parametrize("state", ["gated", "private", "disabled", "gone"])
def test_repositories_that_close_between_two_requests(
    state: str, hub: HubServer, repository: Repository, cache: Path
) -> None:
    """While a push or pull runs, the owner changes the settings; the next request is refused."""
    held = hub.fault("POST .*/paths-info/", hold=True, times=1)
    outcome: list[tuple[type[Exception], str]] = []
    bob = hub.token("bob")
    repository.private = False
    reader = threading.Thread(target=lambda: outcome.append(message_of(load, repository, cache_dir=cache, token=bob)))
    reader.start()
    held.reached.wait(30)
    if state == "gone":
        del hub.hub.repositories["dataset", repository.name]
    else:
        setattr(repository, state, True)
    held.release()
    reader.join(30)
    ((kind, message),) = outcome
    assert issubclass(kind, errors.HubAccessError | errors.HubNotFoundError)
    assert repository.name in message
    assert "not reached" not in message
