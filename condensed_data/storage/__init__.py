"""What is written to disk: the artefact, which is also what a Hub repository holds."""

from condensed_data.storage.artefact import Artefact, read, read_manifest, write
from condensed_data.storage.errors import (
    ArtefactError,
    IntegrityError,
    NotACondensedDatasetError,
    SaveError,
    UnsupportedFormatError,
)
from condensed_data.storage.files import check_writable

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
