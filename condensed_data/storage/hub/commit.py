"""Commits a condensed dataset and the card of all datasets of a repository, safely beside other pushes.

A push reads the head of the branch, builds the new files and the new card, and commits them on the condition that the
head is still the same. If another push was faster, it starts again from the new head, so that neither loses a dataset.
Unchanged files are not sent, and if nothing changed, there is no commit.
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
from condensed_data.storage import file_names
from condensed_data.storage.hub import layout, repo_card
from condensed_data.storage.hub.client import (
    check_name,
    check_revision,
    check_text,
    check_token,
    missing_dataset_error,
)
from condensed_data.storage.hub.repository import Access, RepositorySnapshot
from condensed_data.storage.hub.retry import ATTEMPTS, is_transient, pause
from condensed_data.storage.manifest import newer_is_unsupported
from condensed_data.storage.metadata import Metadata

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CONFLICTS = 20  # other pushes that may be faster before this one fails

Manifests = dict[str, Mapping[str, Any]]  # by config name


@dataclass(frozen=True)
class PushOptions:
    """Where and how to publish; the fields are the arguments of `HubMixin.push_to_hub`."""

    repo_id: str
    private: bool | None = None
    token: str | None = None
    revision: str | None = None
    create_pr: bool = False
    commit_message: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        check_name(self.repo_id)
        check_token(self.token)
        check_revision(self.revision)
        check_text("commit_message", self.commit_message)
        if self.revision is not None and re.fullmatch("[0-9a-f]{40}", self.revision):
            raise ValueError(f"revision={self.revision!r} is a commit, which cannot change. Give a branch.")
        if self.license is not None:
            repo_card.check_license(self.license)


@dataclass(frozen=True)
class PushResult:
    """What a push did: the commit of the repository that has the dataset, and its addresses.

    Attributes:
        oid: the commit, 40 hexadecimal digits.
        commit_url: its page.
        pr_url, pr_revision: the page of the pull request and its revision ("refs/pr/1"), or None.
        changed: whether the push made a commit; False if the repository had all of it already.
    """

    oid: str
    commit_url: str
    pr_url: str | None = None
    pr_revision: str | None = None
    changed: bool = True


@dataclass(frozen=True)
class Push:
    """One push.

    Attributes:
        folder: temporary folder that contains the files of the dataset in `set`.
        choose: returns the config name, given the manifests in the repository (empty for those that cannot be read),
            or None to publish nothing.
    """

    options: PushOptions
    api: HfApi
    folder: Path
    manifest: dict[str, Any]
    choose: Callable[[Manifests], str | None]

    def run(self) -> PushResult | None:
        """Push; its errors must pass through `hub_errors.translate_hub_errors`."""
        conflicts = failures = 0
        while True:
            try:
                return self._attempt()
            except Exception as error:
                hub_error = to_hub_error(error, self.options.repo_id, self.options.revision, folder=self.folder)
                if _status(error) in (409, 412):
                    conflicts += 1
                    if conflicts == CONFLICTS:
                        raise ConcurrentPushError(
                            f"{self.options.repo_id}: another push was faster {CONFLICTS} times in a row. Try again."
                        ) from error
                elif type(hub_error) is HubUnavailableError and is_transient(error) and not self.options.create_pr:
                    # the commit may exist anyway: the next attempt finds out, except for pull requests
                    failures += 1
                    if failures == ATTEMPTS:
                        raise
                else:
                    raise
                pause(conflicts + failures)

    def _attempt(self) -> PushResult | None:
        snapshot = self._head()
        manifests, corrupt = _manifests(snapshot)
        name = self.choose(manifests | {unread: {} for unread in corrupt})
        if name is None:
            return None
        corrupt.pop(name, None)  # it is replaced
        for other, error in corrupt.items():
            raise type(error)(
                f"The dataset {other!r} in {snapshot.repo_id} cannot be read, so the card cannot describe it: {error} "
                "Alternatively, delete its folder in the repository."
            ) from error
        text = _readme(snapshot)
        rendered = repo_card.render(snapshot.repo_id, manifests | {name: self.manifest}, text, self.options.license)
        operations = self._operations(snapshot, name, rendered)
        title = f"{self.manifest['name']} condensed by {self.manifest['recipe_name']}, ipc {self.manifest['ipc']}"
        done = self.api.create_commit(
            self.options.repo_id,
            operations,
            commit_message=self.options.commit_message or f"Publish {name}: {title}",
            repo_type="dataset",
            revision=self.options.revision,
            create_pr=self.options.create_pr,
            parent_commit=snapshot.commit,
        )
        # without changes the client returns the present head
        changed = done.pr_url is not None or done.oid != snapshot.commit
        return PushResult(done.oid, done.commit_url, done.pr_url, done.pr_revision, changed)

    def _operations(self, snapshot: RepositorySnapshot, name: str, text: str) -> list[Any]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = []
        paths = [layout.repo_path(name, file) for file in layout.FILES]
        for file, path, size in zip(layout.FILES, paths, snapshot.size(*paths), strict=True):
            local = self.folder / "set" / file
            if local.exists():
                operations.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(local)))
            elif size is not None:
                operations.append(CommitOperationDelete(path_in_repo=path))
        content = text.encode("utf-8", "surrogateescape")
        return [*operations, CommitOperationAdd(path_in_repo=file_names.README, path_or_fileobj=content)]

    def _head(self) -> RepositorySnapshot:
        """The commit to build on; creates the repository or the branch if it does not exist.

        Raises:
            HubNotFoundError: for a pull request to a repository that does not exist.
            HubError: if the repository exists with another visibility than `private` asks for.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        options = self.options
        try:
            info = self.api.dataset_info(options.repo_id)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError as error:
            self._create(error)
            info = self.api.dataset_info(options.repo_id)
        else:
            if options.private is not None and bool(info.private) != options.private:
                visibility = "private" if info.private else "public"
                raise HubError(
                    f"{options.repo_id} already exists and is {visibility}, but private={options.private} was given. "
                    "Change the settings of the repository, or omit private=."
                )
        if options.revision is not None:
            try:
                info = self.api.dataset_info(options.repo_id, revision=options.revision)
            except RevisionNotFoundError:
                if options.revision.startswith("refs/"):
                    raise
                self.api.create_branch(options.repo_id, branch=options.revision, repo_type="dataset", exist_ok=True)
                info = self.api.dataset_info(options.repo_id, revision=options.revision)
        if info.sha is None:
            raise HubError(f"{options.repo_id}: the Hub did not return the latest commit. Try again.")
        return RepositorySnapshot(self.api, options.repo_id, info.sha, Access(cache_dir=self.folder / "cache"))

    def _create(self, cause: Exception) -> None:
        error = missing_dataset_error(self.api, self.options.repo_id)
        if self.options.create_pr or error.kind is not None:
            raise error from cause
        private = self.options.private is not False
        self.api.create_repo(self.options.repo_id, private=private, repo_type="dataset", exist_ok=True)


def _manifests(snapshot: RepositorySnapshot) -> tuple[Manifests, dict[str, ArtifactError]]:
    """The manifests in the repository, and the errors of those that cannot be read."""
    found: Manifests = {}
    corrupt = {}
    for name in snapshot.configs():
        try:
            manifest = snapshot.manifest(name)
            if manifest is not None:
                where = Path(snapshot.repo_id, name)
                newer = newer_is_unsupported(manifest, where)
                with newer, reject_inconsistent(where, "fields that do not form a condensed dataset"):
                    Metadata.from_manifest(manifest)
                found[name] = manifest
        except NotACondensedDatasetError:  # a folder of this name with other content
            continue
        except ArtifactError as error:
            corrupt[name] = error
    return found, corrupt


def _readme(snapshot: RepositorySnapshot) -> str | None:
    path = snapshot.fetch(file_names.README, repo_card.MAX_BYTES)
    return None if path is None else path.read_bytes().decode("utf-8", "surrogateescape")


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
