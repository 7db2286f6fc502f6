"""Publish a condensed set to a repository of the Hub, in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condensed_data.outcome import Outcome

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo


def push(
    outcome: Outcome,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    config_name: str = "default",
    license: str | None = None,  # noqa: A002 (the Hub calls it so)
) -> CommitInfo:
    """Publish a condensed set: all of it in one commit, or nothing.

    Args:
        outcome: the set.
        repo_id: "user/name" of a dataset repository; made if it is not there.
        private: of a new repository: True or None makes it private, False public. For one that is there it is
            checked, not changed.
        token: None uses the stored one.
        revision: branch to commit to; made from the default one if it is not there.
        create_pr: open a pull request instead of committing.
        commit_message: first line of the commit.
        config_name: which of the repository's sets this is; "default" is the root.
        license: identifier of the source's licence, for the card, such as "mit" or "cc-by-4.0".

    Returns:
        The commit (`.oid`, `.commit_url`, `.pr_url`); the present head where nothing has changed.

    Raises:
        HubError: or a subclass that says why; nothing is published, and the message says how to go on.
        ValueError: for an argument that cannot be used, before anything is sent.
    """
    raise NotImplementedError
