"""`condensed-data build`: condense, save, draw, and compare with what the result replaces."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.cli.hub_options import repository
from condensed_data.cli.options import (
    compute_kwargs,
    compute_options,
    count,
    size,
    source_kwargs,
    source_options,
    workers,
)
from condensed_data.cli.recipe_options import chosen_recipe, recipe_options

if TYPE_CHECKING:
    from condensed_data import CondensedDataset, Recipe
    from condensed_data.engine.callbacks import Callback


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="what is condensed, see below")
    recipe_options(parser)
    add(
        "--groups",
        metavar="NAME",
        help="attribute of the source that holds a group for every sample, see README",
    )
    add("--out", type=Path, metavar="DIR", help="folder for the result")
    add("--log", metavar="FILE", help="log the run to FILE.jsonl, FILE.csv, or a folder for TensorBoard")
    add("--no-evaluate", action="store_true", help="train no networks to compare the result with")
    add(
        "--network",
        metavar="NAME",
        help="network of the comparison (default: the usual one for such samples)",
    )
    add("--runs", type=count, default=3, metavar="N", help="networks on each kind of set (default: 3)")
    add("--no-cache", action="store_true", help="neither look the result up in the cache nor keep it there")
    add(
        "--memory",
        type=size,
        metavar="SIZE",
        help="what the source may take in memory, such as 3GB; more goes to a file (default: half of what is free)",
    )
    add(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="processes that train networks on real samples beforehand, such as the experts of mtt (default: 1)",
    )
    add(
        "--shard",
        metavar="K/N",
        help="make the classes of job K of N, which `merge` puts together; for recipes whose classes are independent",
    )
    add("--force", action="store_true", help="condense even where the cache or the Hub has the result")
    add(
        "--hub",
        type=repository,
        metavar="USER/REPO",
        help="take the result from this repository of the Hub where it has it",
    )
    add(
        "--push",
        action="store_true",
        help="publish the result in --hub, which is made, and private, if it is not there (token: HF_TOKEN)",
    )
    source_options(parser)
    compute_options(parser)


def run(arguments: Namespace) -> None:
    """Do it, with the other processes where torchrun started several."""
    from condensed_data.core.process_group import init_from_env

    with init_from_env() as ranks:
        if ranks.is_main:
            _run(arguments)
        else:  # it computes, and leaves the rest to the first
            arguments.quiet = True
            _condense(arguments, _train_split(arguments), chosen_recipe(arguments), [])


def _run(arguments: Namespace) -> None:
    """Everything that can be found wrong beforehand is found before the work."""
    from condensed_data.cli import reporting as summary
    from condensed_data.evaluation import baselines as comparison
    from condensed_data.storage import check_writable
    from condensed_data.storage.hub.remote_cache import HubCache

    recipe = chosen_recipe(arguments)
    if arguments.out is not None:
        check_writable(arguments.out)
    elif arguments.push and arguments.no_cache:
        raise ValueError(
            "--push --no-cache: a push that fails would lose the result. Give --out DIR as well."
        )
    if arguments.shard is not None:
        _check_shard(arguments)
    callbacks = _loggers(arguments.log)
    HubCache.of(arguments.hub, arguments.push)  # whether the Hub takes the token
    train = _train_split(arguments)
    test, unmeasured = _test_split(arguments)
    network = "" if test is None else comparison.check(train, test, arguments.network)
    resumed = summary.Resumed()
    condensed = _condense(arguments, train, recipe, [*callbacks, resumed])
    picture = _save(condensed, arguments.out)
    made = summary.format_build(condensed, arguments.out, picture, not arguments.no_cache, resumed.iterations)
    print(made, flush=True)
    if test is None:
        print(unmeasured, flush=True)
    else:
        how = {"network": network, "runs": arguments.runs, **compute_kwargs(arguments)}
        compared = comparison.compare(condensed, train, test, **how)
        _save(condensed, arguments.out)
        print(summary.format_comparison(compared), flush=True)
    if arguments.push:  # last, so that the card tells what was measured
        print(_published(condensed, arguments.hub))


def _check_shard(arguments: Namespace) -> None:
    """A part of a set is kept in a folder, to be merged, and neither measured nor published."""
    from condensed_data.engine.job_array import parse_shard

    parse_shard(arguments.shard)
    if arguments.out is None:
        raise ValueError(
            f"--shard {arguments.shard} needs --out DIR: `condensed-data merge` takes the folders."
        )
    if arguments.hub is not None or arguments.push:
        raise ValueError(
            "--shard makes a part of a set. Merge the parts, and publish with `condensed-data push`."
        )
    arguments.no_evaluate = True


def _published(condensed: CondensedDataset, repo: str) -> str:
    """Publish the set; text that says where it is."""
    from condensed_data.core.hub_errors import HubError
    from condensed_data.storage.hub.push import publish_build

    try:
        commit = publish_build(condensed._result, repo)
    except HubError as error:
        raise type(error)(f"The set is finished, and not published: {error}") from error
    return f"{repo} has this set." if commit is None else f"published: {commit.commit_url}"


def _loggers(path: str | None) -> list[Callback]:
    """The logger that the suffix of a path asks for."""
    if path is None:
        return []
    from condensed_data.engine.callbacks import CSVLogger, JSONLLogger, TensorBoardLogger

    kinds: dict[str, Callable[[str], Callback]]
    kinds = {".jsonl": JSONLLogger, ".csv": CSVLogger, "": TensorBoardLogger}
    suffix = Path(path).suffix
    if suffix not in kinds:
        raise ValueError(f"--log {path}: give FILE.jsonl, FILE.csv, or a folder for TensorBoard.")
    return [kinds[suffix](path)]


def _train_split(arguments: Namespace) -> Any:
    from condensed_data.data import catalog

    return catalog.load(arguments.source, "train", **source_kwargs(arguments))


def _test_split(arguments: Namespace) -> tuple[Any, str]:
    """The source's test split, or None and the reason why nothing will be measured."""
    from condensed_data.data import catalog

    if arguments.no_evaluate:
        return None, "Accuracy and training time were not measured (--no-evaluate)."
    try:
        return catalog.load(arguments.source, "test", **source_kwargs(arguments)), ""
    except catalog.NoTestSplitError as error:
        how = f"condensed-data evaluate {arguments.out or 'DIR'} --test SOURCE"
        return (
            None,
            f"Accuracy was not measured: {error}\nMeasure it on the test split of another source: {how}",
        )


def _condense(
    arguments: Namespace, train: Any, recipe: Recipe, callbacks: list[Callback]
) -> CondensedDataset:
    """Condense; of a run that diverges, the last good state is saved."""
    from condensed_data import CondensedDataset, DivergedError

    try:
        with workers(arguments.jobs) as executor:
            return CondensedDataset(
                train,
                recipe,
                groups=arguments.groups,
                cache=_cache(arguments),
                force=arguments.force,
                memory=arguments.memory,
                callbacks=callbacks,
                executor=executor,
                hub=arguments.hub,
                shard=arguments.shard,
                **compute_kwargs(arguments),
            )
    except DivergedError as error:
        if arguments.out is None or error.condensed is None:
            raise
        error.condensed.save(arguments.out)
        raise ValueError(f"{error} It is saved in {arguments.out}.") from error


def _cache(arguments: Namespace) -> bool | Path:
    """Without the cache, checkpoints lie beside the result until it is saved; with neither, there are none."""
    if not arguments.no_cache:
        return True
    return False if arguments.out is None else _scratch(arguments.out)


def _scratch(out: Path) -> Path:
    return out / ".build"


def _save(condensed: CondensedDataset, out: Path | None) -> Path | None:
    """Write the artifact and a picture of it; returns the picture's path."""
    if out is None:
        return None
    condensed.save(out)
    condensed.plot(out / "grid.png")
    shutil.rmtree(_scratch(out), ignore_errors=True)
    return out / "grid.png"
