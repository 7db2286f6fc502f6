"""Storing condensed datasets: the artifact on disk and on the Hub, the local cache, and checkpoints."""

from condensed_data.core.errors import (
    ArtifactError,
    IntegrityError,
    NotACondensedDatasetError,
    SaveError,
    UnsupportedFormatError,
)
from condensed_data.storage.artifact import Artifact, read, read_manifest, write
from condensed_data.storage.atomic_directory import check_writable

__all__ = [
    "Artifact",
    "ArtifactError",
    "IntegrityError",
    "NotACondensedDatasetError",
    "SaveError",
    "UnsupportedFormatError",
    "check_writable",
    "read",
    "read_manifest",
    "write",
]
