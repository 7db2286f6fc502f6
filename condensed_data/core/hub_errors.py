"""What can go wrong with the Hub, and the sentence that says so.

Every message names the repository, what the Hub said in our words, and what to do about it. What is wrong with the
files themselves (a checksum, a newer format, no condensed set) is told by the errors of `storage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from condensed_data.core.errors import ArtifactError, SaveError, save_error, shown


class HubError(OSError):
    """The Hub did not do what it was asked for; nothing was published or loaded."""


class HubNotFoundError(HubError):
    """There is no such repository, revision or config, or it is not visible to this user.

    Attributes:
        kind: "model" or "space" where the name is that of such a repository.
    """

    kind: str | None = None


class HubAccessError(HubError):
    """The repository is gated, private, disabled or not writable for this user, or the token is not valid."""


class HubUnavailableError(HubError):
    """The Hub could not be reached, or it failed after several attempts."""


class HubRateLimitError(HubUnavailableError):
    """The Hub counts too many requests of this user or address."""


class ConcurrentPushError(HubError):
    """Others kept publishing to the same repository faster than this push."""


@contextmanager
def translate_hub_errors(
    repo_id: str, revision: str | None = None, *, folder: str | Path = ""
) -> Iterator[None]:
    """Turn what the client raises inside into the errors of this file and of `storage`.

    Args:
        repo_id: repository that is spoken about.
        revision: that was asked for, or None for the default branch.
        folder: where files are written, for a full disk.
    """
    try:
        yield
    except (HubError, ArtifactError, SaveError):
        raise
    except Exception as error:
        told = to_hub_error(error, repo_id, revision, folder=folder)
        if told is None:
            raise
        raise told from error


def to_hub_error(
    error: Exception, repo_id: str, revision: str | None = None, *, folder: str | Path = ""
) -> Exception | None:
    """The error of ours for one of the client, or None for one that has nothing to do with the Hub."""
    from huggingface_hub import errors as theirs
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # httpx2 from version 2 on

    at = f"{repo_id} at revision {shown(revision)}" if revision else repo_id
    if isinstance(error, theirs.HFValidationError):
        return ValueError(f"repo_id={shown(repo_id)} is no name of a repository: give USER/NAME.")
    if isinstance(error, theirs.LocalTokenNotFoundError):
        return HubAccessError(f"{repo_id}: there is no token on this machine. {_LOG_IN}")
    if isinstance(error, theirs.OfflineModeIsEnabled):
        return HubUnavailableError(
            f"{repo_id}: the Hub is switched off by HF_HUB_OFFLINE, and this needs it. Unset HF_HUB_OFFLINE."
        )
    if isinstance(error, theirs.HfHubHTTPError):
        return _refused(error, repo_id, revision)
    if isinstance(error, theirs.RevisionResolutionError | theirs.LocalEntryNotFoundError):
        return _not_here(error, at)
    if isinstance(error, httpx.TransportError):
        return _unreachable(repo_id, error)
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return save_error(Path(folder), error)
    if isinstance(
        error, OSError | RuntimeError
    ):  # a dropped or truncated transfer, a failed upload to the store
        return HubUnavailableError(
            f"{repo_id}: a transfer failed after several attempts ({_first_line(error)}). Try it again."
        )
    return None


_LOG_IN = "Log in with `hf auth login`, set HF_TOKEN, or pass token=."


def _refused(error: Any, repo_id: str, revision: str | None) -> HubError:
    """For an answer of the Hub that is an error."""
    from huggingface_hub import errors as theirs

    status = error.response.status_code
    if isinstance(error, theirs.GatedRepoError):
        return HubAccessError(
            f"{repo_id} is gated: its owner grants access one by one. Ask for it on the page of the repository, "
            f"and use a token of that account. {_LOG_IN}"
        )
    if isinstance(error, theirs.DisabledRepoError):
        return HubAccessError(f"{repo_id} is disabled on the Hub. Only its owner or the Hub can change that.")
    if isinstance(error, theirs.RevisionNotFoundError):
        return HubNotFoundError(
            f"{repo_id} has no revision {shown(revision or 'main')}. Give a branch, a tag or a commit of it."
        )
    if isinstance(error, theirs.RepositoryNotFoundError):
        return missing_repository(repo_id)
    if isinstance(error, theirs.RemoteEntryNotFoundError):
        return HubNotFoundError(
            f"{repo_id} lacks a file: {_first_line(error)}. Another revision may have it."
        )
    if status == 401:
        return HubAccessError(f"{repo_id}: the Hub does not accept the token, or wants one. {_LOG_IN}")
    if status in (402, 403):
        return HubAccessError(
            f"{repo_id}: the token may not do this ({_first_line(error)}). Use a token with write access to it."
        )
    if status == 429:
        return HubRateLimitError(
            f"{repo_id}: the Hub counts too many requests{_until(error.response)}. Wait, or log in: "
            "anonymous requests have the lowest limit."
        )
    if status >= 500:
        return HubUnavailableError(
            f"{repo_id}: the Hub failed after several attempts (status {status}). Try it again later."
        )
    return HubError(f"{repo_id}: the Hub refused this (status {status}: {_first_line(error)}).")


def missing_repository(repo_id: str, kind: str | None = None) -> HubNotFoundError:
    """For a data set repository that is not there; `kind` is what there is of this name instead."""
    if kind is not None:
        error = HubNotFoundError(
            f"{repo_id} is a {kind} repository, and condensed sets are in dataset repositories. "
            "Give the name of one."
        )
        error.kind = kind
        return error
    return HubNotFoundError(
        f"{repo_id}: there is no such dataset repository, or it is private and the token does not open it. "
        f"Check the name. {_LOG_IN}"
    )


def _not_here(error: Exception, at: str) -> HubUnavailableError:
    return HubUnavailableError(
        f"{at} is not in the cache of this machine as a whole, and the Hub was not reached "
        f"({_first_line(error.__cause__ or error)}). Connect, unset HF_HUB_OFFLINE and local_files_only, "
        "or choose a revision that was loaded before."
    )


def _unreachable(repo_id: str, error: Exception) -> HubUnavailableError:
    return HubUnavailableError(
        f"{repo_id}: the Hub cannot be reached ({type(error).__name__}: {_first_line(error)}). Check the "
        "network and HF_ENDPOINT."
    )


def _until(response: Any) -> str:
    """When the limit ends, where the answer says it."""
    wait = response.headers.get("Retry-After", "")
    if not wait.isdecimal():
        parts = response.headers.get("ratelimit", "").split(";")
        wait = next((part.strip()[2:] for part in parts if part.strip().startswith("t=")), "")
    return f"; its limit ends in {wait} s" if wait.isdecimal() else ""


def _first_line(error: BaseException) -> str:
    text = getattr(error, "server_message", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
