"""Downloads a condensed dataset from a Hub repository without trusting its content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensed_data.core.errors import IntegrityError
from condensed_data.core.hub_errors import HubNotFoundError, HubUnavailableError, translate_hub_errors
from condensed_data.storage import artifact
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.client import shortened_list
from condensed_data.storage.hub.repository import RepositorySnapshot
from condensed_data.storage.hub.retry import with_retries
from condensed_data.storage.result import CondensationResult


@dataclass(frozen=True)
class PullResult:
    """A condensed dataset loaded from the Hub.

    Attributes:
        result: the condensed dataset.
        repo_id: "user/name" of its repository.
        config_name: its config; "default" for the root of the repository.
        commit: the commit that was read, 40 hexadecimal digits.
    """

    result: CondensationResult
    repo_id: str
    config_name: str
    commit: str


def pull(
    repo_id: str,
    *,
    revision: str | None = None,
    config_name: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    max_bytes: int = MAX_BYTES,
) -> PullResult:
    """Load a condensed dataset.

    Args:
        repo_id: "user/name" of a dataset repository.
        revision: branch, tag, pull request ("refs/pr/1") or commit; the default branch if None. A dataset that was
            loaded before at the given commit needs no request.
        config_name: which dataset of the repository to load; None for the default one, or the only one.
        token: Hub token; None uses the stored one, False none.
        cache_dir: the Hub's cache; by default that of `huggingface_hub`.
        local_files_only: make no request.
        force_download: download even files that are in the cache.
        max_bytes: maximum size; a larger dataset is refused before it is downloaded.

    Raises:
        HubNotFoundError: if the repository, revision or config does not exist or is not visible.
        HubAccessError: if the repository is gated, private or disabled.
        HubUnavailableError: without network, or if the Hub keeps failing.
        NotACondensedDatasetError: if the repository contains no condensed dataset that can be read.
        IntegrityError, UnsupportedFormatError, ArtifactError: for corrupt, newer or hostile files.
        SaveError: if the cache cannot be written.
        ValueError: for an invalid argument.
    """
    _check(config_name, local_files_only, force_download, max_bytes)
    cache = hub_cache_folder(cache_dir)

    def resolve() -> RepositorySnapshot:
        return RepositorySnapshot.resolve(
            repo_id,
            revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )

    snapshot = with_retries(resolve, repo_id, revision, folder=cache)
    with _with_redownload_hint(snapshot):
        found = with_retries(lambda: _found(snapshot, config_name), repo_id, revision, folder=cache)
    if found is None:
        return PullResult(_third_party(snapshot, config_name, max_bytes), repo_id, config_name or "", snapshot.commit)
    return load(snapshot, *found, max_bytes)


def load(snapshot: RepositorySnapshot, config: str, manifest: dict[str, Any], max_bytes: int = MAX_BYTES) -> PullResult:
    """Download and read the dataset of a manifest; raises the same errors as `pull`."""
    folder = with_retries(
        lambda: snapshot.artifact(config, manifest, max_bytes),
        snapshot.repo_id,
        snapshot.commit,
        folder=hub_cache_folder(snapshot.cache_dir),
    )
    with _with_redownload_hint(snapshot):
        result = CondensationResult.from_artifact(artifact.read(folder, max_bytes=max_bytes), max_bytes)
    return PullResult(result, snapshot.repo_id, config, snapshot.commit)


@contextmanager
def _with_redownload_hint(snapshot: RepositorySnapshot) -> Iterator[None]:
    """Suggest a new download for corrupt files, because only the cached copy may be corrupt."""
    try:
        yield
    except IntegrityError as error:
        remedy = "Load it again with force_download=True. If this fails again, contact the owner of the repository."
        raise IntegrityError(f"{snapshot.repo_id} at {snapshot.commit}: {error} {remedy}") from error


def hub_cache_folder(cache_dir: str | Path | None) -> Path:
    """Folder of the Hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(cache_dir or HF_HUB_CACHE)


def _check(config_name: str | None, local_files_only: bool, force_download: bool, max_bytes: int) -> None:
    if config_name is not None:
        layout.check_config(config_name)
    if local_files_only and force_download:
        raise ValueError(
            "force_download=True needs the network, but local_files_only=True forbids it. Give only one of them."
        )
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes} must be at least 1.")


def _found(snapshot: RepositorySnapshot, config_name: str | None) -> tuple[str, dict[str, Any]] | None:
    """The config to load and its manifest; None if the repository contains no artifact.

    Raises:
        HubNotFoundError: if the repository contains only other configs.
    """
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
    if snapshot.local_files_only:
        raise snapshot.not_cached_error()
    return None


def _configs(snapshot: RepositorySnapshot) -> list[str]:
    """Config names of the repository; if it cannot be reached, those that were loaded before at this commit."""
    try:
        with translate_hub_errors(snapshot.repo_id, snapshot.commit):
            if not snapshot.local_files_only:
                snapshot.reach()
            return snapshot.configs()
    except HubUnavailableError as error:
        known = snapshot.cached_configs()
        if not known:
            raise
        del error
        return known


def _third_party(snapshot: RepositorySnapshot, config_name: str | None, max_bytes: int) -> CondensationResult:
    """The dataset of a repository that was not made by this library.

    Raises:
        NotACondensedDatasetError: with what is missing.
    """
    from condensed_data.storage.hub import third_party

    def fetch(path: str) -> Path:
        found = with_retries(
            lambda: snapshot.fetch(path, max_bytes),
            snapshot.repo_id,
            snapshot.commit,
            folder=hub_cache_folder(snapshot.cache_dir),
        )
        if found is None:
            raise IntegrityError.mismatch(
                f"{snapshot.repo_id}/{path}", "no such file", "the file that the repository lists"
            )
        return found

    sizes = with_retries(snapshot.listing, snapshot.repo_id, snapshot.commit)
    return third_party.read(snapshot.repo_id, sizes, fetch, config_name=config_name, max_bytes=max_bytes)
