"""Methods that publish a condensed dataset to the Hub, and load one from there or from the files of its authors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.result import CondensationResult

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from typing_extensions import Self


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
    def from_pt(
        cls,
        path: str | Path,
        labels: str | Path | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        normalized: bool = True,
        factor: int = 1,
        run: int = 0,
        classes: Sequence[str] | None = None,
        name: str | None = None,
    ) -> Self:
        """Read the `.pt` file in which the authors of a method published their images; see `author_files.read`.

        The files of DC, DSA, DM, MTT and its successors, and IDC (`normalized=False, factor=2`) are known. Nothing in
        them is executed.

        Raises:
            ArtifactError: for a file that holds anything but tensors and numbers, or has an unknown layout.
        """
        from condensed_data.storage.hub import author_files

        return cls.from_result(
            author_files.read(
                path,
                labels,
                mean=mean,
                std=std,
                normalized=normalized,
                factor=factor,
                run=run,
                classes=classes,
                name=name,
            )
        )

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
    ) -> CommitInfo:
        """Publish to a dataset repository of the Hub, in one commit; see `push.push`.

        Args:
            repo_id: "user/name"; created, and private, if it does not exist.
            private: False makes a new repository public; for an existing one it is checked, not changed.
            revision: branch to commit to; created if it does not exist.
            create_pr: open a pull request instead.
            config_name: name of this dataset in a repository with several.
            license: identifier of the source's license, for the card.

        Returns:
            The commit; the present one if nothing has changed.

        Raises:
            HubError: or a subclass that gives the reason; nothing is published, and the call can be repeated.
        """
        from condensed_data.storage.hub.push import push

        return push(
            self.result,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message,
            config_name=config_name,
            license=license,
        )

    @classmethod
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
        """Load a condensed dataset from a dataset repository of the Hub; see `pull.pull`.

        Datasets published by other tools (images in parquet files, or in one folder per class) can be loaded too; a
        warning lists the metadata they lack, see `third_party.read`.

        Args:
            repo_id: "user/name".
            revision: branch, tag, pull request ("refs/pr/1") or commit.
            config_name: which of its datasets; None takes the default one, or the only one.
            cache_dir: the Hub's cache.
            local_files_only: make no request.
            force_download: download even what the cache has.
            max_bytes: refuse larger downloads.

        Raises:
            HubError: or a subclass: if the repository is missing, forbidden or unreachable.
            ArtifactError: or a subclass: for files that are no condensed dataset, damaged, newer or hostile.
        """
        from condensed_data.storage.hub.pull import pull

        pulled = pull(
            repo_id,
            revision=revision,
            config_name=config_name,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            max_bytes=max_bytes,
        )
        self = cls.from_result(pulled.result, transform, target_transform)
        self.hub_revision = pulled.commit
        return self
