"""Options of commands that read condensed datasets from a folder or the Hugging Face Hub."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.options import byte_count

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def repository(text: str) -> str:
    """The name of a repository on the Hub, as "user/name"."""
    if not _REPOSITORY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected a repository as USER/REPO, got {text!r}")
    return text


def add_token_option(parser: argparse._ActionsContainer) -> None:
    """Add --token."""
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="access token of the Hub; prefer `hf auth login` or the environment variable HF_TOKEN, because other "
        "users of this machine can see command lines",
    )


def add_pull_options(parser: ArgumentParser) -> None:
    """Add the options for downloading a condensed dataset from a repository."""
    group = parser.add_argument_group("downloading from the Hugging Face Hub")
    add = group.add_argument
    add("--config", metavar="NAME", help="name of one of several condensed datasets in a repository")
    add("--revision", metavar="NAME", help="branch, tag, commit or refs/pr/N of a repository (default: main)")
    add("--max-bytes", type=byte_count, metavar="SIZE", help="refuse downloads larger than this, e.g. 500MB")
    add("--local-files-only", action="store_true", help="do not access the network; use cached files only")
    add_token_option(group)


def pull_condensed(repo: str, arguments: Namespace) -> CondensedDataset:
    """Download the condensed dataset of a repository with the pull options."""
    from condensed_data.dataset import CondensedDataset

    limit = {} if arguments.max_bytes is None else {"max_bytes": arguments.max_bytes}
    return CondensedDataset.from_hub(
        repo,
        config_name=arguments.config,
        revision=arguments.revision,
        token=arguments.token,
        local_files_only=arguments.local_files_only,
        **limit,
    )


def add_dataset_argument(parser: ArgumentParser) -> None:
    """Add the positional argument for a condensed dataset in a folder or on the Hub."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="condensed dataset: a folder, or USER/REPO on the Hugging Face Hub if no such folder exists",
    )
    add_pull_options(parser)


def load_condensed(arguments: Namespace) -> CondensedDataset:
    """Load the condensed dataset that DATASET names.

    Raises:
        ValueError: if it is neither a folder nor USER/REPO, or a folder with options for repositories.
        HubNotFoundError: if neither the folder nor the repository exists.
    """
    from condensed_data.core.hub_errors import HubError
    from condensed_data.dataset import CondensedDataset

    name = str(arguments.dataset)
    if is_folder(name):
        _refuse_pull_options(arguments)
        return CondensedDataset.load(name)
    try:
        return pull_condensed(name, arguments)
    except HubError as error:
        raise type(error)(f"{name} is not a local folder and was not read from the Hub: {error}") from error


def _refuse_pull_options(arguments: Namespace) -> None:
    """Raise ValueError if an option for repositories was given for a folder."""
    for name in ("config", "revision", "token", "max_bytes", "local_files_only"):
        if getattr(arguments, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{option} applies to repositories of the Hub, but {arguments.dataset} is a folder. Remove {option}."
            )


def is_folder(name: str) -> bool:
    """Whether DATASET names something on disk, or else a repository; raises ValueError if it can be neither."""
    if Path(name).exists():
        return True
    if not _REPOSITORY.fullmatch(name):
        raise ValueError(
            f"DATASET {name!r} is neither an existing folder nor a repository of the Hub. Give a folder or USER/REPO."
        )
    return False
