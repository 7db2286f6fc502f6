"""`condensed-data show`: draw a condensed set, and its loss by iteration."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.hub_options import load_condensed, where_option

if TYPE_CHECKING:
    from condensed_data import CondensedDataset


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    where_option(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="picture to write, such as grid.png"
    )
    parser.add_argument(
        "--decoders",
        action="store_true",
        help="draw one code of each class through every decoder (sets of haba and kfs)",
    )


def run(arguments: Namespace) -> None:
    """Do it."""
    condensed = load_condensed(arguments)
    if arguments.decoders:
        print(_decoders(condensed, arguments.out))
        return
    condensed.plot(arguments.out)
    print(condensed)
    print(f"image grid: {arguments.out}")
    if condensed.metadata.history:
        print(_curves(condensed, arguments.out.with_name(f"{arguments.out.stem}-curves.png")))


def _decoders(condensed: CondensedDataset, path: Path) -> str:
    from condensed_data.evaluation.plots_decoders import decoders
    from condensed_data.plotting import grid as plots

    plots.save(decoders(condensed), path)
    return f"{condensed}\nimage of its decoders: {path}"


def _curves(condensed: CondensedDataset, path: Path) -> str:
    from condensed_data.plotting import grid as plots

    try:
        plots.curves(condensed.metadata.history, path)
    except ImportError as error:
        return f"no loss curve: {error}"
    return f"loss curve: {path}"
