"""`condensed-data push`: publish a condensed dataset on the Hub in one commit; prints its URL and how to load it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from condensed_data.cli.hub_options import add_token_option, repository


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `push`."""
    add = parser.add_argument
    add("directory", type=Path, metavar="DIR", help="folder of a condensed dataset")
    add("repo", type=repository, metavar="USER/REPO", help="repository to publish to; created if missing")
    add(
        "--config",
        default="default",
        metavar="NAME",
        help="name of this condensed dataset, if the repository holds several (default: default)",
    )
    visibility = parser.add_mutually_exclusive_group().add_argument
    visibility("--private", action="store_true", default=None, help="make a new repository private (default)")
    visibility("--public", action="store_false", dest="private", help="make a new repository public")
    add("--revision", metavar="BRANCH", help="branch to publish to; created if missing (default: main)")
    add("--create-pr", action="store_true", help="open a pull request instead of committing to the branch")
    add("--message", metavar="TEXT", help="commit message")
    add("--license", metavar="NAME", help="license of the original data, such as mit or cc-by-4.0")
    add_token_option(parser)


def run(arguments: Namespace) -> None:
    """Publish the condensed dataset."""
    from condensed_data.dataset import CondensedDataset

    condensed = CondensedDataset.load(arguments.directory)
    print(condensed, flush=True)
    commit = condensed.push_to_hub(
        arguments.repo,
        config_name=arguments.config,
        token=arguments.token,
        private=arguments.private,
        revision=arguments.revision,
        create_pr=arguments.create_pr,
        commit_message=arguments.message,
        license=arguments.license,
    )
    config = "" if arguments.config == "default" else f" --config {arguments.config}"
    revision = commit.pr_revision or arguments.revision
    at = "" if revision is None else f" --revision {revision}"
    done = "published" if commit.changed else "nothing to publish, the repository already has this dataset"
    print(f"{done}: {commit.pr_url or commit.commit_url}")
    print(f"load it with: condensed-data pull {arguments.repo}{config}{at} --out DIR")
