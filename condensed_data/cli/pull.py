"""`condensed-data pull`: load a condensed set from the Hub into a folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from condensed_data.cli.hub_options import from_hub, pull_options, repository


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("repo", type=repository, metavar="USER/REPO", help="repository of a condensed set")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the set")
    pull_options(parser)


def run(arguments: Namespace) -> None:
    """Do it; the commit that was loaded is told."""
    from condensed_data.storage import check_writable

    check_writable(arguments.out)
    condensed = from_hub(arguments.repo, arguments)
    condensed.save(arguments.out)
    print(condensed)
    print(f"  commit {condensed.hub_revision}\nsaved in {arguments.out}")
