"""Errors about the Hugging Face Hub.

Every message names the repository, what went wrong, and how to fix it. Problems with the files themselves (a wrong
checksum, a newer format, no condensed dataset) raise the errors in `core.errors`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from condensed_data.core.errors import ArtifactError, SaveError, save_error, short_repr
from condensed_data.core.text import VisibleMessage


class HubError(VisibleMessage, OSError):
    """A request to the Hub failed; nothing was published or loaded."""


class HubNotFoundError(HubError):
    """The repository, revision or config does not exist or is not visible to this user.

    Attributes:
        kind: "model" or "space" if a repository of this kind has the name, else None.
    """

    kind: str | None = None


class HubAccessError(HubError):
    """The repository is gated, private, disabled or not writable for this user, or the token is invalid."""


class HubUnavailableError(HubError):
    """The Hub could not be reached, or failed."""


class HubRateLimitError(HubUnavailableError):
    """The Hub received too many requests from this user or address."""


class ConcurrentPushError(HubError):
    """Other pushes to the same repository kept winning the race against this one."""


@contextmanager
def translate_hub_errors(repo_id: str, revision: str | None = None, *, folder: str | Path = "") -> Iterator[None]:
    """Convert exceptions of `huggingface_hub` to the errors in this module and in `core.errors`.

    The messages name the repository, the revision (None for the default branch), and, for a full disk, the folder that
    was written to (empty for none).
    """
    try:
        yield
    except (HubError, ArtifactError, SaveError):
        raise
    except Exception as error:
        hub_error = to_hub_error(error, repo_id, revision, folder=folder)
        if hub_error is None:
            raise
        raise hub_error from error


def to_hub_error(
    error: Exception, repo_id: str, revision: str | None = None, *, folder: str | Path = ""
) -> Exception | None:
    """The error to raise in place of one from `huggingface_hub`, or None if it is unrelated to the Hub."""
    from huggingface_hub import errors as client_errors
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # httpx2 from version 2 on

    at = f"{repo_id} at revision {short_repr(revision)}" if revision else repo_id
    if isinstance(error, client_errors.HFValidationError):
        return ValueError(f"repo_id={short_repr(repo_id)} is not a valid repository name. Give USER/NAME.")
    if isinstance(error, client_errors.LocalTokenNotFoundError):
        return HubAccessError(f"{repo_id}: no token found on this machine. {_LOG_IN}")
    if isinstance(error, client_errors.OfflineModeIsEnabled):
        return HubUnavailableError(f"{repo_id}: this needs the Hub, but HF_HUB_OFFLINE is set. Unset HF_HUB_OFFLINE.")
    if isinstance(error, client_errors.HfHubHTTPError):
        return _from_response(error, repo_id, revision)
    if isinstance(error, client_errors.RevisionResolutionError | client_errors.LocalEntryNotFoundError):
        if isinstance(error.__cause__, client_errors.HfHubHTTPError):  # the Hub was reached, and refused
            return _from_response(error.__cause__, repo_id, revision)
        return HubUnavailableError(
            f"{at} is not fully in the local cache, and the Hub was not reached "
            f"({_first_line(error.__cause__ or error)}). Check the network, HF_HUB_OFFLINE and local_files_only, or "
            "choose a revision that was loaded before."
        )
    if isinstance(error, httpx.TransportError):
        return HubUnavailableError(
            f"{repo_id}: cannot reach the Hub ({type(error).__name__}: {_first_line(error)}). Check the network "
            "and HF_ENDPOINT."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, _NETWORK_ERRORS):
        return save_error(Path(folder), error) if folder else None
    if isinstance(error, OSError | RuntimeError):  # dropped or truncated transfer, or failed upload
        return HubUnavailableError(f"{repo_id}: a transfer failed ({_first_line(error)}). Try again.")
    return None


_NETWORK_ERRORS = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)
_LOG_IN = "Log in with `hf auth login`, set HF_TOKEN, or pass token=."


def _from_response(error: Any, repo_id: str, revision: str | None) -> HubError:
    """The error for an HTTP error response."""
    from huggingface_hub import errors as client_errors

    if isinstance(error, client_errors.GatedRepoError):
        return HubAccessError(
            f"{repo_id} is gated: its owner must grant you access. Request access on the repository's page and use a "
            f"token of that account. {_LOG_IN}"
        )
    if isinstance(error, client_errors.DisabledRepoError):
        return HubAccessError(f"{repo_id} is disabled on the Hub. Only its owner or the Hub can enable it.")
    if isinstance(error, client_errors.RevisionNotFoundError):
        return HubNotFoundError(
            f"{repo_id} has no revision {short_repr(revision or 'main')}. Give one of its branches, tags or commits."
        )
    if isinstance(error, client_errors.RepositoryNotFoundError):
        return missing_repository(repo_id)
    if isinstance(error, client_errors.RemoteEntryNotFoundError):
        return HubNotFoundError(
            f"{repo_id}: a file does not exist ({_first_line(error)}). Check whether another revision has it."
        )
    return _from_status(error, repo_id)


def _from_status(error: Any, repo_id: str) -> HubError:
    """The error for a response that the client knows only by its status."""
    status = error.response.status_code
    if status == 401:
        return HubAccessError(f"{repo_id}: the Hub rejected the token, or requires one. {_LOG_IN}")
    if status == 402:
        return HubAccessError(f"{repo_id}: the Hub asks for payment ({_first_line(error)}). See the owner's settings.")
    if status == 403:
        return HubAccessError(
            f"{repo_id}: the token lacks permission ({_first_line(error)}). Use a token that may read it or, to "
            "publish, write to it."
        )
    if status == 429:
        return HubRateLimitError(
            f"{repo_id}: too many requests to the Hub{_retry_after(error.response)}. Wait; requests without a token "
            "have the lowest limit."
        )
    if status >= 500:
        return HubUnavailableError(f"{repo_id}: the Hub failed (status {status}). Try again later.")
    return HubError(f"{repo_id}: the Hub refused the request (status {status}: {_first_line(error)}).")


def missing_repository(repo_id: str, kind: str | None = None) -> HubNotFoundError:
    """The error for a dataset repository that does not exist; `kind` of repository has this name instead."""
    if kind is not None:
        error = HubNotFoundError(
            f"{repo_id} is a {kind} repository, but condensed datasets are stored in dataset repositories. "
            "Give the name of a dataset repository."
        )
        error.kind = kind
        return error
    return HubNotFoundError(
        f"{repo_id}: this dataset repository does not exist, or it is private and the token has no access. "
        f"Check the name. {_LOG_IN}"
    )


def _retry_after(response: Any) -> str:
    """When the rate limit ends, if the response says so."""
    wait = response.headers.get("Retry-After", "")
    if not wait.isdecimal():
        parts = response.headers.get("ratelimit", "").split(";")
        wait = next((part.strip()[2:] for part in parts if part.strip().startswith("t=")), "")
    return f"; the limit ends in {wait} s" if wait.isdecimal() else ""


def _first_line(error: BaseException) -> str:
    text = getattr(error, "server_message", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
