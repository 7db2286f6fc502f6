"""Downloads a condensed dataset from a Hub repository without trusting its content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensed_data.core.errors import IntegrityError, shortened_list
from condensed_data.core.hub_errors import HubNotFoundError, HubUnavailableError, translate_hub_errors
from condensed_data.storage import artifact
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.repository import Access, RepositorySnapshot
from condensed_data.storage.hub.retry import with_retries
from condensed_data.storage.result import CondensationResult


@dataclass(frozen=True)
class PullResult:
    """A condensed dataset, and the commit of the Hub repository (40 hexadecimal digits) that it was loaded from."""

    result: CondensationResult
    commit: str


def pull(
    repo_id: str, revision: str | None, config_name: str | None, access: Access, max_bytes: int = MAX_BYTES
) -> PullResult:
    """Load a condensed dataset; `HubMixin.from_hub` documents arguments and errors.

    A dataset that was loaded before at the given commit needs no request.
    """
    if config_name is not None:
        layout.check_config(config_name)
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes} must be at least 1.")
    snapshot = with_retries(
        lambda: RepositorySnapshot.resolve(repo_id, revision, access), repo_id, revision, folder=access.folder
    )
    with _with_redownload_hint(snapshot):
        found = with_retries(lambda: _found(snapshot, config_name), repo_id, revision, folder=access.folder)
    if found is None:
        return PullResult(_third_party(snapshot, config_name, max_bytes), snapshot.commit)
    return load(snapshot, *found, max_bytes)


def load(snapshot: RepositorySnapshot, config: str, manifest: dict[str, Any], max_bytes: int = MAX_BYTES) -> PullResult:
    """Download and read the dataset of a manifest; raises the same errors as `pull`."""
    folder = snapshot.with_retries(lambda: snapshot.artifact(config, manifest, max_bytes))
    with _with_redownload_hint(snapshot):
        result = CondensationResult.from_artifact(artifact.read(folder, max_bytes=max_bytes), max_bytes)
    return PullResult(result, snapshot.commit)


@contextmanager
def _with_redownload_hint(snapshot: RepositorySnapshot) -> Iterator[None]:
    """Suggest a new download for corrupt files, because only the cached copy may be corrupt."""
    try:
        yield
    except IntegrityError as error:
        remedy = "Load it again with force_download=True. If this fails again, contact the owner of the repository."
        raise IntegrityError(f"{snapshot.repo_id} at {snapshot.commit}: {error} {remedy}") from error


def _found(snapshot: RepositorySnapshot, config_name: str | None) -> tuple[str, dict[str, Any]] | None:
    """The config to load and its manifest; None if the repository contains no artifact."""
    wanted = config_name or layout.DEFAULT
    manifest = snapshot.manifest(wanted)
    if manifest is not None:
        return wanted, manifest
    configs = _configs(snapshot)
    if config_name is None and len(configs) == 1:
        manifest = snapshot.manifest(configs[0])
        return None if manifest is None else (configs[0], manifest)
    if configs:
        problem = f"no config {config_name!r}" if config_name else "several configs and no default"
        raise HubNotFoundError(
            f"{snapshot.repo_id} has {problem}. Give config_name= one of: {shortened_list(configs)}."
        )
    if snapshot.access.local_files_only:
        raise snapshot.not_cached_error()
    return None


def _configs(snapshot: RepositorySnapshot) -> list[str]:
    """Config names of the repository; if it cannot be reached, those that were loaded before at this commit."""
    try:
        with translate_hub_errors(snapshot.repo_id, snapshot.commit):
            if not snapshot.access.local_files_only:
                snapshot.reach()
            return snapshot.configs()
    except HubUnavailableError:
        known = snapshot.cached_configs()
        if not known:
            raise
        return known


def _third_party(snapshot: RepositorySnapshot, config_name: str | None, max_bytes: int) -> CondensationResult:
    """The dataset of a repository that was not made by this library."""
    from condensed_data.storage.hub import third_party

    def fetch(path: str) -> Path:
        found = snapshot.with_retries(lambda: snapshot.fetch(path, max_bytes))
        if found is None:
            raise IntegrityError.mismatch(
                f"{snapshot.repo_id}/{path}", "no such file", "the file that the repository lists"
            )
        return found

    sizes = snapshot.with_retries(snapshot.listing)
    return third_party.read(snapshot.repo_id, sizes, fetch, config_name=config_name, max_bytes=max_bytes)
