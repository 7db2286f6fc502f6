"""What is written to disk: the artefact, which is also what a Hub repository holds."""

from condensed_data.core.errors import (
    ArtefactError,
    IntegrityError,
    NotACondensedDatasetError,
    SaveError,
    UnsupportedFormatError,
)
from condensed_data.storage.artifact import Artefact, read, read_manifest, write
from condensed_data.storage.atomic_directory import check_writable

__all__ = [
    "Artefact",
    "ArtefactError",
    "IntegrityError",
    "NotACondensedDatasetError",
    "SaveError",
    "UnsupportedFormatError",
    "check_writable",
    "read",
    "read_manifest",
    "write",
]
