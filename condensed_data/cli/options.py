"""Options that several commands have in common, and the types of their values."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from condensed_data.core.sizes import parse_bytes

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from condensed_data.training.protocol import Training


def positive_integer(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def non_negative_integer(text: str) -> int:
    """An integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or a positive integer, got {text!r}")
    return int(text)


# arguments of `add_argument` for an option with a number
POSITIVE: dict[str, Any] = {"type": positive_integer, "metavar": "N"}
NON_NEGATIVE: dict[str, Any] = {"type": non_negative_integer, "metavar": "N"}


def byte_count(text: str) -> int:
    """A number of bytes, such as 3GB."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_source_options(parser: ArgumentParser) -> None:
    """Add the options for finding and reading a source."""
    add = parser.add_argument_group("reading the source").add_argument
    add("--data-root", metavar="DIR", help="folder with the files of torchvision datasets")
    add("--download", action="store_true", help="download missing torchvision files to --data-root")
    add("--image-size", **POSITIVE, help="resize and crop images to N x N pixels")
    add("--image-column", metavar="NAME", help="image column of a dataset on the Hugging Face Hub")
    add("--label-column", metavar="NAME", help="label column of a dataset on the Hugging Face Hub")
    workers = "number of processes that read samples; 0 reads in the main process (default: 0)"
    add("--workers", **NON_NEGATIVE, default=0, help=workers)


def load_split(arguments: Namespace, source: str, split: str) -> Any:
    """Load one split, "train" or "test", of a named source with the source options."""
    from condensed_data.data import catalog

    names = ("data_root", "image_size", "download", "image_column", "label_column")
    return catalog.load(source, split, **{name: getattr(arguments, name) for name in names})


def add_compute_options(parser: ArgumentParser) -> None:
    """Add --device, --precision, --seed and --quiet."""
    add = parser.add_argument_group("computation").add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)")
    add("--precision", default="auto", help="auto, fp32 or bf16 (default: auto)")
    seed = "random seed; the same seed gives bit-identical results (default: 0)"
    add("--seed", **NON_NEGATIVE, default=0, help=seed)
    add("--quiet", action="store_true", help="hide progress bars")


def compute_kwargs(arguments: Namespace) -> dict[str, Any]:
    """Keyword arguments that every computing function takes: seed, device, precision, num_workers, progress."""
    return {
        "seed": arguments.seed,
        "device": arguments.device,
        "precision": arguments.precision,
        "num_workers": arguments.workers,
        "progress": not arguments.quiet,
    }


def add_jobs_option(parser: ArgumentParser, use: str) -> None:
    """Add --jobs; `use` describes what the processes do."""
    parser.add_argument("--jobs", **POSITIVE, default=1, help=f"number of processes {use} (default: 1)")


def add_protocol_option(parser: argparse._ActionsContainer) -> None:
    """Add --protocol, which defaults to the protocol saved with a condensed dataset."""
    parser.add_argument(
        "--protocol",
        default="stored",
        metavar="NAME",
        help="training protocol by its paper (dc, dsa, idc, ...), quick, or stored, the one saved with the dataset "
        "(default: stored)",
    )


def protocol_from_options(arguments: Namespace) -> Training | None:
    """The protocol of --protocol; None for the stored one."""
    from condensed_data.training.protocols import protocol

    return None if arguments.protocol == "stored" else protocol(arguments.protocol)


def plural(number: int, noun: str) -> str:
    """(1, "sample") -> "1 sample", (2, "sample") -> "2 samples"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def process_pool(jobs: int) -> AbstractContextManager[Executor | None]:
    """A pool of that many processes, which divide this process's threads; None for one job."""
    if jobs == 1:
        return nullcontext()
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    import torch

    threads = max(1, torch.get_num_threads() // jobs)
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, spawn, initializer=torch.set_num_threads, initargs=(threads,))
