"""The test server against the unmodified huggingface_hub client, without this library."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hub_server import HubServer
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors
from huggingface_hub.utils import httpx

IMAGE = b"\0" * 5000  # binary, so it goes the way of large files
CARD = b'---\nlicense: mit\ntags:\n- condensed-data\n- dm\nsize_categories: ["n<1K"]\n---\n# A set\n'


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(token=hub.token("alice"))


def commit(api: HfApi, repo_id: str, files: dict[str, bytes | None], **options: Any) -> Any:
    operations: list[Any] = [
        CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
        for path, content in files.items()
    ]
    options = {"commit_message": "a change", **options}
    return api.create_commit(repo_id, operations, repo_type="dataset", **options)


@pytest.fixture
def made(api: HfApi, repo_id: str) -> str:
    """A repository with a card and a large file."""
    api.create_repo(repo_id, repo_type="dataset")
    commit(api, repo_id, {"README.md": CARD, "data/a.png": IMAGE})
    return repo_id


def test_create_and_delete(hub: HubServer, api: HfApi, repo_id: str) -> None:
    url = api.create_repo(repo_id, repo_type="dataset", private=True)
    assert url == f"{hub.url}/datasets/{repo_id}"
    assert api.create_repo(repo_id, repo_type="dataset", exist_ok=True) == url
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_repo(repo_id, repo_type="dataset")
    info = api.dataset_info(repo_id)
    assert info.private
    assert [sibling.rfilename for sibling in info.siblings or []] == [".gitattributes"]
    api.delete_repo(repo_id, repo_type="dataset")
    with pytest.raises(errors.RepositoryNotFoundError):
        api.dataset_info(repo_id)


def test_commit_and_download(hub: HubServer, api: HfApi, made: str, tmp_path: Path) -> None:
    info = api.dataset_info(made, files_metadata=True)
    image = next(sibling for sibling in info.siblings or [] if sibling.rfilename == "data/a.png")
    assert image.lfs is not None
    assert image.lfs.sha256 == hashlib.sha256(IMAGE).hexdigest()
    for path, content in (("README.md", CARD), ("data/a.png", IMAGE)):
        found = huggingface_hub.hf_hub_download(made, path, repo_type="dataset", cache_dir=tmp_path)
        assert Path(found).read_bytes() == content
        assert Path(found).parts[-len(Path(path).parts) - 1] == info.sha
    assert hub.asked("PUT /uploads/")
    assert hub.asked("GET /objects/")


def test_delete_and_add_in_one_commit(hub: HubServer, api: HfApi, made: str) -> None:
    before = api.dataset_info(made).sha
    done = commit(api, made, {"data/": None, "b.txt": b"b"}, parent_commit=before, commit_description="why")
    assert hub.content(hub.hub.repositories["dataset", made]) == {"README.md": CARD, "b.txt": b"b"}
    newest, *rest = api.list_repo_commits(made, repo_type="dataset")
    assert (newest.commit_id, newest.title, newest.message) == (done.oid, "a change", "why")
    assert rest[0].commit_id == before
    with pytest.raises(errors.EntryNotFoundError):
        commit(api, made, {"missing.txt": None})


def test_nothing_changed_makes_no_commit(hub: HubServer, api: HfApi, made: str) -> None:
    before = api.dataset_info(made).sha
    assert commit(api, made, {"README.md": CARD, "data/a.png": IMAGE}).oid == before
    assert len(hub.asked("POST .*/commit/main")) == 1


def test_an_old_parent_is_refused(api: HfApi, made: str) -> None:
    before = api.dataset_info(made).sha
    commit(api, made, {"b.txt": b"b"}, parent_commit=before)
    with pytest.raises(errors.HfHubHTTPError, match="412"):
        commit(api, made, {"c.txt": b"c"}, parent_commit=before)
    assert not api.file_exists(made, "c.txt", repo_type="dataset")


def test_one_of_several_concurrent_commits_wins(api: HfApi, made: str) -> None:
    before = api.dataset_info(made).sha

    def attempt(number: int) -> int:
        try:
            commit(api, made, {f"{number}.txt": b"content"}, parent_commit=before)
        except errors.HfHubHTTPError as error:
            return int(error.response.status_code)
        return 200

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(attempt, range(4))) == [200, 412, 412, 412]


def test_large_files_in_parts(hub: HubServer, api: HfApi, made: str, tmp_path: Path) -> None:
    hub.hub.multipart = 1000
    content = bytes(range(256)) * 10 + b"odd"
    commit(api, made, {"b.png": content})
    assert len(hub.asked("PUT /uploads/.*/[0-9]+ 200")) == 3
    found = huggingface_hub.hf_hub_download(made, "b.png", repo_type="dataset", cache_dir=tmp_path)
    assert Path(found).read_bytes() == content


def test_upload_folder_and_snapshot(hub: HubServer, api: HfApi, repo_id: str, tmp_path: Path) -> None:
    api.create_repo(repo_id, repo_type="dataset")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "README.md").write_bytes(CARD)
    (tmp_path / "in" / "deep" / "a.png").write_bytes(IMAGE)
    api.upload_folder(repo_id=repo_id, folder_path=tmp_path / "in", repo_type="dataset")
    hub.hub.page = 2
    found = Path(huggingface_hub.snapshot_download(repo_id, repo_type="dataset", cache_dir=tmp_path / "out"))
    assert (found / "README.md").read_bytes() == CARD
    assert (found / "deep" / "a.png").read_bytes() == IMAGE
    assert len(hub.asked("GET .*/tree/")) == 2


def test_paths_and_refs(api: HfApi, made: str) -> None:
    (entry,) = api.get_paths_info(made, ["data/a.png", "missing"], repo_type="dataset")
    assert (entry.path, entry.size) == ("data/a.png", len(IMAGE))
    first = api.dataset_info(made).sha
    api.create_tag(made, tag="v1", repo_type="dataset")
    api.create_branch(made, branch="work", repo_type="dataset")
    second = commit(api, made, {"b.txt": b"b"}, revision="work").oid
    refs = api.list_repo_refs(made, repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "work": second}
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", first)]
    assert api.dataset_info(made, revision="v1").sha == first
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_tag(made, tag="v1", repo_type="dataset")
    with pytest.raises(errors.RevisionNotFoundError):
        api.dataset_info(made, revision="v2")
    with pytest.raises(errors.RevisionNotFoundError):
        commit(api, made, {"c.txt": b"c"}, revision="v1")


def test_anybody_may_open_a_pull_request(hub: HubServer, api: HfApi, made: str) -> None:
    bob = HfApi(token=hub.token("bob"))
    done = commit(bob, made, {"b.txt": b"b"}, create_pr=True)
    assert (done.pr_revision, done.pr_num) == ("refs/pr/1", 1)
    assert not api.file_exists(made, "b.txt", repo_type="dataset")
    assert api.file_exists(made, "b.txt", repo_type="dataset", revision="refs/pr/1")
    with pytest.raises(errors.HfHubHTTPError, match="403"):
        commit(bob, made, {"b.txt": b"b"})
    (request,) = api.list_repo_refs(made, repo_type="dataset", include_pull_requests=True).pull_requests or []
    assert request.target_commit == done.oid


def test_search(hub: HubServer, api: HfApi, made: str) -> None:
    def names(**options: Any) -> list[str]:
        return [info.id for info in api.list_datasets(author="alice", **options)]

    hub.hub.page = 1
    assert made in names(filter=["condensed-data", "dm"])
    assert made in names(size_categories="n<1K")
    assert made in names(search=made.split("/")[1])
    assert made not in names(filter="another")
    assert "license:mit" in (api.dataset_info(made).tags or [])


def test_bad_yaml_is_refused_before_anything_is_sent(hub: HubServer, api: HfApi, made: str) -> None:
    with pytest.raises(ValueError, match="Invalid metadata in"):
        commit(api, made, {"README.md": b"---\na: 1\na: 2\n---\n", "b.png": IMAGE})
    assert len(hub.asked("POST .*/preupload/")) == 1


def status_of(call: Callable[[], object]) -> tuple[type[Exception], int]:
    with pytest.raises(errors.HfHubHTTPError) as caught:
        call()
    return type(caught.value), caught.value.response.status_code


def test_who_may_see_what(hub: HubServer, repo_id: str) -> None:
    repository = hub.add_repo(repo_id, {"a.txt": b"a"}, private=True)
    bob, nobody = HfApi(token=hub.token("bob")), HfApi(token=False)
    assert status_of(lambda: bob.dataset_info(repo_id)) == (errors.RepositoryNotFoundError, 404)
    assert status_of(lambda: nobody.dataset_info(repo_id)) == (errors.HfHubHTTPError, 401)
    repository.private, repository.gated = False, True
    assert bob.dataset_info(repo_id).gated == "auto"
    assert status_of(lambda: bob.auth_check(repo_id, repo_type="dataset")) == (errors.GatedRepoError, 403)
    assert status_of(lambda: nobody.auth_check(repo_id, repo_type="dataset")) == (errors.GatedRepoError, 401)
    repository.guests.add("bob")
    bob.auth_check(repo_id, repo_type="dataset")
    repository.disabled = True
    assert status_of(lambda: bob.dataset_info(repo_id)) == (errors.DisabledRepoError, 403)
    hub.hub.revoked.add(hub.token("bob"))
    assert status_of(lambda: bob.dataset_info("alice/other")) == (errors.HfHubHTTPError, 401)


def test_who_may_write_what(hub: HubServer, made: str) -> None:
    reader = HfApi(token=hub.token("alice", "read"))
    assert status_of(lambda: commit(reader, made, {"b.txt": b"b"})) == (errors.HfHubHTTPError, 403)
    hub.hub.organizations["lab"] = {"alice"}
    HfApi(token=hub.token("alice")).create_repo(f"lab/{made[6:]}", repo_type="dataset")
    outsider = HfApi(token=hub.token("bob"))
    refused = status_of(lambda: outsider.create_repo("lab/other", repo_type="dataset"))
    assert refused == (errors.HfHubHTTPError, 403)
    assert outsider.whoami()["orgs"] == []


def download(repo_id: str, path: str, folder: Path, **options: Any) -> bytes:
    found = huggingface_hub.hf_hub_download(repo_id, path, repo_type="dataset", cache_dir=folder, **options)
    return Path(found).read_bytes()


def test_missing_files_and_wrong_kinds(api: HfApi, made: str, tmp_path: Path) -> None:
    with pytest.raises(errors.RemoteEntryNotFoundError):
        download(made, "missing.txt", tmp_path)
    with pytest.raises(errors.RepositoryNotFoundError):
        api.model_info(made)


def test_a_pinned_file_needs_no_request(hub: HubServer, api: HfApi, made: str, tmp_path: Path) -> None:
    sha = api.dataset_info(made).sha
    download(made, "README.md", tmp_path, revision=sha)
    hub.requests.clear()
    assert download(made, "README.md", tmp_path, revision=sha) == CARD
    assert hub.requests == []


def test_faults_are_seen_by_the_client(hub: HubServer, api: HfApi, made: str, tmp_path: Path) -> None:
    hub.fault("GET /objects/", cut=1000)
    assert download(made, "data/a.png", tmp_path / "cut") == IMAGE
    assert len(hub.asked("GET /objects/")) == 2
    hub.fault("GET /objects/", corrupt=True)
    assert download(made, "data/a.png", tmp_path / "corrupt")[0] == 0xFF
    hub.fault("POST .*/preupload/", status=503)
    commit(api, made, {"b.txt": b"b"})
    hub.fault("GET /api/datasets/", status=429, headers={"ratelimit": '"api";r=0;t=7'})
    with pytest.raises(errors.HfHubHTTPError, match="Retry after 7 seconds"):
        api.dataset_info(made)
    hub.fault("GET /api/datasets/", drop=True)
    with pytest.raises(httpx.RemoteProtocolError):
        api.dataset_info(made)


def test_a_lost_answer_does_not_undo_the_commit(hub: HubServer, api: HfApi, made: str) -> None:
    hub.fault("POST .*/commit/main", drop=True, after=True)
    with pytest.raises(httpx.RemoteProtocolError):
        commit(api, made, {"b.txt": b"b"})
    assert api.file_exists(made, "b.txt", repo_type="dataset")


def test_nothing_listens_while_the_server_is_away(hub: HubServer, api: HfApi, made: str) -> None:
    with hub.away(), pytest.raises(httpx.ConnectError):
        api.dataset_info(made)
    assert api.dataset_info(made).id == made
