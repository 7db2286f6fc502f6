"""`condensed-data show`: draw the samples of a condensed dataset and its loss curve; prints its description."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.hub_options import add_dataset_argument, load_condensed

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `show`."""
    add = parser.add_argument
    add_dataset_argument(parser)
    add("--out", required=True, type=Path, metavar="FILE", help="image file to write, such as grid.png")
    add(
        "--decoders",
        action="store_true",
        help="draw one code of each class through every decoder (for datasets of haba and kfs)",
    )


def run(arguments: Namespace) -> None:
    """Draw the condensed dataset, or with --decoders its decoders."""
    condensed = load_condensed(arguments)
    if arguments.decoders:
        from condensed_data.evaluation.plots_decoders import decoders
        from condensed_data.plotting import grid

        grid.save(decoders(condensed), arguments.out)
        print(f"{condensed}\nimage of its decoders: {arguments.out}")
        return
    condensed.plot(arguments.out)
    print(f"{condensed}\nimage grid: {arguments.out}")
    if condensed.metadata.history:
        print(_draw_curves(condensed, arguments.out.with_name(f"{arguments.out.stem}-curves.png")))


def _draw_curves(condensed: CondensedDataset, path: Path) -> str:
    from condensed_data.plotting.curves import curves

    try:
        curves(condensed.metadata.history, path)
    except ImportError as error:
        return f"no loss curve: {error}"
    return f"loss curve: {path}"
