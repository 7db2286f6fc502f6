"""`condensed-data merge`: combine the results of `build --shard 1/N` to `N/N`; prints the sizes before and after."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `merge`."""
    parser.add_argument("shards", nargs="+", type=Path, metavar="DIR", help="folders of all shards, in any order")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the result")


def run(arguments: Namespace) -> None:
    """Merge the shards and save the result."""
    from condensed_data.cli.reporting import format_build, save_with_grid
    from condensed_data.dataset import CondensedDataset
    from condensed_data.storage.atomic_directory import check_writable
    from condensed_data.storage.result import CondensationResult
    from condensed_data.storage.shards import merge

    check_writable(arguments.out)
    shards = [CondensationResult.load(folder) for folder in arguments.shards]
    merged = CondensedDataset.from_result(merge(shards))
    save_with_grid(merged, arguments.out)
    print(format_build(merged, arguments.out))
