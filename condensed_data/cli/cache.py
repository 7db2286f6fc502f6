"""`condensed-data cache`: what the local cache holds, and how to make room."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condensed_data.storage.cache import Cache, Entry


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("what", choices=("list", "show", "clear"), help="what to do")
    parser.add_argument("key", nargs="?", metavar="KEY", help="first letters of a key, for show and clear")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="another cache than the default one")


def run(arguments: Namespace) -> None:
    """Do it."""
    from condensed_data.storage.cache import Cache, default_root

    cache = Cache(arguments.cache or default_root())
    {"list": _list, "show": _show, "clear": _clear}[arguments.what](cache, arguments.key)


def _list(cache: Cache, key: str | None) -> None:
    from condensed_data.core.sizes import readable

    entries = [entry for entry in cache.entries() if entry.key.startswith(key or "")]
    for entry in entries:
        print(f"{entry.key[:12]}  {readable(entry.size):>8}  {_age(entry):>8}  {entry.title}")
    total = readable(sum(entry.size for entry in entries))
    print(
        f"{len(entries)} sets, {total}, in {cache.root}; {readable(cache.scratch_bytes)} of checkpoints and memos"
    )


def _show(cache: Cache, key: str | None) -> None:
    from condensed_data import CondensedDataset

    for entry in _found(cache, key):
        print(f"{entry.key}\n{CondensedDataset.load(entry.path)}\n  in {entry.path}")


def _clear(cache: Cache, key: str | None) -> None:
    if key is not None:
        _found(cache, key)
    print(f"removed {cache.clear(key)} sets from {cache.root}")


def _found(cache: Cache, key: str | None) -> list[Entry]:
    found = [entry for entry in cache.entries() if key and entry.key.startswith(key)]
    if not found:
        raise ValueError(
            f"KEY {key!r} is in no set of {cache.root}. `condensed-data cache list` shows the keys."
        )
    return found


def _age(entry: Entry) -> str:
    for unit, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if entry.age_seconds >= seconds:
            return f"{entry.age_seconds / seconds:.0f} {unit}"
    return "just now"
