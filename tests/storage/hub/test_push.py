"""Pushes: everything in one commit or nothing, idempotent, keeping other datasets and the text of others."""

from __future__ import annotations

import io
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import seed_of, small, source
from PIL import Image

from condensed_data import ArtifactError, CondensedDataset
from condensed_data.core.atomic import temporary_name
from condensed_data.storage import manifest as manifests
from condensed_data.storage.hub.commit import Push, PushResult

FILES = {"README.md", "condensed.json", "condensed.safetensors", "data/train-00000-of-00001.parquet", "grid.png"}

pytestmark = pytest.mark.usefixtures("alice")


def stored(hub: HubServer, repo_id: str) -> Repository:
    return hub.hub.repositories["dataset", repo_id]


def files(hub: HubServer, repo_id: str, revision: str = "main") -> dict[str, bytes]:
    return hub.content(stored(hub, repo_id), revision)


def head_of(card: bytes) -> dict[str, Any]:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_a_push_is_one_commit_of_all_files(hub: HubServer, repo_id: str) -> None:
    done = small().push_to_hub(repo_id, commit_message="My set", license="mit")
    repository = stored(hub, repo_id)
    newest, *older = repository.history("main")
    assert (newest.oid, newest.title, newest.author) == (done.oid, "My set", "alice")
    assert done.commit_url == f"{hub.url}/datasets/{repo_id}/commit/{done.oid}"
    assert len(older) == 1
    assert repository.private
    assert set(files(hub, repo_id)) == FILES


def test_a_push_sends_the_files_that_save_writes(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    dataset = small()
    dataset.push_to_hub(repo_id)
    dataset.save(tmp_path)
    published = files(hub, repo_id)
    for name in FILES - {"README.md", "grid.png"}:
        assert published[name] == (tmp_path / name).read_bytes()
    assert Image.open(io.BytesIO(published["grid.png"])).format == "PNG"


def test_the_card_has_the_fields_for_search_and_datasets(hub: HubServer, repo_id: str) -> None:
    small(ipc=3).push_to_hub(repo_id, license="cc-by-4.0")
    head = head_of(files(hub, repo_id)["README.md"])
    assert head["license"] == "cc-by-4.0"
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["image-classification"]
    assert {"condensed-data", "dataset-distillation", "random", "ipc-3"} <= set(head["tags"])
    (config,) = head["configs"]
    assert (config["config_name"], config["default"]) == ("default", True)
    (info,) = head["dataset_info"]
    (split,) = info["splits"]
    assert (split["name"], split["num_examples"]) == ("train", 6)
    text = files(hub, repo_id)["README.md"].decode()
    assert f'CondensedDataset.from_hub("{repo_id}")' in text
    assert "![" in text
    assert "grid.png" in text


def test_the_same_push_again_makes_no_commit_and_sends_nothing(hub: HubServer, repo_id: str) -> None:
    first = small().push_to_hub(repo_id)
    hub.requests.clear()
    assert small().push_to_hub(repo_id).oid == first.oid
    assert not hub.asked("POST .*/commit/|PUT ")


def test_changed_files_are_replaced_and_the_rest_is_kept(hub: HubServer, repo_id: str) -> None:
    small(0).push_to_hub(repo_id)
    small(0).push_to_hub(repo_id, config_name="other")
    before = files(hub, repo_id)
    vectors = torch.utils.data.TensorDataset(torch.rand(20, 5), torch.arange(20) % 2)
    CondensedDataset(vectors, "random", ipc=1, cache=False, progress=False).push_to_hub(repo_id)
    after = files(hub, repo_id)
    assert set(after) == set(before)
    assert {path for path in after if after[path] != before[path]} == FILES
    assert len(stored(hub, repo_id).history("main")) == 4


def test_the_owners_edits_of_the_card_are_kept(hub: HubServer, repo_id: str) -> None:
    small(0).push_to_hub(repo_id)
    card = files(hub, repo_id)["README.md"].decode()
    front, body = card.split("---\n", 2)[1:]
    edited = f"---\n{front}mine: kept\n---\n# Read this first\n\n{body}\nAnd thanks.\n"
    hub.commit(stored(hub, repo_id), {"README.md": edited.encode(), "notes.txt": b"mine"})
    small(1).push_to_hub(repo_id, config_name="other")
    text = files(hub, repo_id)["README.md"].decode()
    assert "# Read this first" in text
    assert text.rstrip().endswith("And thanks.")
    assert head_of(text.encode())["mine"] == "kept"
    assert files(hub, repo_id)["notes.txt"] == b"mine"
    before = stored(hub, repo_id).head.oid
    assert small(1).push_to_hub(repo_id, config_name="other").oid == before


def test_an_existing_card_is_kept(hub: HubServer, repo_id: str) -> None:
    written = b"---\nlicense: apache-2.0\ntags:\n- mine\n---\n# My work\n"
    hub.add_repo(repo_id, {"README.md": written})
    small().push_to_hub(repo_id)
    card = files(hub, repo_id)["README.md"]
    assert b"# My work" in card
    head = head_of(card)
    assert head["license"] == "apache-2.0"
    assert {"mine", "condensed-data"} <= set(head["tags"])


def test_a_card_whose_yaml_is_broken_is_not_overwritten(hub: HubServer, repo_id: str) -> None:
    repository = hub.add_repo(repo_id, {"README.md": b"---\na: [1\n---\n# My work\n"})
    with pytest.raises(ValueError, match=r"YAML header of README\.md .* cannot be read.*Correct it"):
        small().push_to_hub(repo_id)
    assert len(repository.history("main")) == 2


def test_configs_share_a_repository(hub: HubServer, repo_id: str) -> None:
    small(0, ipc=1).push_to_hub(repo_id, config_name="ipc1")
    small(1, ipc=2).push_to_hub(repo_id, config_name="ipc2")
    published = files(hub, repo_id)
    assert {f"{config}/{name}" for config in ("ipc1", "ipc2") for name in FILES - {"README.md"}} <= set(published)
    names = [config["config_name"] for config in head_of(published["README.md"])["configs"]]
    assert names == ["ipc1", "ipc2"]
    assert seed_of(CondensedDataset.from_hub(repo_id, config_name="ipc2")) == 1
    with pytest.raises(OSError, match=r"several configs.*Give config_name= one of: ipc1, ipc2"):
        CondensedDataset.from_hub(repo_id)


@pytest.mark.parametrize("name", ["data", "a/b", "..", ".git", "con", "", "a" * 200])
def test_config_names_that_cannot_be_folders(hub: HubServer, repo_id: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"config_name=.* is not a valid config name"):
        small().push_to_hub(repo_id, config_name=name)
    assert hub.requests == []


def test_a_branch_is_made_for_a_revision(hub: HubServer, repo_id: str) -> None:
    small(0).push_to_hub(repo_id)
    done = small(1).push_to_hub(repo_id, revision="work")
    assert stored(hub, repo_id).find("work").oid == done.oid
    assert seed_of(CondensedDataset.from_hub(repo_id)) == 0
    assert seed_of(CondensedDataset.from_hub(repo_id, revision="work")) == 1
    with pytest.raises(ValueError, match="is a commit, which cannot change"):
        small(1).push_to_hub(repo_id, revision=done.oid)


def test_a_pull_request_leaves_the_branch_alone(hub: HubServer, repo_id: str) -> None:
    small(0).push_to_hub(repo_id, private=False)
    before = stored(hub, repo_id).head.oid
    done = small(1).push_to_hub(repo_id, create_pr=True, token=hub.token("bob"))
    assert done.pr_url == f"{hub.url}/datasets/{repo_id}/discussions/1"
    assert stored(hub, repo_id).head.oid == before
    assert seed_of(CondensedDataset.from_hub(repo_id, revision="refs/pr/1")) == 1
    with pytest.raises(OSError, match="this dataset repository does not exist"):
        small(1).push_to_hub(f"{repo_id}-missing", create_pr=True)


def test_a_push_does_not_change_the_visibility(hub: HubServer, repo_id: str) -> None:
    small(0).push_to_hub(repo_id, private=False)
    assert not stored(hub, repo_id).private
    with pytest.raises(OSError, match=r"already exists and is public, but private=True was given"):
        small(1).push_to_hub(repo_id, private=True)
    small(1).push_to_hub(repo_id)
    assert not stored(hub, repo_id).private


def test_an_organization_has_members(hub: HubServer, repo_id: str) -> None:
    hub.hub.organizations["lab"] = {"alice"}
    small().push_to_hub(f"lab/{repo_id[6:]}")
    assert seed_of(CondensedDataset.from_hub(f"lab/{repo_id[6:]}")) == 0


def test_an_unreadable_dataset_is_replaced_but_not_ignored(hub: HubServer, repo_id: str) -> None:
    small(0).push_to_hub(repo_id)
    hub.commit(stored(hub, repo_id), {"condensed.json": b"{"})
    with pytest.raises(ArtifactError, match=r"The dataset 'default' in .* cannot be read"):
        small(1).push_to_hub(repo_id, config_name="other")
    small(1).push_to_hub(repo_id)
    assert seed_of(CondensedDataset.from_hub(repo_id)) == 1


def test_concurrent_pushes_lose_no_dataset(hub: HubServer, repo_id: str) -> None:
    names = [f"set{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as threads:
        pushed = [
            threads.submit(small(number).push_to_hub, repo_id, config_name=name) for number, name in enumerate(names)
        ]
        oids = {done.result().oid for done in pushed}
    history = stored(hub, repo_id).history("main")
    assert oids == {commit.oid for commit in history[:-1]}
    assert len(history) == 7
    listed = head_of(files(hub, repo_id)["README.md"])["configs"]
    assert [config["config_name"] for config in listed] == names
    assert [seed_of(CondensedDataset.from_hub(repo_id, config_name=name)) for name in names] == list(range(6))


def test_nothing_is_sent_when_a_token_is_missing(hub: HubServer, repo_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(OSError, match="Log in with `hf auth login`"):
        small().push_to_hub(repo_id)
    assert ("dataset", repo_id) not in hub.hub.repositories


def build(seed: int = 0, **options: Any) -> CondensedDataset:
    return CondensedDataset(source(seed), "random", ipc=2, progress=False, **options)


def test_a_build_checks_the_hub_before_it_condenses(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    first = build(cache=tmp_path / "one", hub=repo_id, push=True)
    assert first.hub_revision is None
    assert stored(hub, repo_id).private
    second = build(cache=tmp_path / "two", hub=repo_id, push=True)
    assert second.hub_revision == stored(hub, repo_id).head.oid
    assert torch.equal(first.images, second.images)
    assert second.metadata.key == first.metadata.key
    assert len(stored(hub, repo_id).history("main")) == 2
    hub.requests.clear()
    build(cache=tmp_path / "two", hub=repo_id)
    assert hub.requests == []  # the local cache comes first
    other = build(seed=1, cache=tmp_path / "two", hub=repo_id)
    assert (other.hub_revision, seed_of(other)) == (None, 1)


def test_a_build_publishes_only_with_push(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    build(cache=tmp_path, hub=repo_id)
    assert ("dataset", repo_id) not in hub.hub.repositories
    assert not hub.asked("POST .*/(create|commit)")
    with pytest.raises(ValueError, match="push=True needs a repository"):
        build(cache=tmp_path, push=True)


def test_a_dataset_that_contradicts_its_cache_key_is_not_loaded(hub: HubServer, repo_id: str, tmp_path: Path) -> None:
    build(cache=tmp_path / "one", hub=repo_id, push=True)
    (name,) = [path for path in files(hub, repo_id) if path.endswith("condensed.json")]
    manifest = json.loads(files(hub, repo_id)[name])
    manifest["seed"] = 7
    forged = manifests.seal(manifest, manifest["files"], manifest["content_hash"])
    hub.commit(stored(hub, repo_id), {name: manifests.encode(forged, name)})
    with pytest.warns(UserWarning, match=r"condensing locally.* has the cache key .* but a different seed"):
        again = build(cache=tmp_path / "two", hub=repo_id)
    assert (again.hub_revision, seed_of(again)) == (None, 0)


def test_what_a_killed_push_left_is_removed_by_the_next(
    hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / temporary_name() / "set").mkdir(parents=True)
    modes, whole = [], Push.run

    def run(self: Push) -> PushResult | None:
        modes.append(self.folder.stat().st_mode & 0o777)
        return whole(self)

    monkeypatch.setattr(Push, "run", run)
    small().push_to_hub(repo_id)
    assert modes == [0o700]
    assert list(tmp_path.iterdir()) == []


def test_tokens_are_not_published(hub: HubServer, repo_id: str) -> None:
    small().push_to_hub(repo_id)
    secret = os.environ["HF_TOKEN"].encode()
    assert not any(secret in content for content in files(hub, repo_id).values())
