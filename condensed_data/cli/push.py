"""`condensed-data push`: publish a condensed set on the Hub."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from condensed_data.cli.hub_options import push_kwargs, push_options, repository, token_option


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of a condensed set")
    parser.add_argument("repo", type=repository, metavar="USER/REPO", help="made if it is not there")
    parser.add_argument(
        "--config", default="default", metavar="NAME", help="its name among several sets of a repository"
    )
    push_options(parser)
    token_option(parser)


def run(arguments: Namespace) -> None:
    """Do it; in one commit, which is told."""
    from condensed_data import CondensedDataset

    condensed = CondensedDataset.load(arguments.directory)
    print(condensed, flush=True)
    commit = condensed.push_to_hub(
        arguments.repo, config_name=arguments.config, token=arguments.token, **push_kwargs(arguments)
    )
    print(pushed(arguments.repo, arguments.config, commit))


def pushed(repo: str, config: str, commit: object) -> str:
    """Text: where a set was published, and how others load it."""
    where = getattr(commit, "pr_url", None) or getattr(commit, "commit_url", commit)
    given = "" if config == "default" else f" --config {config}"
    return f"published: {where}\nload it with: condensed-data pull {repo}{given} --out DIR"
