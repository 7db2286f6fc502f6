"""`condensed-data evaluate`: train networks on a condensed set and test them on real samples."""

from __future__ import annotations

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from condensed_data.cli.hub_options import is_local, load_condensed, where_option
from condensed_data.cli.options import (
    compute_kwargs,
    compute_options,
    count,
    source_kwargs,
    source_options,
    workers,
)

if TYPE_CHECKING:
    from condensed_data import CondensedDataset


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    add = parser.add_argument
    where_option(parser)
    add("--test", required=True, metavar="SOURCE", help="source whose test split is used, see below")
    add(
        "--network",
        action="append",
        metavar="NAME",
        help="network to train; repeatable, or names with commas",
    )
    add("--runs", type=count, default=5, metavar="N", help="networks of each kind (default: 5)")
    add(
        "--protocol",
        default="stored",
        metavar="NAME",
        help="standard, quick, or the set's own (default: stored)",
    )
    add(
        "--ranking",
        action="store_true",
        help="DD-Ranking's scores: also train on random samples and the whole set (the train split of --test), "
        "with and without augmentation",
    )
    add(
        "--whole-accuracy",
        type=float,
        metavar="FRACTION",
        help="accuracy of the whole set for --ranking, where it is known, such as 0.935",
    )
    add(
        "--diversity",
        choices=("raw", "trained", "imagenet"),
        help="also tell how far apart the samples of a class lie in these features, beside random real ones (the train "
        "split of --test)",
    )
    add(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="processes that train a network each (default: 1)",
    )
    add("--save", action="store_true", help="write the accuracies into the set's card and manifest")
    source_options(parser)
    compute_options(parser)


def run(arguments: Namespace) -> None:
    """Do it; one line for each network."""
    from condensed_data import networks
    from condensed_data.data import catalog
    from condensed_data.storage import check_writable
    from condensed_data.training.evaluate import protocol

    if arguments.whole_accuracy is not None and not arguments.ranking:
        raise ValueError("--whole-accuracy belongs to --ranking. Give both, or leave it out.")
    if arguments.ranking and arguments.jobs > 1:
        raise ValueError("--ranking trains one network after another. Leave --jobs out.")
    training = None if arguments.protocol == "stored" else protocol(arguments.protocol)
    names = [name for text in arguments.network or [] for name in text.split(",")]
    for name in names:
        networks.network(name)  # an unknown one is said before the first is trained
    if arguments.save and not is_local(arguments.where):
        raise ValueError(
            f"--save writes into a folder, and {arguments.where} is a repository of the Hub. Load it with "
            "`condensed-data pull`, evaluate that folder, and publish it with `condensed-data push`."
        )
    condensed = load_condensed(arguments)
    if arguments.save:
        check_writable(arguments.where)
    test = catalog.load(arguments.test, "test", **source_kwargs(arguments))
    how = {"runs": arguments.runs, "training": training, **compute_kwargs(arguments)}
    judge = _judge(arguments, condensed, test)
    with workers(arguments.jobs) as executor:
        how |= {} if executor is None else {"executor": executor}
        for network in names or [None]:
            print(judge(network=network, **how), flush=True)
    if arguments.diversity is not None:
        print(_diversity(arguments, condensed))
    if arguments.save:
        condensed.save(arguments.where)


def _diversity(arguments: Namespace, condensed: CondensedDataset) -> str:
    from condensed_data.data import catalog
    from condensed_data.evaluation.diversity import diversity

    train = catalog.load(arguments.test, "train", **source_kwargs(arguments))
    return str(diversity(condensed, train, arguments.diversity, **compute_kwargs(arguments)))


def _judge(arguments: Namespace, condensed: CondensedDataset, test: Any) -> Callable[..., Any]:
    """What is done with each network."""
    if not arguments.ranking:
        return functools.partial(condensed.evaluate, test)
    from condensed_data.data import catalog
    from condensed_data.evaluation.dd_ranking import rank

    train = catalog.load(arguments.test, "train", **source_kwargs(arguments))
    return functools.partial(rank, condensed, train, test, whole=arguments.whole_accuracy)
