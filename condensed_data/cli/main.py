"""The command line: `condensed-data VERB ...`, the same verbs and fields as in Python.

Nothing heavy is imported before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from condensed_data.cli import VERBS

DEBUG = "CONDENSED_DATA_DEBUG"
_SOURCES = """\
sources (SOURCE):
  digits                     scikit-learn's 8x8 digits, built in, nothing to download
  fashion-mnist, cifar10...  torchvision's data sets, with --data-root DIR
  imagefolder:PATH           a folder of images for each class, with --image-size N; PATH/train and
                             PATH/test (or PATH/val) where they are there
  hf:USER/NAME               an image data set of the Hugging Face Hub; hf:USER/NAME@REVISION:CONFIG takes one
                             revision and configuration, --label-column one of several columns of labels
  package.module:callable    what your callable returns; it is called with split="train" or "test" if it
                             takes that
Sets are made of the train split; accuracy is measured on the test split.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status.

    Args:
        argv: words after the program's name; by default those that the process was given.

    Returns:
        0, or 1 after an error, which is told on standard error in one line. Errors in the words
        themselves exit with 2. With CONDENSED_DATA_DEBUG=1 in the environment errors are raised.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted.")
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        return _fail(str(error) or type(error).__name__)
    return 0


def _fail(message: str) -> int:
    print(f"condensed-data: error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="condensed-data",
        description="Condense a data set to a few synthetic samples for each class, and train on those.",
        epilog=_SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        command = commands.add_parser(
            verb.name,
            help=verb.help,
            description=f"{verb.help[0].upper()}{verb.help[1:]}.",
            epilog=_SOURCES if verb.takes_source else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.options(command)
        command.set_defaults(run=verb.run)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        from condensed_data import __version__

        print(f"condensed-data {__version__}")
        parser.exit()
