"""Methods that publish a condensed dataset to the Hub, and load one from there or from the files of its authors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.torch_settings import doors
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.result import CondensationResult

if TYPE_CHECKING:
    from typing_extensions import Self

    from condensed_data.storage.hub.author_tensors import Paths
    from condensed_data.storage.hub.commit import PushResult


@doors
class HubMixin:
    """For a class that wraps a `CondensationResult`.

    Attributes:
        result: what is published.
        hub_revision: the commit that it was loaded from, else None.
    """

    result: CondensationResult
    hub_revision: str | None = None

    @classmethod
    @abstractmethod
    def from_result(
        cls,
        result: CondensationResult,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Wrap a result."""

    @classmethod
    @checked
    def from_pt(
        cls,
        path: Paths,
        labels: Paths | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        normalized: bool = True,
        whitening: Any = None,
        label_kind: str | None = None,
        factor: Count = 1,
        run: Natural = 0,
        classes: Sequence[str] | None = None,
        name: str | None = None,
    ) -> Self:
        """Read the `.pt` files in which the authors of a method published their images, without executing anything.

        The files of DC, DSA, DM, MTT and its successors, and IDC (`normalized=False, factor=2`) are known. Images that
        were ZCA-whitened need `whitening=`, the training set. `author_files.read` documents the arguments.

        Raises:
            ArtifactError: for a file that contains anything but tensors and numbers, or has an unknown layout.
            ValueError: for an argument that must be given because the files do not tell.
        """
        from condensed_data.storage.hub import author_files

        return cls.from_result(
            author_files.read(
                path,
                labels,
                mean=mean,
                std=std,
                normalized=normalized,
                whitening=whitening,
                label_kind=label_kind,
                factor=factor,
                run=run,
                classes=classes,
                name=name,
            )
        )

    @checked
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        config_name: str = "default",
        license: str | None = None,  # noqa: A002 (the Hub calls it so)
    ) -> PushResult:
        """Publish to a dataset repository of the Hub: all of it in one commit, or nothing.

        Args:
            repo_id: "user/name"; created if it does not exist.
            private: visibility of a new repository: True or None for private, False for public. For an existing
                repository it is checked, not changed.
            token: Hub token; None uses the stored one.
            revision: branch to commit to; created from the default branch if it does not exist.
            create_pr: whether to open a pull request instead of committing.
            commit_message: first line of the commit message.
            config_name: name of this dataset in the repository; "default" is the root.
            license: identifier of the source's license for the card, such as "mit" or "cc-by-4.0".

        Returns:
            The commit (`.oid`, `.commit_url`, `.pr_url`); the present head, with `.changed` False, if nothing changed.

        Raises:
            HubError: or one of its subclasses; the message says how to continue.
            ArtifactError: if a dataset that is already in the repository cannot be read.
            ValueError, ImportError: for problems found before anything is sent.
        """
        from condensed_data.storage.hub.commit import PushOptions
        from condensed_data.storage.hub.push import push

        options = PushOptions(repo_id, private, token, revision, create_pr, commit_message, license)
        return push(self.result, options, config_name)

    @classmethod
    @checked
    def from_hub(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        config_name: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        max_bytes: int = MAX_BYTES,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Load a condensed dataset from a dataset repository of the Hub.

        Datasets published by other tools (images in parquet files, or in one folder per class) can be loaded too; a
        warning lists the metadata they lack, see `third_party.read`.

        Args:
            repo_id: "user/name".
            revision: branch, tag, pull request ("refs/pr/1") or commit; the default branch if None.
            config_name: which dataset of the repository to load; None for the default one, or the only one.
            token: Hub token; None uses the stored one, False none.
            cache_dir: the Hub's cache; by default that of `huggingface_hub`.
            local_files_only: make no request.
            force_download: download even files that are in the cache.
            max_bytes: maximum size; a larger dataset is refused before it is downloaded.
            transform, target_transform: as in `from_result`.

        Raises:
            HubNotFoundError: if the repository, revision or config does not exist or is not visible.
            HubAccessError: if the repository is gated, private or disabled.
            HubUnavailableError: without network, or if the Hub keeps failing.
            NotACondensedDatasetError: if the repository contains no condensed dataset that can be read.
            IntegrityError, UnsupportedFormatError, ArtifactError: for corrupt, newer or hostile files.
            SaveError: if the cache cannot be written.
            ValueError: for an invalid argument.
        """
        from condensed_data.storage.hub.pull import pull
        from condensed_data.storage.hub.repository import Access

        access = Access(token, cache_dir, local_files_only, force_download)
        pulled = pull(repo_id, revision, config_name, access, max_bytes)
        self = cls.from_result(pulled.result, transform, target_transform)
        self.hub_revision = pulled.commit
        return self
