"""`condensed-data privacy`: what a condensed set gives away about the samples that it was made of."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from condensed_data.cli.hub_options import load_condensed, where_option
from condensed_data.cli.options import (
    compute_kwargs,
    compute_options,
    count,
    count_or_none,
    source_kwargs,
    source_options,
)


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    add = parser.add_argument
    where_option(parser)
    add("--source", required=True, metavar="SOURCE", help="what it was made of (train split), see below")
    add(
        "--heldout",
        metavar="SOURCE",
        help="samples of the same kind that it was not made of (default: the test split of the source)",
    )
    add("--out", type=Path, metavar="FILE", help="picture of the closest pairs, such as pairs.png")
    add("--pairs", type=count, default=20, metavar="N", help="pairs in the picture (default: 20)")
    add("--network", metavar="NAME", help="network of the attack by loss (default: the usual one)")
    add(
        "--networks",
        type=count_or_none,
        default=1,
        metavar="N",
        help="networks of that attack; 0 leaves it out (default: 1)",
    )
    add("--protocol", default="quick", metavar="NAME", help="how they are trained (default: quick)")
    source_options(parser)
    compute_options(parser)


def run(arguments: Namespace) -> None:
    """Do it; everything that can be found wrong beforehand is found before the work."""
    from condensed_data import networks
    from condensed_data.data import catalog
    from condensed_data.evaluation import privacy
    from condensed_data.plotting import grid as plots
    from condensed_data.training.evaluate import protocol

    training = protocol(arguments.protocol)
    if arguments.out is not None:
        plots.check_suffix(arguments.out)
    if arguments.network is not None:
        networks.network(arguments.network)
    condensed = load_condensed(arguments)
    source = catalog.load(arguments.source, "train", **source_kwargs(arguments))
    found = privacy.measure(
        condensed,
        source,
        _heldout(arguments),
        network=arguments.network,
        networks_trained=arguments.networks,
        training=training,
        **compute_kwargs(arguments),
    )
    print(found, flush=True)
    if arguments.out is not None:
        found.plot(arguments.out, arguments.pairs)
        print(f"closest pairs: {arguments.out}")


def _heldout(arguments: Namespace) -> Any:
    """The samples to compare members with."""
    from condensed_data.data import catalog

    if arguments.heldout is not None:
        return catalog.load(arguments.heldout, "test", **source_kwargs(arguments))
    try:
        return catalog.load(arguments.source, "test", **source_kwargs(arguments))
    except catalog.NoTestSplitError as error:
        raise ValueError(f"{error} Give samples that the set was not made of: --heldout SOURCE.") from error
