"""`condensed-data clusters`: cluster the samples of a class as BDM does; draws one row per cluster, prints sizes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.options import POSITIVE, add_compute_options, add_source_options, load_split

if TYPE_CHECKING:
    from torch import Tensor

    from condensed_data.data.real import RealData
    from condensed_data.data.source import Source
    from condensed_data.methods.samplers.clustering import Clusters
    from condensed_data.training.context import Context


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `clusters`."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="dataset whose training split is clustered, see below")
    add("--k", **POSITIVE, default=20, help="number of clusters (default: 20)")
    add("--class", dest="label", metavar="C", help="name or label of the class (default: the first)")
    add("--out", required=True, type=Path, metavar="FILE", help="image file to write, such as clusters.png")
    add(
        "--features",
        default="imagenet",
        choices=("imagenet", "trained", "raw"),
        help="features to cluster: the map of one stage of an ImageNet ResNet18, that of a network trained on the "
        "source, or raw values (default: imagenet)",
    )
    add("--layer", **POSITIVE, help="stage of that network (default: 1)")
    add("--means", action="store_true", help="cluster the spatial means of the map instead of all its values")
    add("--epochs", **POSITIVE, help="epochs to train it for, with --features trained (default: 20)")
    add("--columns", **POSITIVE, default=10, help="samples to draw per cluster (default: 10)")
    add_source_options(parser)
    add_compute_options(parser)


def run(arguments: Namespace) -> None:
    """Check every option, then read the source, cluster the class, draw it and print the cluster sizes."""
    from condensed_data.core import spec as specs
    from condensed_data.core.rng import preserve_rng_state
    from condensed_data.core.spec import DatasetInfo
    from condensed_data.core.torch_settings import own_settings
    from condensed_data.data.real import RealData
    from condensed_data.data.source import inspect
    from condensed_data.plotting.grid import check_suffix

    check_suffix(arguments.out)
    clustering = _clustering(arguments)
    source = inspect(load_split(arguments, arguments.source, "train"), arguments.workers)
    specs.validate(clustering, source.kind.shape)
    _check_class_name(source, arguments.label)
    with own_settings(), preserve_rng_state():
        real = RealData.read(source, None, not arguments.quiet)
        label = _class_index(real, arguments.label)
        info = DatasetInfo(real.sample_shape, real.class_names, 1, real.named, len(real))
        (found,) = specs.resolve(clustering, info).partition(_context(arguments, real), [label])
    clusters = sorted(found, key=len, reverse=True)
    sizes = [len(cluster) for cluster in clusters]
    title = (
        f"{source.name}, class {real.class_names[label]}: {sum(sizes):,} samples in {len(clusters)} clusters "
        f"({_describe(arguments)})"
    )
    _draw(real, clusters, arguments, title)
    print(f"{title}\n  sizes  {', '.join(map(str, sizes))}\n  image  {arguments.out}")


def _clustering(arguments: Namespace) -> Clusters:
    """k-means in the features of --features, --layer and --epochs."""
    from condensed_data.methods.samplers.clustering import Clusters
    from condensed_data.training.features import Trained, stage_extractor

    for option, given in (("--layer", arguments.layer is not None), ("--means", arguments.means)):
        if arguments.features == "raw" and given:
            raise ValueError(
                f"{option} only applies to --features imagenet or trained; raw values have no layers. Remove {option}."
            )
    if arguments.features != "trained" and arguments.epochs is not None:
        raise ValueError(
            f"--epochs only applies to --features trained; {arguments.features} trains no network. Remove --epochs."
        )
    features = stage_extractor(arguments.features, arguments.layer or 1, arguments.means)
    if arguments.epochs is not None and isinstance(features, Trained):
        features = replace(features, pretrain=replace(features.pretrain, epochs=arguments.epochs))
    return Clusters(arguments.k, features)


def _describe(arguments: Namespace) -> str:
    """Such as "imagenet, means of stage 1"."""
    if arguments.features == "raw":
        return "raw values"
    return f"{arguments.features}, {'means of ' if arguments.means else ''}stage {arguments.layer or 1}"


def _check_class_name(source: Source, text: str | None) -> None:
    """Raise ValueError for an unknown class name, before the source is read; label values are known afterwards."""
    if source.class_names and text is not None and not text.isdecimal() and text not in source.class_names:
        raise _unknown_class(text, source.class_names)


def _class_index(real: RealData, text: str | None) -> int:
    """The index of the class with this name or label; 0 for None."""
    if text is None:
        return 0
    for known in (list(real.class_names), [str(value) for value in real.class_values.tolist()]):
        if text in known:
            return known.index(text)
    raise _unknown_class(text, real.class_names)


def _unknown_class(text: str, names: Sequence[str]) -> ValueError:
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return ValueError(f"--class {text}: the source has no such class. Its classes: {listed}.")


def _context(arguments: Namespace, real: RealData) -> Context:
    from condensed_data.core.device import choose_device, choose_precision
    from condensed_data.core.rng import RandomStreams
    from condensed_data.engine.callbacks.bar import TrainingBar
    from condensed_data.storage.cache import default_root
    from condensed_data.training.context import Context
    from condensed_data.training.pretrained_cache import PretrainedCache

    device = choose_device(arguments.device)
    precision = choose_precision(arguments.precision, device)
    trained = PretrainedCache(default_root() / "networks", report=None if arguments.quiet else TrainingBar())
    return Context(real, 1, RandomStreams(arguments.seed), device, precision, network_store=trained)


def _draw(real: RealData, clusters: Sequence[Tensor], arguments: Namespace, title: str) -> None:
    """Draw one row per cluster, with samples at even distances in the order of the source."""
    import torch

    from condensed_data.plotting import grid

    shown = [
        cluster[torch.linspace(0, len(cluster) - 1, min(arguments.columns, len(cluster))).round().long()]
        for cluster in clusters
    ]
    rows = torch.arange(len(clusters)).repeat_interleave(torch.tensor([len(row) for row in shown]))
    names = [f"{number}: {len(cluster):,} samples" for number, cluster in enumerate(clusters, 1)]
    images = real.store[torch.cat(shown)]
    image = grid.grid(images, rows.tolist(), names, per_class=None, max_classes=len(clusters), title=title)
    grid.save(image, arguments.out)
