"""Runs the command line: `python -m condensed_data`."""

import sys

from condensed_data.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
