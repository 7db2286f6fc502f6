"""The verbs of the command line, one a file: `options` names its options, `run` does it.

Only argparse is imported at the head of these files; what a verb needs is imported when it runs.
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
class Verb:
    """One command.

    Attributes:
        options: adds its options to a parser.
        run: does it; errors are exceptions.
        takes_source: whether its help explains what a source is.
    """

    name: str
    help: str
    options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]
    takes_source: bool = False


VERBS = (
    Verb("build", "condense a data set", build.options, build.run, takes_source=True),
    Verb(
        "plan",
        "measure what a build will take: time, memory, disk, operations",
        plan.options,
        plan.run,
        takes_source=True,
    ),
    Verb(
        "evaluate",
        "train networks on a condensed set and test them on real samples",
        evaluate.options,
        evaluate.run,
        takes_source=True,
    ),
    Verb(
        "clusters",
        "draw the clusters of a class, a row of samples each",
        clusters.options,
        clusters.run,
        takes_source=True,
    ),
    Verb(
        "privacy",
        "measure what a condensed set gives away about the samples it was made of",
        privacy.options,
        privacy.run,
        takes_source=True,
    ),
    Verb("nas", "search architectures on a condensed set", nas.options, nas.run, takes_source=True),
    Verb("merge", "put the sets of all shards of a build together", merge.options, merge.run),
    Verb("show", "draw a condensed set, and its loss by iteration", show.options, show.run),
    Verb("push", "publish a condensed set on the Hub", push.options, push.run),
    Verb("pull", "load a condensed set from the Hub into a folder", pull.options, pull.run),
    Verb("search", "find condensed sets on the Hub", search.options, search.run),
    Verb("cache", "list, show or remove what the local cache holds", cache.options, cache.run),
    Verb("recipes", "list the methods, or show the fields of one", recipes.options, recipes.run),
)
