"""Every command of the command line: its name, its help, and where it is implemented.

The files of the commands import only argparse at module level and everything else inside `run`, so that `--help`
answers without importing torch.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from condensed_data.cli import (
    build,
    cache,
    clusters,
    evaluate,
    merge,
    nas,
    plan,
    privacy,
    pull,
    push,
    recipes,
    search,
    show,
)


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: the word on the command line.
        help: one line for the list of commands.
        add_options: adds its arguments to a parser.
        run: executes it; raises an exception on failure.
        takes_source: whether its help lists the kinds of sources.
    """

    name: str
    help: str
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]
    takes_source: bool = False


COMMANDS = (
    Command("build", "condense a dataset", build.add_options, build.run, takes_source=True),
    Command(
        "plan",
        "estimate the time, memory, disk space and operations of a build",
        plan.add_options,
        plan.run,
        takes_source=True,
    ),
    Command(
        "evaluate",
        "train networks on a condensed dataset and test them on real samples",
        evaluate.add_options,
        evaluate.run,
        takes_source=True,
    ),
    Command(
        "clusters",
        "cluster the samples of a class and draw one row per cluster",
        clusters.add_options,
        clusters.run,
        takes_source=True,
    ),
    Command(
        "privacy",
        "measure how much a condensed dataset reveals about the samples it was made from",
        privacy.add_options,
        privacy.run,
        takes_source=True,
    ),
    Command("nas", "search architectures on a condensed dataset", nas.add_options, nas.run, takes_source=True),
    Command("merge", "combine the shards of a build into one condensed dataset", merge.add_options, merge.run),
    Command("show", "draw a condensed dataset and its loss curve", show.add_options, show.run),
    Command("push", "publish a condensed dataset on the Hugging Face Hub", push.add_options, push.run),
    Command("pull", "download a condensed dataset from the Hugging Face Hub", pull.add_options, pull.run),
    Command("search", "find condensed datasets on the Hugging Face Hub", search.add_options, search.run),
    Command("cache", "list, show or remove cached results", cache.add_options, cache.run),
    Command("recipes", "list the recipes, or show the fields of one", recipes.add_options, recipes.run),
)
