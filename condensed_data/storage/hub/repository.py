"""A repository of the Hub at one commit: which sets it has, how large its files are, and the files themselves.

Nothing is downloaded whose size was not asked for first, and nothing but files that are named by us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.core.errors import ArtifactError, IntegrityError, mismatch_message, shown
from condensed_data.core.hub_errors import HubNotFoundError, HubUnavailableError, missing_repository
from condensed_data.storage import atomic_directory as files
from condensed_data.storage import manifest as schema
from condensed_data.storage.hub import layout

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MOST_ENTRIES = 2_000  # of the root of a repository that are looked at
MOST_FILES = 50_000  # of a repository that is not ours
_AT_ONCE = 100  # paths that one request asks for


def client(token: str | bool | None) -> HfApi:
    """The client, which takes the endpoint from HF_ENDPOINT and says who asks.

    Its first question, `dataset_info`, is given up after HF_HUB_ETAG_TIMEOUT seconds; left to itself, it would wait for
    ever for a server that takes the connection and never answers.
    """
    from huggingface_hub import HfApi, constants

    from condensed_data.core.version import installed_version

    api = HfApi(token=token, library_name="condensed-data", library_version=installed_version())
    ask = api.dataset_info

    def dataset_info(*arguments: Any, timeout: float | None = None, **options: Any) -> Any:
        return ask(*arguments, timeout=timeout or constants.HF_HUB_ETAG_TIMEOUT, **options)

    api.dataset_info = dataset_info  # type: ignore[method-assign]  # other methods of the client call it as well
    return api


def check_name(repo_id: Any) -> str:
    """The name of a repository.

    Raises:
        ValueError: unless it is "user/name".
    """
    known = isinstance(repo_id, str) and re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo_id, re.ASCII)
    if not known:
        raise ValueError(f"repo_id={shown(repo_id)} is no name of a repository: give USER/NAME.")
    return str(repo_id)


@dataclass(frozen=True)
class Remote:
    """A dataset repository at one commit.

    Attributes:
        api: the client, with its token.
        repo_id: "user/name".
        commit: 40 hexadecimal digits.
        cache_dir: the Hub's cache; None for the usual one.
        local_files_only: make no request.
        force_download: load even what the cache has.
    """

    api: HfApi
    repo_id: str
    commit: str
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False
    sizes: dict[str, int | None] = field(default_factory=dict, repr=False)

    @staticmethod
    def at(
        repo_id: str,
        revision: str | None,
        *,
        token: str | bool | None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        fresh: bool = False,
    ) -> Remote:
        """Find the commit that a revision stands for; a commit stands for itself, without a request.

        Args:
            fresh: never take the commit that a branch stood for when the Hub was reached the last time.

        Raises:
            HubNotFoundError: if what is there is no dataset repository.
            huggingface_hub.errors.*: what `errors.translate_hub_errors` explains.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        api = client(token)
        try:
            found = _resolved(api, check_name(repo_id), revision, cache_dir, local_files_only, fresh)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError as error:
            raise no_dataset(api, repo_id) from error
        return Remote(api, repo_id, found, cache_dir, local_files_only, force_download)

    @property
    def _there(self) -> dict[str, Any]:
        return {"repo_id": self.repo_id, "repo_type": "dataset", "revision": self.commit}

    def reach(self) -> None:
        """Ask for the commit itself: without network this fails at once, and a listing after a minute."""
        self.api.dataset_info(self.repo_id, revision=self.commit)

    def size(self, *paths: str) -> list[int | None]:
        """Bytes of each file, None for one that is not there; asked for once."""
        unknown = [path for path in paths if path not in self.sizes]
        for start in range(0, len(unknown), _AT_ONCE):
            asked = unknown[start : start + _AT_ONCE]
            found = {
                item.path: getattr(item, "size", None)
                for item in self.api.get_paths_info(paths=asked, **self._there)
            }
            self.sizes.update({path: found.get(path) for path in asked})
        return [self.sizes[path] for path in paths]

    def entries(self) -> list[tuple[str, int | None]]:
        """What lies in the root: (name, bytes), None for a folder; at most `MOST_ENTRIES`."""
        found: list[tuple[str, int | None]] = []
        for item in self.api.list_repo_tree(**self._there):
            found.append((item.path, getattr(item, "size", None)))
            if len(found) == MOST_ENTRIES:
                break
        return found

    def listing(self) -> dict[str, int]:
        """Bytes of every file, by path; of the first `MOST_FILES` files."""
        found: dict[str, int] = {}
        for item in self.api.list_repo_tree(recursive=True, **self._there):
            size = getattr(item, "size", None)
            if size is not None:
                found[item.path] = size
            if len(found) == MOST_FILES:
                break
        self.sizes.update(found)
        return found

    def configs(self) -> list[str]:
        """The names of its sets, the default one first. Without the network: of those that were loaded before."""
        if self.local_files_only:
            return self.cached_configs()
        entries = self.entries()
        self.sizes.update({name: size for name, size in entries if size is not None})
        folders = [name for name, size in entries if size is None and layout.is_config(name)]
        manifests = {layout.DEFAULT: files.MANIFEST}
        manifests |= {name: layout.place(name, files.MANIFEST) for name in folders if name != layout.DEFAULT}
        sizes = self.size(*manifests.values())
        return [name for name, size in zip(manifests, sizes, strict=True) if size is not None]

    def cached_configs(self) -> list[str]:
        """The names of those sets that were loaded before at this commit."""
        known = self.cached(files.MANIFEST)
        found = [] if known is None else [layout.DEFAULT]
        folder = self._snapshot()
        for path in sorted(folder.glob(f"*/{files.MANIFEST}")) if folder.is_dir() else ():
            if layout.is_config(path.parent.name):
                found.append(path.parent.name)
        return found

    def _snapshot(self) -> Path:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        root = Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser()
        return root / repo_folder_name(repo_id=self.repo_id, repo_type="dataset") / "snapshots" / self.commit

    def cached(self, path: str) -> Path | None:
        """Where the cache has a file of this commit."""
        from huggingface_hub import try_to_load_from_cache

        cache = None if self.cache_dir is None else Path(self.cache_dir).expanduser()
        found = try_to_load_from_cache(filename=path, cache_dir=cache, **self._there)
        return Path(found) if isinstance(found, str) else None

    def fetch(self, path: str, most: int) -> Path | None:
        """A file of the repository on this machine, or None if it has none of this name.

        Args:
            path: in the repository.
            most: refuse more bytes, before they are downloaded.

        Raises:
            ArtifactError: if it is larger.
        """
        known = self.cached(path)
        if known is not None and not self.force_download:
            return known
        if self.local_files_only:
            return None if known is None else known
        (size,) = self.size(path)
        if size is None:
            return None
        if size > most:
            remedy = "If you trust the source, raise max_bytes."
            raise ArtifactError(
                mismatch_message(f"{self.repo_id}/{path}", f"{size} bytes", f"at most {most}", remedy)
            )
        return Path(
            self.api.hf_hub_download(
                filename=path,
                cache_dir=self.cache_dir,
                force_download=self.force_download,
                **self._there,
            )
        )

    def manifest(self, config: str) -> dict[str, Any] | None:
        """The checked manifest of a set, or None where there is no such set.

        Raises:
            ArtifactError: or the subclass that says what is wrong with it.
        """
        path = self.fetch(layout.place(config, files.MANIFEST), schema.MAX_BYTES)
        if path is None:
            return None
        where = f"{self.repo_id}/{layout.place(config, files.MANIFEST)}"
        with path.open("rb") as file:
            return schema.decode(file.read(schema.MAX_BYTES + 1), where, verify=True)

    def artifact(self, config: str, manifest: dict[str, Any], max_bytes: int) -> Path:
        """The folder on this machine with the files of a set, its preview left out.

        Raises:
            ArtifactError: where they are more than `max_bytes`.
            IntegrityError: where the repository lacks one, or it is not as large as the manifest says.
        HubUnavailableError: where only the cache may be asked, and lacks one.
        """
        listed = manifest["files"][files.TENSORS]["size"]
        path = layout.place(config, files.TENSORS)
        where = f"{self.repo_id}/{path}"
        if listed > max_bytes:
            remedy = "If you trust the source, raise max_bytes."
            raise ArtifactError(mismatch_message(where, f"{listed} bytes", f"at most {max_bytes}", remedy))
        found = self.fetch(path, listed)
        if found is None and self.local_files_only:
            raise self.not_here()
        if found is None:
            raise IntegrityError(mismatch_message(where, "no such file", "the file that the manifest lists"))
        return found.parent

    def not_here(self) -> HubUnavailableError:
        """The error for a set of which the cache lacks a file."""
        return HubUnavailableError(
            f"{self.repo_id} at {self.commit} is not in the cache of this machine, and local_files_only=True "
            "forbids to load it. Leave that out."
        )


def _resolved(
    api: HfApi,
    repo_id: str,
    revision: str | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
    fresh: bool,
) -> str:
    if fresh:
        return str(api.dataset_info(repo_id, revision=revision).sha)
    found = api.resolve_revision(
        repo_id,
        repo_type="dataset",
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    return found.resolved


def no_dataset(api: HfApi, repo_id: str) -> HubNotFoundError:
    """The error for a name that no dataset repository has: it may be that of another kind."""
    for kind in ("model", "space"):
        try:
            if api.repo_exists(repo_id, repo_type=kind):
                return missing_repository(repo_id, kind)
        except Exception as error:  # only a better sentence is lost
            del error
    return missing_repository(repo_id)


def named(names: Iterable[str], most: int = 20) -> str:
    """Names for a message."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
