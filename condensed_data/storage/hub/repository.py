"""Access to a Hub repository at one commit: its configs, file sizes and files.

Only files with known names are downloaded, and only after their size was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from condensed_data.core.errors import ArtifactError, IntegrityError, checked_path
from condensed_data.core.hub_errors import HubUnavailableError
from condensed_data.storage import file_names
from condensed_data.storage import manifest as manifests
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.client import check_name, check_revision, check_token, client, missing_dataset_error
from condensed_data.storage.hub.retry import with_retries

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAX_ENTRIES = 2_000  # of the root of a repository that are considered
MAX_FILES = 50_000  # of a third-party repository that are considered
_PATHS_PER_REQUEST = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """How to reach the Hub and its local cache.

    Attributes:
        token: Hub token; None uses the stored one, False none.
        cache_dir: the Hub's cache; None for that of `huggingface_hub`.
        local_files_only: make no request.
        force_download: download even files that are in the cache.
    """

    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False

    def __post_init__(self) -> None:
        check_token(self.token)
        if self.cache_dir is not None:
            checked_path("cache_dir", self.cache_dir)
        if self.local_files_only and self.force_download:
            raise ValueError(
                "force_download=True needs the network, but local_files_only=True forbids it. Give only one of them."
            )

    @property
    def folder(self) -> Path:
        """Folder of the cache."""
        from huggingface_hub.constants import HF_HUB_CACHE

        return Path(self.cache_dir or HF_HUB_CACHE).expanduser()


@dataclass(frozen=True)
class RepositorySnapshot:
    """A dataset repository ("user/name") at one commit, given by 40 hexadecimal digits.

    `sizes` caches file sizes in bytes by path, with None for a file that does not exist.
    """

    api: HfApi
    repo_id: str
    commit: str
    access: Access
    sizes: dict[str, int | None] = field(default_factory=dict, repr=False)

    @staticmethod
    def resolve(repo_id: str, revision: str | None, access: Access, *, fresh: bool = False) -> RepositorySnapshot:
        """Resolve a revision to its commit; a commit resolves to itself without a request.

        Args:
            fresh: never fall back to the commit of a branch as cached when the Hub was last reached.

        Raises:
            HubNotFoundError: if there is no dataset repository of this name.
            huggingface_hub.errors.*: errors that `hub_errors.translate_hub_errors` converts.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        api = client(access.token)
        try:
            commit = _resolved(api, check_name(repo_id), check_revision(revision), access, fresh)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError as error:
            raise missing_dataset_error(api, repo_id) from error
        return RepositorySnapshot(api, repo_id, commit, access)

    def with_retries(self, action: Callable[[], T]) -> T:
        """Return the result of `action`, a request about this commit; see `retry.with_retries`."""
        return with_retries(action, self.repo_id, self.commit, folder=self.access.folder)

    @property
    def _location(self) -> dict[str, Any]:
        return {"repo_id": self.repo_id, "repo_type": "dataset", "revision": self.commit}

    def reach(self) -> None:
        """Request the commit itself: without network this fails at once, a file listing only after a minute."""
        self.api.dataset_info(self.repo_id, revision=self.commit)

    def size(self, *paths: str) -> list[int | None]:
        """Size of each file in bytes, None for one that does not exist; requested once."""
        unknown = [path for path in paths if path not in self.sizes]
        for start in range(0, len(unknown), _PATHS_PER_REQUEST):
            batch = unknown[start : start + _PATHS_PER_REQUEST]
            found = {
                item.path: getattr(item, "size", None)
                for item in self.api.get_paths_info(paths=batch, **self._location)
            }
            self.sizes.update({path: found.get(path) for path in batch})
        return [self.sizes[path] for path in paths]

    def _tree(self, **options: Any) -> Iterator[tuple[str, int | None]]:
        """Files as (path, bytes), and folders as (path, None)."""
        for item in self.api.list_repo_tree(**options, **self._location):
            yield item.path, getattr(item, "size", None)

    def listing(self) -> dict[str, int]:
        """Size in bytes of every file, by path.

        Raises:
            ArtifactError: for more than `MAX_FILES` files: those that were listed would be a part of the dataset.
        """
        files = ((path, size) for path, size in self._tree(recursive=True) if size is not None)
        found = dict(islice(files, MAX_FILES + 1))
        if len(found) > MAX_FILES:
            raise ArtifactError(
                f"{self.repo_id} contains more than {MAX_FILES:,} files. Ask its owner for parquet files, which hold "
                "many samples each."
            )
        self.sizes.update(found)
        return found

    def configs(self) -> list[str]:
        """Config names, the default first; with `local_files_only`, those that were loaded before."""
        if self.access.local_files_only:
            return self.cached_configs()
        entries = list(islice(self._tree(), MAX_ENTRIES))
        self.sizes.update({name: size for name, size in entries if size is not None})
        folders = [name for name, size in entries if size is None and layout.is_config(name)]
        manifests = {layout.DEFAULT: file_names.MANIFEST}
        manifests |= {name: layout.repo_path(name, file_names.MANIFEST) for name in folders if name != layout.DEFAULT}
        sizes = self.size(*manifests.values())
        return [name for name, size in zip(manifests, sizes, strict=True) if size is not None]

    def cached_configs(self) -> list[str]:
        """Names of the configs that were loaded before at this commit."""
        from huggingface_hub.file_download import repo_folder_name

        name = repo_folder_name(repo_id=self.repo_id, repo_type="dataset")
        paths = (self.access.folder / name / "snapshots" / self.commit).glob(f"*/{file_names.MANIFEST}")
        folders = sorted(path.parent.name for path in paths if layout.is_config(path.parent.name))
        return folders if self.cached(file_names.MANIFEST) is None else [layout.DEFAULT, *folders]

    def cached(self, path: str) -> Path | None:
        """Path of a file of this commit in the cache, or None."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(filename=path, cache_dir=self.access.folder, **self._location)
        return Path(found) if isinstance(found, str) else None

    def fetch(self, path: str, max_bytes: int) -> Path | None:
        """Download a file; returns its local path, or None if the repository does not have it.

        Raises:
            ArtifactError: if it is larger than `max_bytes`; it is then not downloaded.
        """
        known = self.cached(path)
        if self.access.local_files_only or (known is not None and not self.access.force_download):
            return known
        (size,) = self.size(path)
        if size is None:
            return None
        if size > max_bytes:
            raise ArtifactError.too_large(f"{self.repo_id}/{path}", f"{size} bytes", max_bytes)
        cache, force = self.access.folder, self.access.force_download
        return Path(self.api.hf_hub_download(filename=path, cache_dir=cache, force_download=force, **self._location))

    def manifest(self, config: str) -> dict[str, Any] | None:
        """The checked manifest of a config, or None if it does not exist.

        Raises:
            ArtifactError: or one of its subclasses, if the manifest is invalid.
        """
        name = layout.repo_path(config, file_names.MANIFEST)
        path = self.fetch(name, manifests.MAX_BYTES)
        if path is None:
            return None
        with path.open("rb") as file:
            return manifests.decode(file.read(manifests.MAX_BYTES + 1), f"{self.repo_id}/{name}", verify=True)

    def artifact(self, config: str, manifest: dict[str, Any], max_bytes: int) -> Path:
        """Download the files of a config except the preview; returns their local folder.

        Raises:
            ArtifactError: if they exceed `max_bytes`.
            IntegrityError: if the repository lacks a file.
            HubUnavailableError: if `local_files_only` is set and the cache lacks a file.
        """
        listed = manifest["files"][file_names.TENSORS]["size"]
        path = layout.repo_path(config, file_names.TENSORS)
        where = f"{self.repo_id}/{path}"
        if listed > max_bytes:
            raise ArtifactError.too_large(where, f"{listed} bytes", max_bytes)
        found = self.fetch(path, listed)
        if found is None and self.access.local_files_only:
            raise self.not_cached_error()
        if found is None:
            raise IntegrityError.mismatch(where, "no such file", "the file that the manifest lists")
        return found.parent

    def not_cached_error(self) -> HubUnavailableError:
        """The error for a dataset that is not fully in the cache although `local_files_only` is set."""
        return HubUnavailableError(
            f"{self.repo_id} at {self.commit} is not in the local cache, and local_files_only=True forbids a "
            "download. Use local_files_only=False."
        )


def _resolved(api: HfApi, repo_id: str, revision: str | None, access: Access, fresh: bool) -> str:
    if fresh:
        return str(api.dataset_info(repo_id, revision=revision).sha)
    offline = access.local_files_only
    return api.resolve_revision(
        repo_id, repo_type="dataset", revision=revision, cache_dir=access.folder, local_files_only=offline
    ).resolved
