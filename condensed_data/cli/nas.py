"""`condensed-data nas`: search architectures on a condensed dataset with Optuna; prints a table of the best trials."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.cli.hub_options import add_dataset_argument, load_condensed
from condensed_data.cli.options import (
    NON_NEGATIVE,
    POSITIVE,
    add_compute_options,
    add_protocol_option,
    add_source_options,
    load_split,
    protocol_from_options,
)

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `nas`."""
    add_dataset_argument(parser)
    _add_validation_options(parser)
    _add_search_options(parser)
    _add_training_options(parser)
    add_source_options(parser)
    add_compute_options(parser)


def _add_validation_options(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("validation").add_argument
    add("--val", required=True, metavar="SOURCE", help="real samples that rank the trials, see below")
    add(
        "--val-split",
        default="train",
        choices=("train", "test"),
        help="split of --val to use; do not use the same samples to measure the best trial (default: train)",
    )
    samples = "number of random samples of that split to use; 0 uses all (default: 5000)"
    add("--val-samples", **NON_NEGATIVE, default=5000, help=samples)


def _add_search_options(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("search").add_argument
    add("--trials", **POSITIVE, default=200, help="number of configurations to try (default: 200)")
    add(
        "--space",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="choices such as width=8,16,32, or a range such as lr=0.001..0.1 (logarithmic); changes or adds a "
        "dimension of the default space of 720 ConvNets, or a field of the training; repeatable",
    )
    add(
        "--sampler", default="tpe", choices=("tpe", "random"), help="Optuna sampler that suggests trials (default: tpe)"
    )
    add("--storage", metavar="FILE", help="file to keep the study in; a study that exists is continued")
    add("--study", default="nas", metavar="NAME", help="name of the study in that file (default: nas)")
    add("--top", **POSITIVE, default=10, help="rows of the table (default: 10)")
    add("--csv", type=Path, metavar="FILE", help="write all trials to this file")


def _add_training_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    add_protocol_option(group)
    add = group.add_argument
    add("--epochs", **POSITIVE, help="epochs to train each network for (default: those of the protocol)")
    add("--seeds", **POSITIVE, default=1, help="networks to train per configuration (default: 1)")


def run(arguments: Namespace) -> None:
    """Search, and print the best trials; without --quiet the table is updated after each trial."""
    try:
        import optuna

        from condensed_data_nas import optuna_study
    except ImportError as error:
        raise ImportError(f"`nas` needs Optuna: pip install condensed-data[nas] ({error})") from error
    space = _space(arguments.space)
    condensed = load_condensed(arguments)
    objective = _objective(arguments, condensed, space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    terminal = getattr(sys.stdout, "stream", sys.stdout)  # the table moves the cursor itself
    study = optuna_study.search(
        objective,
        arguments.trials,
        storage=arguments.storage,
        name=arguments.study,
        sampler=arguments.sampler,
        callbacks=[] if arguments.quiet else [optuna_study.LiveTable(arguments.trials, arguments.top, terminal)],
    )
    print("\n".join(optuna_study.best_trials(study, arguments.top)), flush=True)
    if arguments.csv is not None:
        print(f"all trials: {optuna_study.to_csv(study, arguments.csv)}")


def _objective(arguments: Namespace, condensed: CondensedDataset, space: Any) -> Any:
    from condensed_data_nas import ProxyObjective

    val = load_split(arguments, arguments.val, arguments.val_split)
    return ProxyObjective(
        condensed,
        space=space,
        val=_random_subset(val, arguments.val_samples, arguments.seed),
        training=protocol_from_options(arguments),
        epochs=arguments.epochs,
        seeds=arguments.seeds,
        seed=arguments.seed,
        device=arguments.device,
        precision=arguments.precision,
    )


def _random_subset(dataset: Any, size: int, seed: int) -> Any:
    """`size` random samples; the dataset itself if `size` is 0 or it has no more samples."""
    import torch
    from torch.utils.data import Subset

    from condensed_data.core.rng import RandomStreams

    if not size or len(dataset) <= size:
        return dataset
    order = torch.randperm(len(dataset), generator=RandomStreams(seed).torch("validation"))
    return Subset(dataset, order[:size].sort().values.tolist())


def _space(assignments: list[str]) -> dict[str, Any]:
    """The default space of 720 ConvNets, changed by every --space."""
    from condensed_data.core.names import unknown_name
    from condensed_data_nas.space import TRAINING_FIELDS, convnet_space

    space: dict[str, Any] = dict(convnet_space())
    for assignment in assignments:
        name, equals, values = assignment.partition("=")
        if not equals or not values:
            raise ValueError(f"--space {assignment}: values are missing. Write NAME=VALUE,VALUE,... or NAME=LOW..HIGH.")
        if name not in space and name not in TRAINING_FIELDS:
            known = [*convnet_space(), *sorted(TRAINING_FIELDS)]
            raise ValueError(f"--space {assignment}: {unknown_name('name', name, known)}")
        space[name] = _choices(assignment, values)
    return space


def _choices(assignment: str, values: str) -> Any:
    """A tuple of values, or a range; logarithmic if its lower bound is positive."""
    from condensed_data.core.spec_text import parse_value
    from condensed_data_nas.space import Range

    if ".." not in values:
        return tuple(parse_value(value) for value in values.split(","))
    low, high = (parse_value(value) for value in values.split("..", 1))
    if not all(isinstance(bound, int | float) for bound in (low, high)):
        raise ValueError(f"--space {assignment}: the bounds of {values} are not numbers. Write LOW..HIGH.")
    return Range(low, high, log=low > 0)
