"""Options that several verbs share."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor


def whole(text: str) -> int:
    """A whole number, maybe negative: what is wrong with that is said where its meaning is known."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def count(text: str) -> int:
    """A positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def count_or_none(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def size(text: str) -> int:
    """A number of bytes, such as 3GB."""
    from condensed_data.core.sizes import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def source_options(parser: ArgumentParser) -> None:
    """How a source is found and read."""
    parser.add_argument("--data-root", metavar="DIR", help="folder with the files of torchvision's data sets")
    parser.add_argument(
        "--download", action="store_true", help="let torchvision download missing files into it"
    )
    parser.add_argument(
        "--image-size", type=count, metavar="N", help="resize and crop images to N x N pixels"
    )
    parser.add_argument(
        "--image-column", metavar="NAME", help="column of a data set of the Hub that holds the images"
    )
    parser.add_argument(
        "--label-column", metavar="NAME", help="column of a data set of the Hub that holds the labels"
    )
    parser.add_argument(
        "--workers", type=count_or_none, default=0, metavar="N", help="processes that read (default: 0)"
    )


def source_kwargs(options: Namespace) -> dict[str, Any]:
    """The arguments of `catalog.load` in the options."""
    names = ("data_root", "image_size", "download", "image_column", "label_column")
    return {name: getattr(options, name) for name in names}


def compute_options(parser: ArgumentParser) -> None:
    """Where and how to compute."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16 (default: auto)")
    parser.add_argument(
        "--seed",
        type=count_or_none,
        default=0,
        metavar="N",
        help="the same seed gives the same bits (default: 0)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def compute_kwargs(options: Namespace) -> dict[str, Any]:
    """The arguments of everything that computes in the options."""
    return {
        "seed": options.seed,
        "device": options.device,
        "precision": options.precision,
        "num_workers": options.workers,
        "progress": not options.quiet,
    }


def workers(jobs: int) -> AbstractContextManager[Executor | None]:
    """That many processes, which share this one's threads; none for one."""
    if jobs == 1:
        return nullcontext()
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    import torch

    threads = max(1, torch.get_num_threads() // jobs)
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, spawn, initializer=torch.set_num_threads, initargs=(threads,))
