"""Entry point of `condensed-data COMMAND ...` and `python -m condensed_data COMMAND ...`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import NoReturn

from condensed_data.cli.commands import COMMANDS
from condensed_data.cli.terminal import VisibleStream
from condensed_data.core.names import did_you_mean
from condensed_data.core.text import visible
from condensed_data.core.version import installed_version

DEBUG = "CONDENSED_DATA_DEBUG"
_SOURCES = """\
kinds of SOURCE:
  digits                     scikit-learn's 8x8 digits; built in, nothing to download
  fashion-mnist, cifar10...  torchvision datasets, with --data-root DIR
  imagefolder:PATH           one folder of images per class, with --image-size N; PATH/train and PATH/test
                             (or PATH/val) are used if they exist
  hf:USER/NAME               image dataset on the Hugging Face Hub; hf:USER/NAME@REVISION:CONFIG selects a
                             revision and a configuration, --label-column one of several label columns
  package.module:callable    dataset that your callable returns; called with split="train" or split="test"
                             if it has that parameter
Datasets are condensed from the train split; accuracy is measured on the test split.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        Exit status: 0, or 1 after an error, which is printed on standard error in one line. Usage errors exit with
        status 2. With CONDENSED_DATA_DEBUG=1 in the environment, errors are raised instead of printed.
    """
    arguments, unknown = build_parser().parse_known_args(argv)
    if unknown:
        options = arguments.parser._option_string_actions
        similar = "".join(did_you_mean(word.partition("=")[0], options) for word in unknown)
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}.{similar}")
    try:
        with redirect_stdout(VisibleStream(sys.stdout)):
            arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted.")
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        if os.environ.get("RANK", "0") != "0":  # rank 0 reports what ended all; torchrun then ends this process
            time.sleep(30)
        return _fail(str(error) or type(error).__name__)
    return 0


def _fail(message: str) -> int:
    print(f"condensed-data: error: {visible(' '.join(message.split()))}", file=sys.stderr)
    return 1


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with the message, and with a similar choice for one that does not exist."""
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        super().error(message + did_you_mean(found[1], re.findall(r"[^\s',]+", found[2])) if found else message)


def build_parser() -> ArgumentParser:
    """The parser of all commands; the namespace that it returns holds the command's `run`."""
    version = f"condensed-data {installed_version()}"
    parser = _Parser(
        prog="condensed-data",
        description="Condense a dataset to a few synthetic samples per class, and train on those.",
        epilog=_SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=_SOURCES if command.takes_source else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.module.add_options(subparser)
        subparser.set_defaults(run=command.module.run, parser=subparser)
    return parser
