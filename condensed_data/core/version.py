"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version, such as "0.1.0"; "0+unknown" for a checkout that is not installed."""
    try:
        return version("condensed-data")
    except PackageNotFoundError:
        return "0+unknown"
