"""Failures of the Hub: the error names the repository and the remedy, and nothing is left half done."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import load, refused, seed_of, small, source

from condensed_data import ArtifactError, CondensedDataset, SaveError
from condensed_data.core import hub_errors as errors

WHOLE = "The dataset is published as a whole or not at all; push again, what is there already is not sent twice."

pytestmark = pytest.mark.usefixtures("alice")


def test_rate_limits(hub: HubServer, repository: Repository, cache: Path) -> None:
    hub.fault("GET /api/datasets/", status=429, headers={"ratelimit": '"api";r=0;t=7'}, times=2)
    refused(
        errors.HubRateLimitError,
        r"too many requests to the Hub; the limit ends in 7 s\. Wait",
        load,
        repository=repository,
    )
    message = refused(errors.HubRateLimitError, "too many requests", small(1).push_to_hub, repo_id=repository.name)
    assert WHOLE in message
    hub.fault("GET /api/datasets/", status=429, headers={"Retry-After": "9"})
    refused(errors.HubRateLimitError, "ends in 9 s", load, repository=repository)


def test_transient_server_errors(hub: HubServer, repository: Repository, cache: Path) -> None:
    for match in ("GET /api/datasets/", "POST .*/preupload/", "PUT /uploads/", "POST .*/commit/"):
        hub.fault(match, status=503)
    done = small(1).push_to_hub(repository.name)
    assert repository.head.oid == done.oid
    assert len(repository.history("main")) == 3
    for match in (
        "GET /api/datasets/.*/revision/",
        "POST .*/paths-info/",
        "HEAD .*/resolve/",
        "GET /objects/",
    ):
        hub.fault(match, status=502)
    assert seed_of(load(repository, cache_dir=cache)) == 1


def test_persistent_server_errors(hub: HubServer, repository: Repository, cache: Path) -> None:
    before = repository.head.oid
    hub.fault("POST .*/commit/", status=500, times=100)
    message = refused(
        errors.HubUnavailableError,
        r"the Hub failed \(status 500\)",
        small(1).push_to_hub,
        repo_id=repository.name,
    )
    assert WHOLE in message
    assert repository.head.oid == before
    hub.faults.clear()
    assert small(1).push_to_hub(repository.name).oid == repository.head.oid
    hub.fault("GET /api/datasets/", status=503, times=100)
    refused(
        errors.HubUnavailableError,
        r"the Hub failed \(status 503\)",
        load,
        repository=repository,
        cache_dir=cache,
    )


def test_no_network(hub: HubServer, repository: Repository, cache: Path) -> None:
    with hub.away():
        message = refused(
            errors.HubUnavailableError,
            r"cannot reach the Hub \(ConnectError.*Check the network and HF_ENDPOINT",
            small(1).push_to_hub,
            repo_id=repository.name,
        )
        assert WHOLE in message
        refused(errors.HubUnavailableError, "Connect", load, repository=repository, cache_dir=cache)


def test_without_network_a_build_condenses_locally(hub: HubServer, repo_id: str, cache: Path) -> None:
    def build(cache: Path, **options: Any) -> CondensedDataset:
        return CondensedDataset(source(), "random", ipc=2, hub=repo_id, cache=cache, progress=False, **options)

    not_taken = r"Could not load the result from the Hub; condensing locally instead\..* reach"
    not_published = rf"publishing failed: .* reach.* Publish it with push_to_hub\({repo_id!r}\)"
    with hub.away():
        with pytest.warns(UserWarning, match=not_taken) as warned:
            assert seed_of(build(cache / "one")) == 0
        assert warned[0].filename == __file__  # the user's line, not one of the package
        with (
            pytest.warns(UserWarning, match="Publishing the result may fail: .* reach"),
            pytest.warns(UserWarning, match=not_taken),
            pytest.warns(UserWarning, match=not_published),
        ):
            assert seed_of(build(cache / "two", push=True)) == 0
    build(cache / "two", push=True)  # from the local cache, now published
    assert seed_of(load(repo_id)) == 0


def test_a_server_that_never_answers(
    hub: HubServer, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.2)
    hub.fault("GET ", hold=True, times=100)
    refused(
        errors.HubUnavailableError, "not reached .timed out.*Check the", load, repository=repository, cache_dir=cache
    )
    refused(
        errors.HubUnavailableError,
        r"cannot reach the Hub \(ReadTimeout",
        small(1).push_to_hub,
        repo_id=repository.name,
    )
    with pytest.warns(
        UserWarning, match=r"Could not load the result from the Hub; condensing locally instead\..* reach"
    ):
        CondensedDataset(source(), "random", ipc=2, hub=repository.name, cache=cache, progress=False)
    with (
        pytest.warns(UserWarning, match="Publishing the result may fail"),
        pytest.warns(UserWarning, match="The result is ready, but publishing failed"),
    ):
        CondensedDataset(source(), "random", ipc=2, hub=repository.name, push=True, cache=cache, progress=False)


def test_a_commit_whose_response_is_lost_is_detected(hub: HubServer, repository: Repository) -> None:
    hub.fault("POST .*/commit/", drop=True, after=True)
    done = small(1).push_to_hub(repository.name)
    assert done.oid == repository.head.oid
    assert len(repository.history("main")) == 3


@pytest.mark.parametrize(
    "step",
    [
        "PUT /uploads/",
        "POST .*/commit/",
        "POST .*/preupload/",
        "GET .*/revision/|GET /api/datasets/[^/]*/[^/]*$",
    ],
)
def test_connections_that_break_during_a_push(hub: HubServer, repository: Repository, step: str) -> None:
    hub.fault(step, drop=True)
    done = small(1).push_to_hub(repository.name)
    assert done.oid == repository.head.oid
    assert len(repository.history("main")) == 3
    assert seed_of(load(repository)) == 1


def test_connections_that_break_during_a_pull(hub: HubServer, repository: Repository, cache: Path) -> None:
    for number, fault in enumerate(({"cut": 300}, {"drop": True})):
        hub.fault("GET /objects/", **fault)
        assert seed_of(load(repository, cache_dir=cache / str(number))) == 0
    hub.fault("GET /api/resolve-cache/.*json", cut=100)
    assert seed_of(load(repository, cache_dir=cache / "manifest")) == 0


@pytest.mark.parametrize("match", ["GET /objects/", "GET /api/resolve-cache/"])
def test_corrupted_bytes_are_not_loaded(hub: HubServer, repository: Repository, cache: Path, match: str) -> None:
    hub.fault(match, corrupt=True)
    with pytest.raises(ArtifactError) as caught:
        load(repository, cache_dir=cache)
    assert repository.name in str(caught.value)
    assert seed_of(load(repository, cache_dir=cache, force_download=True)) == 0


def test_a_refused_upload_is_not_published(hub: HubServer, repository: Repository) -> None:
    before = repository.head.oid
    hub.fault("PUT /uploads/", status=400, message="The content has another checksum", times=100)
    message = refused(errors.HubUnavailableError, "a transfer failed", small(1).push_to_hub, repo_id=repository.name)
    assert WHOLE in message
    assert repository.head.oid == before


def test_a_full_disk(hub: HubServer, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(SaveError, match=r"the disk is full.*Free some space") as caught:
            load(repository, cache_dir=cache)
    assert caught.value.errno == errno.ENOSPC
    assert str(cache) in str(caught.value)
    assert seed_of(load(repository, cache_dir=cache)) == 0


def test_endless_conflicts(hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condensed_data.storage.hub.commit.pause", lambda attempt: None)
    hub.fault("POST .*/commit/", status=412, times=100)
    message = refused(
        errors.ConcurrentPushError, r"another push was faster.*Try again", small(1).push_to_hub, repo_id=repository.name
    )
    assert WHOLE in message


@pytest.mark.slow  # the client tries six times
def test_search_errors(hub: HubServer) -> None:
    from condensed_data.storage.hub import search

    with hub.away():
        refused(errors.HubUnavailableError, "cannot reach the Hub", search.find)
