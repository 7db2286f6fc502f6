"""`condensed-data cache`: list, show or remove the results in the local cache."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.options import plural
from condensed_data.core.sizes import format_bytes

if TYPE_CHECKING:
    from condensed_data.storage.cache import Cache, CacheEntry


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `cache`."""
    add = parser.add_argument
    add(
        "action",
        choices=("list", "show", "clear"),
        help="list: one line per result; show: describe a result; clear: remove a result, or everything",
    )
    add("key", nargs="?", metavar="KEY", help="first letters of a key; required for show")
    add("--cache", type=Path, metavar="DIR", help="folder of the cache (default: the cache that builds use)")


def run(arguments: Namespace) -> None:
    """List, show or remove results."""
    from condensed_data.storage.cache import Cache, default_root

    cache = Cache(arguments.cache or default_root())
    {"list": _list, "show": _show, "clear": _clear}[arguments.action](cache, arguments.key)


def _list(cache: Cache, key: str | None) -> None:
    entries = [entry for entry in cache.entries() if entry.key.startswith(key or "")]
    for entry in entries:
        print(f"{entry.key[:12]}  {format_bytes(entry.size):>8}  {_age(entry):>10}  {entry.title}")
    count, total = plural(len(entries), "condensed dataset"), format_bytes(sum(entry.size for entry in entries))
    print(f"{count}, {total}, in {cache.root}; {format_bytes(cache.scratch_bytes)} of checkpoints and fingerprints")


def _show(cache: Cache, key: str | None) -> None:
    from condensed_data.dataset import CondensedDataset

    for entry in _matching(cache, key):
        print(f"{entry.key}\n{CondensedDataset.load(entry.path)}\n  in {entry.path}")


def _clear(cache: Cache, key: str | None) -> None:
    if key is not None:
        _matching(cache, key)
    print(f"removed {plural(cache.clear(key), 'condensed dataset')} from {cache.root}")


def _matching(cache: Cache, key: str | None) -> list[CacheEntry]:
    """The entries whose key starts with KEY; raises ValueError if there are none."""
    entries = [entry for entry in cache.entries() if key and entry.key.startswith(key)]
    if not entries:
        problem = "KEY is missing" if key is None else f"no key in {cache.root} starts with {key!r}"
        raise ValueError(f"{problem}. `condensed-data cache list` shows the keys.")
    return entries


def _age(entry: CacheEntry) -> str:
    for unit, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if entry.age_seconds >= seconds:
            return f"{entry.age_seconds / seconds:.0f} {unit}"
    return "just now"
