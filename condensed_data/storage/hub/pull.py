"""Load a condensed set from a repository of the Hub, trusting nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensed_data.core.errors import IntegrityError, mismatch_message
from condensed_data.core.hub_errors import HubNotFoundError, HubUnavailableError, translate_hub_errors
from condensed_data.storage import artifact as artifact
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.repository import Remote, named
from condensed_data.storage.hub.retry import with_retries
from condensed_data.storage.result import CondensationResult


@dataclass(frozen=True)
class Pulled:
    """What was loaded.

    Attributes:
        outcome: the condensed set.
        repo_id, config_name: where it lies; config_name is "default" for the root of the repository.
        commit: 40 hexadecimal digits, the commit that was read.
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
) -> Pulled:
    """Load a condensed set.

    Args:
        repo_id: "user/name" of a dataset repository.
        revision: branch, tag, pull request ("refs/pr/1") or commit; the default branch if None. A set that was
            loaded before at a commit given here needs no request.
        config_name: which of the repository's sets; None takes the default one, or the only one.
        token: None uses the stored one, False none.
        cache_dir: the Hub's cache; by default that of `huggingface_hub`.
        local_files_only: make no request.
        force_download: load even what the cache has.
        max_bytes: refuse more, before it is downloaded.

    Raises:
        HubNotFoundError: for a repository, revision or config that is not there or not visible.
        HubAccessError: where it is gated, private or disabled.
        HubUnavailableError: without network, or when the Hub fails.
        NotACondensedDatasetError: where the repository holds no condensed set that can be read.
        IntegrityError, UnsupportedFormatError, ArtifactError: for files that are damaged, newer or hostile.
        SaveError: where the cache cannot be written.
        ValueError: for an argument that cannot be used.
    """
    _check(config_name, local_files_only, force_download, max_bytes)
    cache = folder_of(cache_dir)

    def at() -> Remote:
        return Remote.at(
            repo_id,
            revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )

    remote = with_retries(at, repo_id, revision, folder=cache)
    with _with_redownload_hint(remote):
        found = with_retries(lambda: _found(remote, config_name), repo_id, revision, folder=cache)
    if found is None:
        return Pulled(_foreign(remote, config_name, max_bytes), repo_id, config_name or "", remote.commit)
    return load(remote, *found, max_bytes)


def load(remote: Remote, config: str, manifest: dict[str, Any], max_bytes: int = MAX_BYTES) -> Pulled:
    """Download and read the set of a manifest; raises as `pull` does."""
    folder = with_retries(
        lambda: remote.artifact(config, manifest, max_bytes),
        remote.repo_id,
        remote.commit,
        folder=folder_of(remote.cache_dir),
    )
    with _with_redownload_hint(remote):
        result = CondensationResult.of(artifact.read(folder, max_bytes=max_bytes), max_bytes)
    return Pulled(result, remote.repo_id, config, remote.commit)


@contextmanager
def _with_redownload_hint(remote: Remote) -> Iterator[None]:
    """What is damaged may be so in the cache alone."""
    try:
        yield
    except IntegrityError as error:
        remedy = "Load it again with force_download=True; if it stays so, tell the owner of the repository."
        raise IntegrityError(f"{remote.repo_id} at {remote.commit}: {error} {remedy}") from error


def folder_of(cache_dir: str | Path | None) -> Path:
    """The Hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(cache_dir or HF_HUB_CACHE)


def _check(config_name: str | None, local_files_only: bool, force_download: bool, max_bytes: int) -> None:
    if config_name is not None:
        layout.check_config(config_name)
    if local_files_only and force_download:
        raise ValueError("force_download=True needs the network, local_files_only=True forbids it.")
    if max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes} must be at least 1.")


def _found(remote: Remote, config_name: str | None) -> tuple[str, dict[str, Any]] | None:
    """The config to load and its manifest; None where the repository has no set of ours at all.

    Raises:
        HubNotFoundError: where it has others.
    """
    wanted = config_name or layout.DEFAULT
    manifest = remote.manifest(wanted)
    if manifest is not None:
        return wanted, manifest
    configs = _configs(remote)
    if config_name is None and len(configs) == 1:
        manifest = remote.manifest(configs[0])
        return None if manifest is None else (configs[0], manifest)
    if configs:
        what = f"no config {config_name!r}" if config_name else "several configs, and none is the default one"
        raise HubNotFoundError(f"{remote.repo_id} has {what}. Give config_name= one of: {named(configs)}.")
    if remote.local_files_only:
        raise remote.not_here()
    return None


def _configs(remote: Remote) -> list[str]:
    """The names of its sets; of a commit whose repository is out of reach, those that were loaded before."""
    try:
        with translate_hub_errors(remote.repo_id, remote.commit):
            if not remote.local_files_only:
                remote.reach()
            return remote.configs()
    except HubUnavailableError as error:
        known = remote.cached_configs()
        if not known:
            raise
        del error
        return known


def _foreign(remote: Remote, config_name: str | None, max_bytes: int) -> CondensationResult:
    """The set of a repository that this library did not make.

    Raises:
        NotACondensedDatasetError: naming what is missing.
    """
    from condensed_data.storage.hub import third_party as foreign

    def fetch(path: str) -> Path:
        found = with_retries(
            lambda: remote.fetch(path, max_bytes),
            remote.repo_id,
            remote.commit,
            folder=folder_of(remote.cache_dir),
        )
        if found is None:
            raise IntegrityError(
                mismatch_message(f"{remote.repo_id}/{path}", "no such file", "the file that is listed")
            )
        return found

    sizes = with_retries(remote.listing, remote.repo_id, remote.commit)
    return foreign.read(remote.repo_id, sizes, fetch, config_name=config_name, max_bytes=max_bytes)
