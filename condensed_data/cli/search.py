"""`condensed-data search`: list condensed datasets published on the Hub, one line per repository."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from condensed_data.cli.hub_options import add_token_option
from condensed_data.cli.options import POSITIVE

if TYPE_CHECKING:
    from condensed_data.storage.hub.search import SearchResult

_HEADER = ("REPOSITORY", "SOURCE", "RECIPE", "IPC", "DOWNLOADS", "LIKES")


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `search`."""
    add = parser.add_argument
    add("--source", metavar="NAME", help="dataset that was condensed, such as fashion-mnist")
    add("--recipe", metavar="NAME", help="recipe that condensed it, such as dm")
    add("--ipc", **POSITIVE, help="synthetic samples per class")
    add("--author", metavar="USER", help="user or organization that published it")
    add("--limit", **POSITIVE, default=30, help="maximum number of results (default: 30)")
    add_token_option(parser)


def run(arguments: Namespace) -> None:
    """Print the matching repositories, the most downloaded first."""
    from condensed_data.storage.hub.search import find

    wanted = {name: getattr(arguments, name) for name in ("source", "recipe", "ipc", "author")}
    found = find(**wanted, limit=arguments.limit, token=arguments.token)
    if not found:
        filters = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
        print(f"Found no condensed dataset on the Hub{f' with {filters}' if filters else ''}.")
        return
    print("\n".join(_table([_HEADER, *map(_cells, found)])))
    if len(found) == arguments.limit:
        print(f"Showing the first {arguments.limit} results; use --limit N for more.")


def _cells(found: SearchResult) -> tuple[str, ...]:
    name = f"{found.repo_id} (private)" if found.private else found.repo_id
    lists = (found.sources, found.recipes, map(str, found.ipcs))
    return (name, *(",".join(items) or "-" for items in lists), str(found.downloads), str(found.likes))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
