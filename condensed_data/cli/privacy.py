"""`condensed-data privacy`: print how much a condensed dataset reveals about the samples it was made from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from condensed_data.cli.hub_options import add_dataset_argument, load_condensed
from condensed_data.cli.options import (
    NON_NEGATIVE,
    POSITIVE,
    add_compute_options,
    add_source_options,
    compute_kwargs,
    load_split,
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `privacy`."""
    add = parser.add_argument
    add_dataset_argument(parser)
    source = "source that was condensed; its train split is used, see below"
    add("--source", required=True, metavar="SOURCE", help=source)
    add(
        "--heldout",
        metavar="SOURCE",
        help="samples of the same kind that were not condensed (default: the test split of --source)",
    )
    add("--out", type=Path, metavar="FILE", help="image of the closest pairs to write, such as pairs.png")
    add("--pairs", **POSITIVE, default=20, help="pairs in that image (default: 20)")
    add(
        "--network",
        metavar="NAME",
        help="network of the loss-based membership inference attack (default: convnet, or mlp for vectors)",
    )
    add("--networks", **NON_NEGATIVE, default=1, help="networks to train for that attack; 0 skips it (default: 1)")
    add("--protocol", default="quick", metavar="NAME", help="protocol to train them by (default: quick)")
    add_source_options(parser)
    add_compute_options(parser)


def run(arguments: Namespace) -> None:
    """Check every option, then measure and print; with --out also draw the closest pairs."""
    from condensed_data import networks
    from condensed_data.evaluation import privacy
    from condensed_data.plotting.grid import check_suffix
    from condensed_data.training.protocols import protocol

    training = protocol(arguments.protocol)
    if arguments.out is not None:
        check_suffix(arguments.out)
    if arguments.network is not None:
        networks.network(arguments.network)
    measured = privacy.measure(
        load_condensed(arguments),
        load_split(arguments, arguments.source, "train"),
        _load_heldout(arguments),
        network=arguments.network,
        networks_trained=arguments.networks,
        training=training,
        **compute_kwargs(arguments),
    )
    print(measured, flush=True)
    if arguments.out is not None:
        measured.plot(arguments.out, arguments.pairs)
        print(f"closest pairs: {arguments.out}")


def _load_heldout(arguments: Namespace) -> Any:
    """Samples that were not condensed: --heldout, or the test split of --source."""
    from condensed_data.data.sample import NoTestSplitError

    if arguments.heldout is not None:
        return load_split(arguments, arguments.heldout, "test")
    try:
        return load_split(arguments, arguments.source, "test")
    except NoTestSplitError as error:
        raise ValueError(f"{error} Give samples that were not condensed with --heldout SOURCE.") from error
