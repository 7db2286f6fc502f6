"""One push: attempts until the set and the card of all sets are one commit on top of the head.

A push reads the head of the branch, makes the files and the card that the repository has after it, and commits them
under the condition that the head is still the same. Where another push was faster it begins anew from the new head,
so that neither loses a set. Files that have not changed are not sent, and where none has, there is no commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.core.errors import ArtifactError, NotACondensedDatasetError
from condensed_data.core.hub_errors import ConcurrentPushError, HubError, HubUnavailableError, to_hub_error
from condensed_data.methods.synthetic.decoding import reject_inconsistent
from condensed_data.storage import atomic_directory as files
from condensed_data.storage.hub import layout
from condensed_data.storage.hub import repo_card as card
from condensed_data.storage.hub.repository import Remote, check_name, no_dataset
from condensed_data.storage.hub.retry import ATTEMPTS, is_transient, pause
from condensed_data.storage.metadata import Metadata

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

CONFLICTS = 20  # other pushes that may be faster before we give up

Sets = dict[str, Mapping[str, Any]]  # manifests by the name of their config


@dataclass(frozen=True)
class PushOptions:
    """Where and how to publish; the fields are the arguments of `push`."""

    repo_id: str
    private: bool | None = None
    token: str | None = None
    revision: str | None = None
    create_pr: bool = False
    commit_message: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        check_name(self.repo_id)
        if self.revision is not None and re.fullmatch("[0-9a-f]{40}", self.revision):
            raise ValueError(
                f"revision={self.revision!r} is a commit, which never changes: push to a branch."
            )
        if self.license is not None:
            card.check_license(self.license)


@dataclass(frozen=True)
class Push:
    """One push.

    Attributes:
        target: where to; api: the client, with its token.
        folder: holds the files of the set in `set`, and is ours to write to.
        manifest: of the set.
        choose: the name of its config for the sets that are there, or None to publish nothing.
    """

    target: PushOptions
    api: HfApi
    folder: Path
    manifest: dict[str, Any]
    choose: Callable[[Sets], str | None]

    def run(self) -> CommitInfo | None:
        """Push; raises what `errors.translate_hub_errors` explains."""
        conflicts = failures = 0
        while True:
            try:
                return self._attempt()
            except Exception as error:
                told = to_hub_error(error, self.target.repo_id, self.target.revision, folder=self.folder)
                if _status(error) in (409, 412):
                    conflicts += 1
                    if conflicts == CONFLICTS:
                        raise ConcurrentPushError(
                            f"{self.target.repo_id}: {CONFLICTS} times another push was faster."
                        ) from error
                elif type(told) is HubUnavailableError and is_transient(error) and not self.target.create_pr:
                    # the commit may be there all the same: the next attempt finds out, but for pull requests
                    failures += 1
                    if failures == ATTEMPTS:
                        raise
                else:
                    raise
                pause(conflicts + failures)

    def _attempt(self) -> CommitInfo | None:
        remote = self._head()
        sets, damaged = _sets(remote)
        name = self.choose(sets)
        if name is None:
            return None
        damaged.pop(name, None)  # it is replaced
        for other, error in damaged.items():
            raise type(error)(
                f"The set {other!r} in {remote.repo_id} cannot be read, so the card cannot tell of it: {error} "
                f"Or delete its folder there."
            ) from error
        text = _readme(remote)
        rendered = card.render(remote.repo_id, sets | {name: self.manifest}, text, self.target.license)
        operations = self._operations(remote, name, rendered)
        metadata = (
            f"{self.manifest['name']} condensed by {self.manifest['recipe_name']}, ipc {self.manifest['ipc']}"
        )
        return self.api.create_commit(
            self.target.repo_id,
            operations,
            commit_message=self.target.commit_message or f"Publish {name}: {metadata}",
            repo_type="dataset",
            revision=self.target.revision,
            create_pr=self.target.create_pr,
            parent_commit=remote.commit,
        )

    def _operations(self, remote: Remote, name: str, text: str) -> list[Any]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = []
        paths = [layout.place(name, file) for file in layout.FILES]
        for file, path, size in zip(layout.FILES, paths, remote.size(*paths), strict=True):
            local = self.folder / "set" / file
            if local.exists():
                operations.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(local)))
            elif size is not None:
                operations.append(CommitOperationDelete(path_in_repo=path))
        content = text.encode("utf-8", "surrogateescape")
        return [*operations, CommitOperationAdd(path_in_repo=files.README, path_or_fileobj=content)]

    def _head(self) -> Remote:
        """The commit that the new one follows; the repository or the branch is made where it is not there.

        Raises:
            HubNotFoundError: for a repository that is not there and a pull request.
            HubError: if it is public and the push is to be private, or the other way round.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        target, info = self.target, None
        try:
            info = self.api.dataset_info(target.repo_id)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError as error:
            self._create(error)
        if info is None:
            info = self.api.dataset_info(target.repo_id)
        elif target.private is not None and bool(info.private) != target.private:
            there, wanted = ("private", "public") if info.private else ("public", "private")
            raise HubError(
                f"{target.repo_id} is there and {there}, and private={target.private} asks for a {wanted} one. "
                "Change it in the settings of the repository, or leave private out."
            )
        if target.revision is not None:
            try:
                info = self.api.dataset_info(target.repo_id, revision=target.revision)
            except RevisionNotFoundError:
                if target.revision.startswith("refs/"):
                    raise
                self.api.create_branch(
                    target.repo_id, branch=target.revision, repo_type="dataset", exist_ok=True
                )
                info = self.api.dataset_info(target.repo_id, revision=target.revision)
        if info.sha is None:
            raise HubError(f"{target.repo_id}: the Hub does not say which commit is the last one.")
        return Remote(self.api, target.repo_id, info.sha, cache_dir=self.folder / "cache")

    def _create(self, cause: Exception) -> None:
        error = no_dataset(self.api, self.target.repo_id)
        if self.target.create_pr or error.kind is not None:
            raise error from cause
        private = self.target.private is not False
        self.api.create_repo(self.target.repo_id, private=private, repo_type="dataset", exist_ok=True)


def _sets(remote: Remote) -> tuple[Sets, dict[str, ArtifactError]]:
    """The manifests of the sets that are there, and what is wrong with those that cannot be read."""
    found: Sets = {}
    damaged = {}
    for name in remote.configs():
        try:
            manifest = remote.manifest(name)
        except NotACondensedDatasetError:  # something else of such a name
            continue
        except ArtifactError as error:
            damaged[name] = error
            continue
        if manifest is None:
            continue
        try:
            with reject_inconsistent(Path(remote.repo_id, name), "fields that make no set"):
                Metadata.from_manifest(manifest)
        except ArtifactError as error:
            damaged[name] = error
        else:
            found[name] = manifest
    return found, damaged


def _readme(remote: Remote) -> str | None:
    path = remote.fetch(files.README, card.MOST_BYTES)
    return None if path is None else path.read_bytes().decode("utf-8", "surrogateescape")


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
