"""`condensed-data merge`: the sets of `build --shard 1/N` to `N/N` put together."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "sets", nargs="+", type=Path, metavar="DIR", help="folders of all shards, in any order"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the result")


def run(arguments: Namespace) -> None:
    """Do it."""
    from condensed_data import CondensedDataset
    from condensed_data.cli.reporting import format_build
    from condensed_data.storage import check_writable
    from condensed_data.storage.result import CondensationResult
    from condensed_data.storage.shards import merge

    check_writable(arguments.out)
    merged = CondensedDataset._of(merge([CondensationResult.read(folder) for folder in arguments.sets]))
    merged.save(arguments.out)
    merged.plot(arguments.out / "grid.png")
    print(format_build(merged, arguments.out, arguments.out / "grid.png"))
