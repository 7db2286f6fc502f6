"""Where a condensed set is: a folder, or a repository of the Hub. Options and helpers of the verbs that meet either."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.cli.options import size

if TYPE_CHECKING:
    from condensed_data import CondensedDataset

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def repository(text: str) -> str:
    """The name of a repository of the Hub."""
    if not _REPOSITORY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no repository: write USER/REPO")
    return text


def token_option(parser: ArgumentParser) -> None:
    """Who asks the Hub."""
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="of the Hub; better is HF_TOKEN in the environment, or `hf auth login`, as others see command lines",
    )


def push_options(parser: ArgumentParser) -> None:
    """How a set is published."""
    visible = parser.add_mutually_exclusive_group()
    visible.add_argument(
        "--private", action="store_true", default=None, help="make a new repository private (default)"
    )
    visible.add_argument(
        "--public", action="store_false", dest="private", help="let everyone see a new repository"
    )
    add = parser.add_argument
    add("--revision", metavar="BRANCH", help="publish to this branch, made if needed (default: main)")
    add("--create-pr", action="store_true", help="open a pull request instead of publishing")
    add("--message", metavar="TEXT", help="of the commit")
    add("--license", metavar="NAME", help="license of the data that was condensed, such as mit or cc-by-4.0")


def push_kwargs(options: Namespace) -> dict[str, Any]:
    """The arguments of `push_to_hub` in the options, but for the set's name and the token."""
    return {
        "private": options.private,
        "revision": options.revision,
        "create_pr": options.create_pr,
        "commit_message": options.message,
        "license": options.license,
    }


def pull_options(parser: ArgumentParser) -> None:
    """What is loaded from a repository, and how."""
    add = parser.add_argument
    add("--config", metavar="NAME", help="which of several sets of a repository")
    add("--revision", metavar="NAME", help="branch, tag, commit or refs/pr/N of a repository (default: main)")
    add("--max-bytes", type=size, metavar="SIZE", help="load nothing larger than this, such as 500MB")
    add("--local-files-only", action="store_true", help="ask the Hub nothing: what was loaded before must do")
    token_option(parser)


def from_hub(repo: str, options: Namespace) -> CondensedDataset:
    """The set of a repository."""
    from condensed_data import CondensedDataset

    how: dict[str, Any] = {} if options.max_bytes is None else {"max_bytes": options.max_bytes}
    return CondensedDataset.from_hub(
        repo,
        config_name=options.config,
        revision=options.revision,
        token=options.token,
        local_files_only=options.local_files_only,
        **how,
    )


def where_option(parser: ArgumentParser) -> None:
    """A condensed set, in a folder or on the Hub."""
    parser.add_argument(
        "where", metavar="WHERE", help="condensed set: a folder, or USER/REPO where no folder has that name"
    )
    pull_options(parser)


def load_condensed(options: Namespace) -> CondensedDataset:
    """The set at WHERE.

    Raises:
        ValueError: if it is neither a folder nor USER/REPO, or a folder with options for repositories.
        HubNotFoundError: for a folder and a repository that are not there.
    """
    from condensed_data import CondensedDataset
    from condensed_data.core.hub_errors import HubError

    where = str(options.where)
    if is_local(where):
        given = [
            name
            for name in ("config", "revision", "token", "max_bytes")
            if getattr(options, name) is not None
        ]
        if given or options.local_files_only:
            name = (given or ["local_files_only"])[0].replace("_", "-")
            raise ValueError(
                f"--{name} is for repositories of the Hub, and {where} is a folder. Leave it out."
            )
        return CondensedDataset.load(where)
    try:
        return from_hub(where, options)
    except HubError as error:
        raise type(error)(f"{where} is no folder here, and as a repository of the Hub: {error}") from error


def is_local(where: str) -> bool:
    """Whether WHERE is a folder, not a repository.

    Raises:
        ValueError: if it can be neither.
    """
    if Path(where).exists():
        return True
    if not _REPOSITORY.fullmatch(where):
        raise ValueError(
            f"WHERE {where!r} is no folder, and no repository of the Hub. Give a folder or USER/REPO."
        )
    return False
