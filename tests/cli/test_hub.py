"""`push`, `pull`, `search`, `build --hub` and DATASET on the Hub, against a server on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from cli_tools import NET, SMALL, fails, shorten
from hub_server import HubServer
from hub_worker import small

from condensed_data import CondensedDataset
from condensed_data.cli import hub_options
from condensed_data.cli.main import build_parser, main
from condensed_data.storage.dataset_card import source_tag

BUILD = ("build", "cli_sources:tiny", *SMALL, "--no-evaluate")


@pytest.fixture(autouse=True)
def _logged_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A condensed dataset in a folder."""
    small().save(tmp_path / "set")
    return tmp_path / "set"


def succeeds(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command line that must succeed; returns what it prints."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_push_then_pull(
    folder: Path, repo_id: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--license", "mit", "--message", "My set")
    output = succeeds(capsys, "push", folder, repo_id, *words)
    repository = hub.hub.repositories["dataset", repo_id]
    newest = repository.history("main")[0]
    assert f"published: {hub.url}/datasets/{repo_id}/commit/{newest.oid}" in output
    assert f"condensed-data pull {repo_id} --out DIR" in output
    assert newest.title == "My set"
    assert repository.private
    output = succeeds(capsys, "pull", repo_id, "--out", tmp_path / "again")
    assert newest.oid in output
    for name in ("condensed.json", "condensed.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_options_of_a_push(
    folder: Path, repo_id: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = succeeds(capsys, "push", folder, repo_id, "--public", "--config", "ipc2")
    assert f"condensed-data pull {repo_id} --config ipc2 --out DIR" in output
    repository = hub.hub.repositories["dataset", repo_id]
    assert not repository.private
    assert "ipc2/condensed.json" in hub.content(repository)
    succeeds(capsys, "push", folder, repo_id, "--revision", "trial")
    assert "condensed.json" in hub.content(repository, "trial")
    assert "condensed.json" not in hub.content(repository)
    assert "/discussions/1" in succeeds(capsys, "push", folder, repo_id, "--create-pr")
    for words in (
        ["--config", "ipc2"],
        ["--revision", "refs/pr/1"],
        ["--revision", "trial", "--config", "ipc2"],
    ):
        succeeds(capsys, "pull", repo_id, "--out", tmp_path / "-".join(words).replace("/", "-"), *words)


def test_a_push_to_public_and_private_is_a_usage_error(folder: Path, repo_id: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["push", str(folder), repo_id, "--public", "--private"])
    assert ended.value.code == 2


@pytest.mark.parametrize(("words", "private"), [([], None), (["--private"], True), (["--public"], False)])
def test_visibility(words: list[str], private: bool | None) -> None:
    assert build_parser().parse_args(["push", "set", "user/repo", *words]).private is private


@pytest.mark.parametrize("command", [("push", "set"), ("pull", "--out", "set"), ("build", "digits", "--hub")])
@pytest.mark.parametrize("name", ["repo", "a/b/c", "https://huggingface.co/datasets/a/b", "a b/c"])
def test_a_wrong_repository_name_is_a_usage_error(
    command: tuple[str, ...], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, name])
    assert ended.value.code == 2
    assert "expected a repository as USER/REPO" in capsys.readouterr().err


def test_a_token_is_used_and_never_printed(
    folder: Path,
    repo_id: str,
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    token = hub.token("alice")
    output = [
        succeeds(capsys, "push", folder, repo_id, "--token", token),
        succeeds(capsys, "pull", repo_id, "--out", tmp_path / "again", "--token", token),
        succeeds(capsys, "search", "--author", "alice", "--token", token),
        fails(capsys, "pull", repo_id, "--out", tmp_path / "bad", "--token", "hf-secret"),
        fails(capsys, "push", folder, "bob/set", "--token", token),
        fails(capsys, "pull", repo_id, "--out", tmp_path / "none"),
    ]
    assert not any(token in text or "hf-secret" in text for text in output)


def test_errors_name_their_cause(
    folder: Path, repo_id: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "out")
    assert "this dataset repository does not exist" in fails(capsys, "pull", "alice/nothing", *out)
    assert "condensed.json" in fails(capsys, "push", tmp_path, repo_id)
    succeeds(capsys, "push", folder, repo_id)
    assert "no config 'ipc9'" in fails(capsys, "pull", repo_id, *out, "--config", "ipc9")
    assert "no revision 'v9'" in fails(capsys, "pull", repo_id, *out, "--revision", "v9")
    assert "max_bytes" in fails(capsys, "pull", repo_id, *out, "--max-bytes", "100")
    for name in (repo_id, "alice/new"):  # of the first, the manifest is in the cache
        assert "in the local cache, and" in fails(capsys, "pull", name, *out, "--local-files-only")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("in the way")
    asked = len(hub.requests)
    assert "Cannot write to" in fails(capsys, "pull", repo_id, *out)
    assert len(hub.requests) == asked  # before anything is loaded
    with hub.away():
        assert "cannot reach the Hub" in fails(capsys, "push", folder, repo_id, "--message", "later")


def test_a_pulled_dataset_is_available_offline(
    folder: Path, repo_id: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    succeeds(capsys, "push", folder, repo_id)
    succeeds(capsys, "pull", repo_id, "--out", tmp_path / "first")
    with hub.away():
        succeeds(capsys, "pull", repo_id, "--out", tmp_path / "second", "--local-files-only")
    first, second = (tmp_path / name / "condensed.json" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_show_and_evaluate_a_dataset_of_the_hub(
    repo_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main([*BUILD, "--out", "built"]) == 0
    succeeds(capsys, "push", "built", repo_id, "--config", "two")
    assert "recipe dm, 2 iterations" in succeeds(capsys, "show", repo_id, "--config", "two", "--out", "grid.png")
    assert (tmp_path / "grid.png").is_file()
    test = ("--test", "cli_sources:tiny", "--runs", "1", "--network", NET, "--quiet", "--protocol", "quick")
    assert "1 network, quick protocol" in succeeds(capsys, "evaluate", repo_id, *test)
    message = fails(capsys, "evaluate", repo_id, *test, "--save")
    assert f"--save needs a folder to write to, but {repo_id} is a repository" in message


def test_an_existing_folder_takes_precedence(
    folder: Path,
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alice").mkdir()
    folder.rename(tmp_path / "alice" / "here")
    assert "recipe random" in succeeds(capsys, "show", "alice/here", "--out", "grid.png")
    assert hub.requests == []
    for words in (["--config", "ipc2"], ["--revision", "v1"], ["--max-bytes", "1GB"], ["--local-files-only"]):
        message = fails(capsys, "show", "alice/here", "--out", "grid.png", *words)
        assert f"{words[0]} applies to repositories of the Hub, but alice/here is a folder" in message


def test_a_missing_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = fails(capsys, "show", "condensed/fashoin", "--out", "grid.png")
    assert "condensed/fashoin is not a local folder and was not read from the Hub: " in message
    assert "this dataset repository does not exist" in message
    for name in ("fashoin", "./condensed/fashoin", "a/b/c", "https://huggingface.co/datasets/a/b"):
        assert f"{name!r} is neither an existing folder nor a repository" in fails(
            capsys, "show", name, "--out", "grid.png"
        )


def test_pull_options_are_passed_to_from_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(CondensedDataset, "from_hub", lambda repo, **options: given.update(repo=repo, **options))
    words = "pull a/b --out d --config c --revision r --max-bytes 2KB --local-files-only --token t"
    hub_options.pull_condensed("a/b", build_parser().parse_args(words.split()))
    assert given == {
        "repo": "a/b",
        "config_name": "c",
        "revision": "r",
        "max_bytes": 2000,
        "local_files_only": True,
        "token": "t",
    }
    given.clear()
    hub_options.pull_condensed("a/b", build_parser().parse_args(["pull", "a/b", "--out", "d"]))
    assert "max_bytes" not in given  # it has a default


def test_search(repo_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    user = f"seeker{repo_id.rpartition('-')[2]}"
    assert (
        succeeds(capsys, "search", "--author", user) == f"Found no condensed dataset on the Hub with author {user}.\n"
    )
    small(ipc=3).push_to_hub(repo_id, private=False)
    rows = succeeds(capsys, "search", "--author", "alice", "--recipe", "random", "--ipc", 3).splitlines()
    assert rows[0].split() == ["REPOSITORY", "SOURCE", "RECIPE", "IPC", "DOWNLOADS", "LIKES"]
    (row,) = (row.split() for row in rows[1:] if row.split()[0] == repo_id)
    assert row[1:4] == ["tensordataset", "random", "3"]
    assert repo_id in succeeds(capsys, "search", "--source", "Tensor-Dataset", "--limit", 100)
    assert repo_id not in succeeds(capsys, "search", "--recipe", "dm", "--author", "alice")
    assert "Showing the first 1 results; use --limit N for more." in succeeds(
        capsys, "search", "--author", "alice", "--limit", 1
    )


def test_a_source_on_the_hub_is_tagged_with_its_repository() -> None:
    assert {source_tag(name) for name in ("hf:Bob/pics@v1:small", "hf:bob/pics", "bob/pics")} == {"source-bobpics"}


def test_search_without_network(
    hub: HubServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # of the client, between its attempts
    with hub.away():
        assert main(["search"]) == 1
    assert "cannot reach the Hub" in capsys.readouterr().err.splitlines()[-1]


def test_build_publishes_its_accuracies_and_finds_its_result_again(
    repo_id: str,
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten(monkeypatch)
    build = ("build", "cli_sources:tiny", *SMALL, "--hub", repo_id, "--push", "--out", tmp_path / "out")
    output = succeeds(capsys, *build)
    repository = hub.hub.repositories["dataset", repo_id]
    head = repository.head.oid
    assert f"published: {hub.url}/datasets/{repo_id}/commit/{head}" in output
    manifest = json.loads(hub.content(repository)["dm-ipc2/condensed.json"])
    assert [row["network"] for row in manifest["evaluation"]] == [NET]
    assert len(manifest["baselines"]) >= 1
    output = succeeds(capsys, *build)
    assert f"found on the Hub, commit {head[:12]}" in output
    assert f"{repo_id} already has this result." in output
    assert repository.head.oid == head
    succeeds(capsys, *build, "--seed", 1)
    assert len([path for path in hub.content(repository) if path.endswith("condensed.json")]) == 2


def test_build_without_network_succeeds_and_reports_the_failed_push(
    repo_id: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub.away():
        with pytest.warns(UserWarning, match="condensing locally instead"):
            assert main([*BUILD, "--hub", repo_id, "--out", str(tmp_path / "taken")]) == 0
        with pytest.warns(UserWarning, match="Publishing the result may fail|condensing locally instead") as warned:
            message = fails(capsys, *BUILD, "--hub", repo_id, "--push", "--out", tmp_path / "pushed")
    assert "Publishing the result may fail" in str(warned[0].message)
    assert "The result is ready, but publishing failed: " in message
    for name in ("taken", "pushed"):
        assert len(CondensedDataset.load(tmp_path / name)) == 6


def test_an_impossible_push_is_reported_before_the_work(
    repo_id: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = (*BUILD, "--push", "--out", tmp_path / "out")
    assert "hub=" in fails(capsys, *words)
    assert "would lose the result" in fails(capsys, *BUILD, "--push", "--hub", repo_id)  # with --no-cache
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert "token" in fails(capsys, *words, "--hub", repo_id)
    assert not (tmp_path / "out").exists()


def test_a_push_that_changes_nothing_does_not_say_published(
    folder: Path, repo_id: str, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\npublished: " in succeeds(capsys, "push", folder, repo_id)
    head = hub.hub.repositories["dataset", repo_id].head.oid
    for words in ([], ["--create-pr"]):
        output = succeeds(capsys, "push", folder, repo_id, *words)
        assert f"nothing to publish, the repository already has this dataset: {hub.url}" in output
        assert head in output
        assert "published:" not in output


def test_the_command_to_load_what_was_pushed(
    folder: Path, repo_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It works as printed, for branches and pull requests too."""
    for number, words in enumerate(([], ["--config", "b"], ["--revision", "trial"], ["--create-pr", "--config", "c"])):
        output = succeeds(capsys, "push", folder, repo_id, *words)
        command = output.rstrip().rpartition("condensed-data ")[2].replace("DIR", str(tmp_path / str(number)))
        succeeds(capsys, *command.split())
        assert (tmp_path / str(number) / "condensed.json").is_file()
