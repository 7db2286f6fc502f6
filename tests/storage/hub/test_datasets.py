"""Published datasets read with the unmodified `datasets` library, and Xet, in processes with their own environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import HubServer
from hub_worker import Workers, seed_of, small, source

from condensed_data import CondensedDataset

NAMES, LABELS = ["class 0", "class 1"], [0, 0, 1, 1]
AWKWARD = ["a: b # c", "yes", "- \"x\" 'y'", "é 漢", "{{", "| *a & !b", "0", "null", "<b>", "a\tb"]


def test_load_dataset_returns_images_and_class_names(
    hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    small(0).push_to_hub(repo_id)
    small(1, ipc=1).push_to_hub(repo_id, config_name="ipc1")
    with Workers(tmp_path) as workers:
        for streaming in (False, True):
            found = workers.do("load_pictures", repo_id, str(tmp_path / "cache"), streaming)
            assert found["names"] == NAMES, found
            assert found["labels"] == LABELS
            assert found["kinds"] == ["PIL.PngImagePlugin (8, 8)"] * 4
            assert found["errors"] <= 0.5 / 255 + 1e-6
        found = workers.do("load_pictures", repo_id, str(tmp_path / "cache"), False, "ipc1")
        assert found["labels"] == [0, 1], found
        assert workers.do("config_names", repo_id) == {"names": ["default", "ipc1"], "default": "default"}


def test_through_xet(hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    store = tmp_path / "xet"
    store.mkdir()
    hub.keep_in_xet(store)
    with Workers(tmp_path, HF_HUB_DISABLE_XET="0", HF_HOME=str(tmp_path / "home")) as workers:
        pushed = workers.do("push", repo_id, 3)
        assert hub.asked("GET .*/xet-write-token/")
        assert not hub.asked("PUT /uploads/")
        assert workers.do("pull", repo_id) == {"seed": 3, "commit": pushed["oid"]}
        assert hub.asked("GET .*/xet-read-token/")
        assert not hub.asked("GET /objects/")
        assert workers.do("push", repo_id, 3) == pushed
        newer = workers.do("push", repo_id, 4)
        assert newer != pushed
        assert workers.do("pull", repo_id, revision=pushed["oid"])["seed"] == 3
        assert workers.do("pull", repo_id)["seed"] == 4
    assert len(hub.hub.xet_hashes) >= 2


@pytest.mark.slow
def test_names_with_a_meaning_in_yaml(
    hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    dataset = source(classes=len(AWKWARD))
    dataset.classes = AWKWARD
    CondensedDataset(dataset, "random", ipc=1, cache=False, progress=False).push_to_hub(repo_id)
    assert CondensedDataset.from_hub(repo_id).classes == AWKWARD
    with Workers(tmp_path) as workers:
        found = workers.do("load_pictures", repo_id, str(tmp_path / "cache"), False)
    assert found["names"] == AWKWARD, found


@pytest.mark.slow
def test_concurrent_builds_publish_one_dataset(
    hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    with Workers(tmp_path) as workers:
        caches = [str(tmp_path / f"cache{number}") for number in range(3)]
        jobs = [workers.start("build", 0, hub=repo_id, push=True, cache=cache) for cache in caches]
        assert [job.result()["seed"] for job in jobs] == [0, 0, 0]
    repository = hub.hub.repositories["dataset", repo_id]
    assert len([path for path in hub.content(repository) if path.endswith("condensed.json")]) == 1
    assert len(repository.history("main")) == 2


@pytest.mark.slow
def test_many_processes(hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    with Workers(tmp_path) as workers:
        jobs = [workers.start("push", repo_id, seed, config_name=f"set{seed}") for seed in range(4)]
        oids = {job.result()["oid"] for job in jobs}
        history = hub.hub.repositories["dataset", repo_id].history("main")
        assert oids == {commit.oid for commit in history[:-1]}
        cache = str(tmp_path / "cache")
        pulls = [workers.start("pull", repo_id, config_name="set1", cache_dir=cache) for _ in range(6)]
        assert [job.result()["seed"] for job in pulls] == [1] * 6
    for seed in range(4):
        assert seed_of(CondensedDataset.from_hub(repo_id, config_name=f"set{seed}")) == seed
