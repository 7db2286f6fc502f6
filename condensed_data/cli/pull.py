"""`condensed-data pull`: download a condensed dataset from the Hub to a folder; prints it and its commit."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from condensed_data.cli.hub_options import add_pull_options, pull_condensed, repository


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `pull`."""
    parser.add_argument("repo", type=repository, metavar="USER/REPO", help="repository of the condensed dataset")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the condensed dataset")
    add_pull_options(parser)


def run(arguments: Namespace) -> None:
    """Download the condensed dataset and save it."""
    from condensed_data.storage.atomic_directory import check_writable

    check_writable(arguments.out)
    condensed = pull_condensed(arguments.repo, arguments)
    condensed.save(arguments.out)
    print(condensed)
    print(f"  commit {condensed.hub_revision}\nsaved in {arguments.out}")
