"""`condensed-data nas`: search architectures on a condensed set."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.cli.hub_options import load_condensed, where_option
from condensed_data.cli.options import compute_options, count, count_or_none, source_kwargs, source_options

if TYPE_CHECKING:
    from condensed_data import CondensedDataset


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    add = parser.add_argument
    where_option(parser)
    add("--val", required=True, metavar="SOURCE", help="real samples that choose, see below")
    add(
        "--val-split",
        default="train",
        choices=("train", "test"),
        help="of --val; what chooses is no measure of the winner any more (default: train)",
    )
    add(
        "--val-samples",
        type=count_or_none,
        default=5000,
        metavar="N",
        help="take so many random ones of them; 0 takes all (default: 5000)",
    )
    add("--trials", type=count, default=200, metavar="N", help="configurations to try (default: 200)")
    add(
        "--space",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="choices such as width=8,16,32 or lr=0.001..0.1 (a range, on a logarithmic scale); beside those of the "
        "720 ConvNets, or of fields of the training",
    )
    add("--epochs", type=count, metavar="N", help="of each network (default: as the set's own training)")
    add(
        "--protocol",
        default="stored",
        metavar="NAME",
        help="standard, quick, or the set's own (default: stored)",
    )
    add("--seeds", type=count, default=1, metavar="N", help="networks of each configuration (default: 1)")
    add("--sampler", default="tpe", choices=("tpe", "random"), help="how trials are chosen (default: tpe)")
    add("--storage", metavar="FILE", help="keep the study in this file: started again, it goes on")
    add("--study", default="nas", metavar="NAME", help="of the study in the file (default: nas)")
    add("--top", type=count, default=10, metavar="N", help="rows of the table (default: 10)")
    add("--csv", type=Path, metavar="FILE", help="write every trial there")
    source_options(parser)
    compute_options(parser)


def run(arguments: Namespace) -> None:
    """Do it, with a table that is drawn anew after each trial."""
    try:
        import optuna

        from condensed_data_nas import optuna_study as study
    except ImportError as error:
        raise ImportError(f"A search needs Optuna: pip install condensed-data[nas] ({error})") from error
    space = _space(arguments.space)
    condensed = load_condensed(arguments)
    objective = _objective(arguments, condensed, space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = study.search(
        objective,
        arguments.trials,
        storage=arguments.storage,
        name=arguments.study,
        sampler=arguments.sampler,
        callbacks=[] if arguments.quiet else [study.LiveTable(arguments.trials, arguments.top)],
    )
    print("\n".join(study.rows(found, arguments.top)), flush=True)
    if arguments.csv is not None:
        print(f"every trial: {study.to_csv(found, arguments.csv)}")


def _objective(arguments: Namespace, condensed: CondensedDataset, space: Any) -> Any:
    from condensed_data.data import catalog
    from condensed_data.training.evaluate import protocol
    from condensed_data_nas import ProxyObjective

    val = catalog.load(arguments.val, arguments.val_split, **source_kwargs(arguments))
    return ProxyObjective(
        condensed,
        space=space,
        val=_some(val, arguments.val_samples, arguments.seed),
        training=None if arguments.protocol == "stored" else protocol(arguments.protocol),
        epochs=arguments.epochs,
        seeds=arguments.seeds,
        seed=arguments.seed,
        device=arguments.device,
        precision=arguments.precision,
    )


def _some(val: Any, most: int, seed: int) -> Any:
    """So many random samples, or all of fewer."""
    import torch
    from torch.utils.data import Subset

    from condensed_data.core.rng import RandomStreams

    if not most or len(val) <= most:
        return val
    order = torch.randperm(len(val), generator=RandomStreams(seed).torch("validation"))
    return Subset(val, order[:most].sort().values.tolist())


def _space(texts: list[str]) -> dict[str, Any]:
    """The 720 ConvNets, with what --space says."""
    from condensed_data_nas.space import TRAINED, convnet_space

    space: dict[str, Any] = dict(convnet_space())
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ValueError(f"--space {text}: write NAME=VALUE,VALUE,... or NAME=LOW..HIGH.")
        if name not in space and name not in TRAINED:
            known = ", ".join([*convnet_space(), *sorted(TRAINED)])
            raise ValueError(f"--space {text}: {name!r} is unknown. Known: {known}.")
        space[name] = _choices(text, values)
    return space


def _choices(text: str, values: str) -> Any:
    from condensed_data.core.spec import parse
    from condensed_data_nas.space import Range

    if ".." not in values:
        return tuple(parse(value) for value in values.split(","))
    low, high = (parse(value) for value in values.split("..", 1))
    if not all(isinstance(bound, int | float) for bound in (low, high)):
        raise ValueError(f"--space {text}: {values} is no range of numbers. Write LOW..HIGH.")
    return Range(low, high, log=low > 0)
