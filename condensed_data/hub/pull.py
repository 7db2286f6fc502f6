"""Load a condensed set from a repository of the Hub, trusting nothing in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from condensed_data.outcome import Outcome
from condensed_data.storage.artefact import MAX_BYTES


@dataclass(frozen=True)
class Pulled:
    """What was loaded.

    Attributes:
        outcome: the condensed set.
        repo_id, config_name: where it lies; config_name is "default" for the root of the repository.
        commit: 40 hexadecimal digits, the commit that was read.
    """

    outcome: Outcome
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
        revision: branch, tag, pull request ("refs/pr/1") or commit; the default branch if None. A commit that
            was loaded before needs no request.
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
        IntegrityError, UnsupportedFormatError, ArtefactError: for files that are damaged, newer or hostile.
        SaveError: where the cache cannot be written.
    """
    raise NotImplementedError
