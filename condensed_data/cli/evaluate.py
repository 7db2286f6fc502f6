"""`condensed-data evaluate`: train networks on a condensed dataset and print their accuracies on real samples."""

from __future__ import annotations

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from condensed_data.cli.hub_options import add_dataset_argument, is_folder, load_condensed
from condensed_data.cli.options import (
    POSITIVE,
    add_compute_options,
    add_jobs_option,
    add_protocol_option,
    add_source_options,
    compute_kwargs,
    load_split,
    process_pool,
    protocol_from_options,
)

if TYPE_CHECKING:
    pass


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    add = parser.add_argument
    add_dataset_argument(parser)
    add("--test", required=True, metavar="SOURCE", help="source whose test split is used, see below")
    add(
        "--network",
        action="append",
        metavar="NAME",
        help="network to train; repeatable, or several names separated by commas (default: convnet, mlp for vectors, "
        "or the stored network, for an order-dependent dataset)",
    )
    add("--runs", **POSITIVE, default=5, help="networks to train per architecture (default: 5)")
    add_protocol_option(parser)
    add_jobs_option(parser, "that train one network each")
    add("--save", action="store_true", help="write the accuracies to the dataset card and manifest")
    _add_study_options(parser)
    add_source_options(parser)
    add_compute_options(parser)


def _add_study_options(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("further measures, which also use the train split of --test").add_argument
    add(
        "--ranking",
        action="store_true",
        help="compute DD-Ranking's scores: also train on random subsets and the full dataset, with and without "
        "augmentation",
    )
    add(
        "--whole-accuracy",
        type=float,
        metavar="FRACTION",
        help="known accuracy on the full dataset for --ranking, such as 0.935; saves training on it",
    )
    add(
        "--diversity",
        choices=("raw", "trained", "imagenet"),
        help="compare the mean distance within a class, in these features, with that of random real samples",
    )


def run(arguments: Namespace) -> None:
    """Print one line per network, or with --ranking the scores of each."""
    from condensed_data.evaluation.dd_ranking import rank
    from condensed_data.evaluation.diversity import diversity
    from condensed_data.storage.atomic_directory import check_writable

    _check_options(arguments)
    training = protocol_from_options(arguments)
    names = _network_names(arguments)
    condensed = load_condensed(arguments)
    if arguments.save:
        check_writable(arguments.dataset)
    test = load_split(arguments, arguments.test, "test")
    train = load_split(arguments, arguments.test, "train") if arguments.ranking or arguments.diversity else None
    evaluate: Callable[..., Any] = functools.partial(condensed.evaluate, test)
    if arguments.ranking:
        evaluate = functools.partial(rank, condensed, train, test, whole=arguments.whole_accuracy)
    kwargs = {"runs": arguments.runs, "training": training, **compute_kwargs(arguments)}
    with process_pool(arguments.jobs) as executor:
        if executor is not None:
            kwargs["executor"] = executor
        for name in names:
            print(evaluate(network=name, **kwargs), flush=True)
    if arguments.diversity is not None:
        print(diversity(condensed, train, arguments.diversity, **compute_kwargs(arguments)))
    if arguments.save:
        condensed.save(arguments.dataset)


def _check_options(arguments: Namespace) -> None:
    """Raise ValueError for options that exclude each other."""
    if arguments.whole_accuracy is not None and not arguments.ranking:
        raise ValueError("--whole-accuracy only applies to --ranking. Add --ranking, or remove --whole-accuracy.")
    if arguments.ranking and arguments.jobs > 1:
        raise ValueError("--ranking trains one network at a time and does not support --jobs. Remove --jobs.")
    if arguments.save and not is_folder(arguments.dataset):
        raise ValueError(
            f"--save needs a folder to write to, but {arguments.dataset} is a repository of the Hub. Download it with "
            "`condensed-data pull`, evaluate that folder, and publish it with `condensed-data push`."
        )


def _network_names(arguments: Namespace) -> Sequence[str | None]:
    """Names from every --network, or None for the dataset's own; raises ValueError for an unknown one."""
    from condensed_data import networks

    names = [name for text in arguments.network or [] for name in text.split(",")]
    for name in names:
        networks.network(name)
    return names or [None]
