"""The Hub client, and checks and messages about repositories."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from condensed_data.core.errors import short_repr
from condensed_data.core.hub_errors import HubNotFoundError, missing_repository
from condensed_data.core.text import MAX_STORED, storable_name

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def client(token: str | bool | None) -> HfApi:
    """A Hub client that takes its endpoint from HF_ENDPOINT and identifies this library.

    `dataset_info`, always the first request, times out after HF_HUB_ETAG_TIMEOUT seconds. By default it would wait
    forever for a server that accepts the connection and never answers.
    """
    from huggingface_hub import HfApi, constants

    from condensed_data.core.version import installed_version

    api = HfApi(token=check_token(token), library_name="condensed-data", library_version=installed_version())
    original = api.dataset_info

    def dataset_info(*arguments: Any, timeout: float | None = None, **options: Any) -> Any:
        return original(*arguments, timeout=timeout or constants.HF_HUB_ETAG_TIMEOUT, **options)

    api.dataset_info = dataset_info  # type: ignore[method-assign]  # other methods of the client call it as well
    return api


def check_name(repo_id: Any) -> str:
    """Return a valid repository name unchanged.

    Raises:
        ValueError: unless it is "user/name".
    """
    if not isinstance(repo_id, str) or not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo_id, re.ASCII):
        raise ValueError(f"repo_id={short_repr(repo_id)} is not a valid repository name. Give USER/NAME.")
    return repo_id


def check_token(token: Any) -> str | bool | None:
    """A token without the line break that a file may end with; its value appears in no message.

    Raises:
        ValueError: for what cannot be a token.
    """
    if token is None or isinstance(token, bool):
        return token
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]{1,500}", token.strip()):
        raise ValueError(
            "token= cannot be a token of the Hub (it is not shown here). Give visible ASCII characters, True or None "
            "for the stored one, or False for none."
        )
    return token.strip()


def check_revision(revision: Any) -> str | None:
    """Return a valid branch, tag, pull request or commit unchanged; None for the default branch.

    Raises:
        ValueError: for what cannot be one.
    """
    if revision is None:
        return None
    valid = isinstance(revision, str) and len(revision) <= 250 and revision.isprintable() and ".." not in revision
    if not valid or not re.fullmatch(r"[^\s~^:?*\[\\-][^\s~^:?*\[\\]*", revision):
        raise ValueError(
            f"revision={short_repr(revision)} cannot be a revision. Give a branch, a tag, refs/pr/N or a commit."
        )
    return str(revision)


def check_text(argument: str, text: Any) -> None:
    """Raise ValueError unless the value of `argument` is None or text that can be sent."""
    if text is not None and not (isinstance(text, str) and text and storable_name(text) == text):
        raise ValueError(
            f"{argument}={short_repr(text)} must be text of 1 to {MAX_STORED} characters, without halves of characters."
        )


def missing_dataset_error(api: HfApi, repo_id: str) -> HubNotFoundError:
    """The error for a dataset repository that does not exist; names another kind of repository if there is one."""
    for kind in ("model", "space"):
        try:
            if api.repo_exists(repo_id, repo_type=kind):
                return missing_repository(repo_id, kind)
        except Exception as error:  # costs only a more helpful message
            del error
    return missing_repository(repo_id)
