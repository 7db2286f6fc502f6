"""`condensed-data build`: condense a dataset, save and draw it, and compare it with what it replaces.

Prints sizes before and after, the time it took, accuracies beside those of random subsets and the full dataset, and
where the result was published.
"""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.cli.hub_options import repository
from condensed_data.cli.options import (
    POSITIVE,
    add_compute_options,
    add_jobs_option,
    add_source_options,
    byte_count,
    compute_kwargs,
    load_split,
    process_pool,
)
from condensed_data.cli.recipe_options import add_recipe_options, recipe_from_options

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset
    from condensed_data.engine.callbacks.progress import Callback
    from condensed_data.methods.recipe import Recipe

_CHECKPOINTS = ".build"


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `build`."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="dataset to condense, see below")
    add("--out", type=Path, metavar="DIR", help="folder for the condensed dataset")
    add("--log", metavar="FILE", help="log to FILE.jsonl, FILE.csv, or a folder for TensorBoard")
    add("--no-cache", action="store_true", help="do not read or write the local cache of results")
    add("--force", action="store_true", help="condense even if the cache or the Hub has the result")
    add_recipe_options(parser)
    add_source_options(parser)
    add(
        "--groups",
        metavar="NAME",
        help="attribute of the source with one group per sample; each class is condensed group by group",
    )
    add(
        "--memory",
        type=byte_count,
        metavar="SIZE",
        help="keep at most this much of the source in memory, e.g. 3GB, and a larger source in a file (default: "
        "half of the available memory)",
    )
    add_jobs_option(parser, "that train networks on real samples before condensing, such as the experts of mtt")
    add(
        "--shard",
        metavar="K/N",
        help="condense only the classes of job K of N; combine the results with `condensed-data merge`. Only for "
        "recipes whose classes are independent",
    )
    _add_comparison_options(parser)
    _add_hub_options(parser)
    add_compute_options(parser)


def _add_comparison_options(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("comparison with random subsets and the full dataset").add_argument
    add("--no-evaluate", action="store_true", help="skip the comparison")
    add("--network", metavar="NAME", help="network to train (default: convnet, or mlp for vectors)")
    add("--runs", **POSITIVE, default=3, help="networks to train on each dataset (default: 3)")


def _add_hub_options(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("Hugging Face Hub").add_argument
    add(
        "--hub",
        type=repository,
        metavar="USER/REPO",
        help="download the result from this repository if it is there, instead of condensing",
    )
    add(
        "--push",
        action="store_true",
        help="publish the result in --hub; a missing repository is created as private (token: HF_TOKEN)",
    )


def run(arguments: Namespace) -> None:
    """Build the condensed dataset, together with the other processes if torchrun started several.

    The others only compute. They end when the condensed samples are done, and the first process does the rest alone.
    """
    from condensed_data.core.process_group import init_from_env

    with init_from_env() as ranks:
        if not ranks.is_main:
            arguments.quiet = True
            train = load_split(arguments, arguments.source, "train")
            _condense(arguments, train, recipe_from_options(arguments), [])
            return
        finish = _build(arguments)
    finish()


def _build(arguments: Namespace) -> Callable[[], None]:
    """Check everything that can be checked beforehand, then condense; returns what saves, compares and publishes."""
    from condensed_data.cli.reporting import ResumePoint, format_build
    from condensed_data.evaluation import baselines

    recipe = recipe_from_options(arguments)
    _check_destinations(arguments)
    callbacks = _loggers(arguments.log)
    train = load_split(arguments, arguments.source, "train")
    test, no_test = _test_split(arguments)
    network = "" if test is None else baselines.check_splits(train, test, arguments.network, arguments.workers)

    resumed = ResumePoint()
    condensed = _condense(arguments, train, recipe, [*callbacks, resumed])

    def finish() -> None:
        _save(condensed, arguments.out)
        print(format_build(condensed, arguments.out, not arguments.no_cache, resumed.iterations), flush=True)
        if test is None:
            print(no_test, flush=True)
        else:
            _compare(arguments, condensed, train, test, network)
        if arguments.push:  # last, so that the dataset card shows the accuracies
            print(_publish(condensed, arguments.hub))

    return finish


def _check_destinations(arguments: Namespace) -> None:
    """Check that the result can be saved, and published if --push is given."""
    from condensed_data.storage.atomic_directory import check_writable
    from condensed_data.storage.hub.remote_cache import HubCache

    if arguments.out is not None:
        check_writable(arguments.out)
    elif arguments.push and arguments.no_cache:
        raise ValueError(
            "--push with --no-cache would lose the result if publishing fails. Add --out DIR, or remove --no-cache."
        )
    if arguments.shard is not None:
        _check_shard(arguments)
    HubCache.from_options(arguments.hub, arguments.push)  # checks the access token


def _check_shard(arguments: Namespace) -> None:
    """Check --shard; a shard is saved in a folder to be merged, and neither evaluated nor published."""
    from condensed_data.engine.job_array import parse_shard

    parse_shard(arguments.shard)
    if arguments.out is None:
        raise ValueError(
            f"--shard {arguments.shard} needs --out DIR: `condensed-data merge` reads the shards from folders."
        )
    if arguments.hub is not None or arguments.push:
        raise ValueError(
            f"--shard {arguments.shard} cannot be combined with --hub or --push. Merge all shards with "
            "`condensed-data merge`, then publish the result with `condensed-data push`."
        )
    arguments.no_evaluate = True


def _loggers(path: str | None) -> list[Callback]:
    """The logger for the file name suffix of --log."""
    if path is None:
        return []
    from condensed_data.engine.callbacks.loggers import CSVLogger, JSONLLogger, TensorBoardLogger

    kinds: dict[str, Callable[[str], Callback]]
    kinds = {".jsonl": JSONLLogger, ".csv": CSVLogger, "": TensorBoardLogger}
    suffix = Path(path).suffix
    if suffix not in kinds:
        raise ValueError(
            f"--log {path}: unknown suffix {suffix!r}. Use FILE.jsonl, FILE.csv, or a folder for TensorBoard."
        )
    return [kinds[suffix](path)]


def _test_split(arguments: Namespace) -> tuple[Any, str]:
    """The source's test split and ""; or None and the reason why nothing will be evaluated."""
    from condensed_data.data.sample import NoTestSplitError

    if arguments.no_evaluate:
        return None, "Accuracy and training time were not measured (--no-evaluate)."
    try:
        return load_split(arguments, arguments.source, "test"), ""
    except NoTestSplitError as error:
        command = f"condensed-data evaluate {arguments.out or 'DIR'} --test SOURCE"
        return None, f"Accuracy was not measured: {error}\nTo test on another source: {command}"


def _condense(arguments: Namespace, train: Any, recipe: Recipe, callbacks: list[Callback]) -> CondensedDataset:
    """Condense `train`; if the run diverges, save the last good state and raise."""
    from condensed_data.dataset import CondensedDataset
    from condensed_data.engine.divergence import DivergedError

    try:
        with process_pool(arguments.jobs) as executor:
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
        raise ValueError(f"{error} It was saved to {arguments.out}.") from error


def _cache(arguments: Namespace) -> bool | Path:
    """The `cache` argument; with --no-cache, checkpoints are kept in --out until the result is saved."""
    if not arguments.no_cache:
        return True
    return False if arguments.out is None else arguments.out / _CHECKPOINTS


def _save(condensed: CondensedDataset, out: Path | None) -> None:
    """Write the artifact and an image grid to --out, and remove the checkpoints there."""
    from condensed_data.cli.reporting import save_with_grid

    if out is not None:
        save_with_grid(condensed, out)
        shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)


def _compare(arguments: Namespace, condensed: CondensedDataset, train: Any, test: Any, network: str) -> None:
    """Print accuracies beside those of random subsets and the full dataset, and save them with the result."""
    from condensed_data.cli.reporting import format_comparison
    from condensed_data.evaluation import baselines

    comparison = baselines.compare(
        condensed, train, test, network=network, runs=arguments.runs, **compute_kwargs(arguments)
    )
    _save(condensed, arguments.out)
    print(format_comparison(comparison), flush=True)


def _publish(condensed: CondensedDataset, repo: str) -> str:
    """Publish the condensed dataset; returns a line with its URL."""
    from condensed_data.core.hub_errors import HubError
    from condensed_data.storage.hub.push import publish_build

    try:
        commit = publish_build(condensed.result, repo)
    except HubError as error:
        raise type(error)(f"The result is ready, but publishing failed: {error}") from error
    return f"{repo} already has this result." if commit is None else f"published: {commit.commit_url}"
