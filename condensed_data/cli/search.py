"""`condensed-data search`: find condensed sets that others have published."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from condensed_data.cli.hub_options import token_option
from condensed_data.cli.options import count

if TYPE_CHECKING:
    from condensed_data.storage.hub.search import Published


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    add = parser.add_argument
    add("--source", metavar="NAME", help="data set that was condensed, such as fashion-mnist")
    add("--recipe", metavar="NAME", help="how it was condensed, such as dm")
    add("--ipc", type=count, metavar="N", help="samples for each class")
    add("--author", metavar="USER", help="user or organization that published it")
    add("--limit", type=count, default=30, metavar="N", help="show at most so many (default: 30)")
    token_option(parser)


def run(arguments: Namespace) -> None:
    """Do it; one line a repository, the most downloaded first."""
    from condensed_data.storage.hub.search import find

    wanted = {name: getattr(arguments, name) for name in ("source", "recipe", "ipc", "author")}
    found = find(**wanted, limit=arguments.limit, token=arguments.token)
    if not found:
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
        print(f"No condensed set on the Hub says that it has {asked}." if asked else "There are none yet.")
        return
    print("\n".join(_table([_HEAD, *map(_cells, found)])))
    if len(found) == arguments.limit:
        print(f"The first {arguments.limit}; --limit shows more.")


_HEAD = ("REPOSITORY", "SOURCE", "RECIPE", "IPC", "DOWNLOADS", "LIKES")


def _cells(found: Published) -> tuple[str, ...]:
    name = f"{found.repo_id} (private)" if found.private else found.repo_id
    several = (found.sources, found.recipes, map(str, found.ipcs))
    return (name, *(",".join(items) or "-" for items in several), str(found.downloads), str(found.likes))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
