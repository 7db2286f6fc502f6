"""Pulls: which dataset of which commit, from the Hub or from the cache, and no unnecessary downloads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import Workers, seed_of, small

from condensed_data import ArtifactError, CondensedDataset, IntegrityError
from condensed_data.methods.recipe import Recipe

pytestmark = pytest.mark.usefixtures("alice")


def pulled(repository: Repository, cache: Path, **options: Any) -> CondensedDataset:
    return CondensedDataset.from_hub(repository.name, cache_dir=cache, **options)


def test_a_pull_returns_what_was_pushed(repository: Repository, cache: Path) -> None:
    pushed, found = small(0), pulled(repository, cache)
    assert torch.equal(found.images, pushed.images)
    assert found.targets == pushed.targets
    assert found.classes == ["class 0", "class 1"]
    assert isinstance(found.recipe, Recipe)
    assert found.recipe == pushed.recipe
    assert found.training == pushed.training
    assert found.preprocessing == pushed.preprocessing
    assert found.hub_revision == repository.head.oid
    assert pushed.hub_revision is None
    sample, label = found[0]
    assert torch.equal(sample, pushed[0][0])
    assert label == 0


def test_only_two_files_are_downloaded(hub: HubServer, repository: Repository, cache: Path) -> None:
    pulled(repository, cache)
    assert len(hub.asked("GET /(objects|api/resolve-cache)/")) == 2
    names = {path.name for path in cache.rglob("*") if path.is_file() and "snapshots" in path.parts}
    assert names == {"condensed.json", "condensed.safetensors"}
    sizes, content = (hub.requests.index(hub.asked(what)[0]) for what in ("paths-info", "GET /objects/"))
    assert sizes < content


def test_transforms(repository: Repository, cache: Path) -> None:
    found = pulled(repository, cache, transform=lambda sample: sample * 2, target_transform=str)
    sample, label = found[0]
    assert torch.equal(sample, small(0).images[0] * 2)
    assert label == "0"


def test_revisions(hub: HubServer, repository: Repository, cache: Path) -> None:
    first = repository.head.oid
    repository.refs["refs/tags/v1"] = first
    second = small(1).push_to_hub(repository.name).oid
    small(2).push_to_hub(repository.name, revision="work")
    found = {name: pulled(repository, cache, revision=name) for name in ("main", "v1", "work", first, second)}
    assert {name: seed_of(dataset) for name, dataset in found.items()} == {
        "main": 1,
        "v1": 0,
        "work": 2,
        first: 0,
        second: 1,
    }
    assert found["v1"].hub_revision == first


def test_a_pinned_commit_needs_no_request(hub: HubServer, repository: Repository, cache: Path) -> None:
    commit = pulled(repository, cache).hub_revision
    hub.requests.clear()
    assert seed_of(pulled(repository, cache, revision=commit)) == 0
    assert hub.requests == []
    assert seed_of(pulled(repository, cache, local_files_only=True)) == 0
    assert hub.requests == []
    pulled(repository, cache)
    assert len(hub.requests) == 1
    with hub.away():
        assert seed_of(pulled(repository, cache, revision=commit)) == 0


def test_a_new_commit_is_noticed(repository: Repository, cache: Path) -> None:
    pulled(repository, cache)
    small(1).push_to_hub(repository.name)
    assert seed_of(pulled(repository, cache)) == 1
    assert seed_of(pulled(repository, cache, local_files_only=True)) == 1


def test_without_network_the_cache_is_used(hub: HubServer, repository: Repository, cache: Path, tmp_path: Path) -> None:
    pulled(repository, cache)
    with hub.away():
        assert seed_of(pulled(repository, cache)) == 0
        with pytest.raises(OSError, match=r"the Hub was not reached .*Connect"):
            pulled(repository, tmp_path / "empty")
        with pytest.raises(OSError, match="the Hub was not reached"):
            pulled(repository, cache, revision="other")


def test_force_download_repairs_a_corrupt_cache(hub: HubServer, repository: Repository, cache: Path) -> None:
    pulled(repository, cache)
    (tensors,) = cache.rglob("snapshots/*/condensed.safetensors")
    content = tensors.read_bytes()
    tensors.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"sha256.* force_download=True"):
        pulled(repository, cache)
    assert seed_of(pulled(repository, cache, force_download=True)) == 0
    assert seed_of(pulled(repository, cache)) == 0
    with pytest.raises(ValueError, match="force_download=True needs the network"):
        pulled(repository, cache, force_download=True, local_files_only=True)


def test_sizes_are_checked_before_downloads(hub: HubServer, repository: Repository, cache: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected at most 1000\. .*raise max_bytes"):
        pulled(repository, cache, max_bytes=1000)
    assert not hub.asked("GET /objects/")
    with pytest.raises(ValueError, match="max_bytes=0 must be at least 1"):
        pulled(repository, cache, max_bytes=0)


def test_concurrent_pulls(hub: HubServer, repository: Repository, cache: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: pulled(repository, cache), range(6)))
    assert {seed_of(dataset) for dataset in found} == {0}


def test_a_reader_beside_writers_sees_complete_datasets(hub: HubServer, repository: Repository, cache: Path) -> None:
    def write(seed: int) -> None:
        small(seed).push_to_hub(repository.name)

    with ThreadPoolExecutor(2) as threads:
        writing = [threads.submit(write, seed) for seed in range(1, 5)]
        seen = []
        while not all(done.done() for done in writing):
            seen.append(seed_of(pulled(repository, cache)))
        for done in writing:
            done.result()
    assert set(seen) <= set(range(5))
    assert seed_of(pulled(repository, cache)) in range(1, 5)


def test_offline_mode(hub: HubServer, repository: Repository, cache: Path, tmp_path: Path) -> None:
    commit = pulled(repository, cache).hub_revision
    small(1).push_to_hub(repository.name)
    hub.requests.clear()
    with Workers(tmp_path, HF_HUB_OFFLINE="1") as offline:
        for options in ({}, {"revision": commit}, {"revision": "main"}, {"local_files_only": True}):
            found = offline.do("pull", repository.name, cache_dir=str(cache), **options)
            assert found == {"seed": 0, "commit": commit}
        refused = offline.do("pull", "alice/unknown", cache_dir=str(cache))
        assert refused["error"] == "HubUnavailableError"
        assert "HF_HUB_OFFLINE" in refused["message"]
        refused = offline.do("pull", repository.name, cache_dir=str(cache), config_name="other")
        assert refused["error"] in ("HubNotFoundError", "HubUnavailableError")
        refused = offline.do("push", repository.name, 2)
        assert refused["error"] == "HubUnavailableError"
        assert "HF_HUB_OFFLINE is set" in refused["message"]
        built = offline.do("build", 0, hub=repository.name, cache=str(tmp_path / "built"))
        assert built == {"seed": 0, "commit": None}
    assert hub.requests == []
