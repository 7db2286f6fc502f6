"""`condensed-data clusters`: the clusters of a class, a row of samples each, as BDM draws its batches from them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.options import compute_kwargs, compute_options, count, source_kwargs, source_options

if TYPE_CHECKING:
    from torch import Tensor

    from condensed_data.data.real import RealData
    from condensed_data.methods.samplers.clustering import Clusters
    from condensed_data.training.context import Context


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="whose train split is clustered, see below")
    add("--k", type=count, default=20, metavar="N", help="clusters (default: 20)")
    add("--class", dest="label", metavar="C", help="name or label of the class (default: the first)")
    add("--out", required=True, type=Path, metavar="FILE", help="picture to write, such as clusters.png")
    add(
        "--features",
        default="imagenet",
        choices=("imagenet", "trained", "raw"),
        help="what is clustered: a stage of an ImageNet ResNet18, of a network trained on the source, or the values "
        "(default: imagenet)",
    )
    add("--layer", type=count, metavar="N", help="stage of that network (default: 1)")
    add("--epochs", type=count, metavar="N", help="of training it, with --features trained (default: 20)")
    add("--columns", type=count, default=10, metavar="N", help="samples shown of a cluster (default: 10)")
    source_options(parser)
    compute_options(parser)


def run(arguments: Namespace) -> None:
    """Do it; what can be found wrong is said before anything is read or trained."""
    from condensed_data.core import spec as specs
    from condensed_data.core.rng import preserve_rng_state
    from condensed_data.data import catalog
    from condensed_data.data.real import RealData
    from condensed_data.data.source import inspect
    from condensed_data.plotting import grid as plots

    plots.check_suffix(arguments.out)
    within = _clusters(arguments)
    source = inspect(catalog.load(arguments.source, "train", **source_kwargs(arguments)))
    specs.validate(within, source.kind.shape)
    if (
        source.class_names
        and not (arguments.label or "0").isdecimal()
        and arguments.label not in source.class_names
    ):
        raise _unknown(arguments.label, source.class_names)
    with preserve_rng_state():
        real = RealData.read(source, None, arguments.workers, not arguments.quiet)
        label = _class(real, arguments.label)
        (found,) = _resolved(within, real).partition(_context(arguments, real), [label])
    parts = sorted(found, key=len, reverse=True)
    sizes = [len(part) for part in parts]
    title = (
        f"{source.name}, class {real.class_names[label]}: {sum(sizes):,} samples in {len(parts)} clusters "
        f"({_features(arguments)})"
    )
    _draw(real, parts, arguments, title)
    print(f"{title}\n  sizes  {', '.join(map(str, sizes))}\n  picture  {arguments.out}")


def _clusters(arguments: Namespace) -> Clusters:
    from condensed_data.methods.samplers.clustering import Clusters
    from condensed_data.training.features import Trained, staged

    if arguments.features == "raw" and arguments.layer is not None:
        raise ValueError("--layer belongs to --features imagenet or trained: raw values have no layers.")
    if arguments.features != "trained" and arguments.epochs is not None:
        raise ValueError(f"--epochs belongs to --features trained: {arguments.features} is not trained here.")
    look = staged(arguments.features, arguments.layer or 1)
    if arguments.epochs is not None and isinstance(look, Trained):
        look = replace(look, pretrain=replace(look.pretrain, epochs=arguments.epochs))
    return Clusters(arguments.k, look)


def _features(arguments: Namespace) -> str:
    return (
        "raw values" if arguments.features == "raw" else f"{arguments.features}, stage {arguments.layer or 1}"
    )


def _class(real: RealData, text: str | None) -> int:
    """The index of the class with this name or label."""
    names = (list(real.class_names), [str(value) for value in real.class_values.tolist()])
    for known in names:
        if text is None or text in known:
            return 0 if text is None else known.index(text)
    raise _unknown(text, names[0])


def _unknown(text: str | None, names: Sequence[str]) -> ValueError:
    some = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return ValueError(f"--class {text} is no class of the source. Its classes: {some}.")


def _resolved(within: Clusters, real: RealData) -> Clusters:
    from condensed_data.core import spec as specs
    from condensed_data.core.spec import DatasetInfo

    resolved: Clusters = specs.resolve(
        within, DatasetInfo(real.sample_shape, real.class_names, 1, real.named, len(real))
    )
    return resolved


def _context(arguments: Namespace, real: RealData) -> Context:
    from condensed_data.core.device import choose_device, choose_precision
    from condensed_data.core.rng import RandomStreams
    from condensed_data.storage.cache import default_root
    from condensed_data.training.context import Context
    from condensed_data.training.pretrained_cache import PretrainedCache

    how = compute_kwargs(arguments)
    device = choose_device(how["device"])
    precision = choose_precision(how["precision"], device)
    trained = PretrainedCache(default_root() / "networks", report=None if arguments.quiet else _report)
    return Context(real, 1, RandomStreams(how["seed"]), device, precision, trained=trained)


def _report(done: int, total: int) -> None:
    print(f"training the network: epoch {done} of {total}", flush=True)


def _draw(real: RealData, parts: Sequence[Tensor], arguments: Namespace, title: str) -> None:
    """A row for every cluster, of samples spread evenly over it in the order of the source."""
    import torch

    from condensed_data.plotting import grid as plots

    shown = [
        part[torch.linspace(0, len(part) - 1, min(arguments.columns, len(part))).round().long()]
        for part in parts
    ]
    labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in shown]))
    names = [f"{number + 1}: {len(part):,} samples" for number, part in enumerate(parts)]
    images = real.store[torch.cat(shown)]
    picture = plots.grid(images, labels.tolist(), names, per_class=None, max_classes=len(parts), title=title)
    plots.save(picture, arguments.out)
