"""Every command of the command line: its name, its help, and where it is implemented.

The modules of the commands import only argparse at module level and everything else inside `run`, so that `--help`
answers without importing torch.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

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


class Command(NamedTuple):
    """One command.

    Attributes:
        name: the word on the command line.
        help: one line for the list of commands.
        module: its `add_options` adds arguments to a parser; its `run` raises an exception on failure.
        takes_source: whether its help lists the kinds of sources.
    """

    name: str
    help: str
    module: ModuleType
    takes_source: bool = False


COMMANDS = (
    Command("build", "condense a dataset", build, True),
    Command("plan", "estimate the time, memory, disk space and operations of a build", plan, True),
    Command("evaluate", "train networks on a condensed dataset and test them on real samples", evaluate, True),
    Command("clusters", "cluster the samples of a class and draw one row per cluster", clusters, True),
    Command("privacy", "measure how much a condensed dataset reveals about the samples it came from", privacy, True),
    Command("nas", "search architectures on a condensed dataset", nas, True),
    Command("merge", "combine the shards of a build into one condensed dataset", merge),
    Command("show", "draw a condensed dataset and its loss curve", show),
    Command("push", "publish a condensed dataset on the Hugging Face Hub", push),
    Command("pull", "download a condensed dataset from the Hugging Face Hub", pull),
    Command("search", "find condensed datasets on the Hugging Face Hub", search),
    Command("cache", "list, show or remove cached results", cache),
    Command("recipes", "list the recipes, or show the fields of one", recipes),
)
