"""Publishes a condensed dataset to a Hub repository in one commit; see `commit.py` for the protocol."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.core.hub_errors import HubError, translate_hub_errors
from condensed_data.storage import artifact, parquet
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.client import check_name, client
from condensed_data.storage.hub.commit import Manifests, Push, PushOptions
from condensed_data.storage.result import CondensationResult

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

_UNCHANGED = "Nothing was published partially, and the local dataset is unchanged. Push again to continue."


def push(
    result: CondensationResult,
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
    """Publish a condensed dataset: all of it in one commit, or nothing.

    Args:
        result: the condensed dataset.
        repo_id: "user/name" of a dataset repository; created if it does not exist.
        private: visibility of a new repository: True or None for private, False for public. For an existing
            repository it is checked, not changed.
        token: Hub token; None uses the stored one.
        revision: branch to commit to; created from the default branch if it does not exist.
        create_pr: whether to open a pull request instead of committing.
        commit_message: first line of the commit message.
        config_name: name of this dataset in the repository; "default" is the root.
        license: identifier of the source's license for the card, such as "mit" or "cc-by-4.0".

    Returns:
        The commit (`.oid`, `.commit_url`, `.pr_url`); the present head if nothing changed.

    Raises:
        HubError: or one of its subclasses; nothing is published, and the message says how to continue.
        ArtifactError: if a dataset that is already in the repository cannot be read.
        ValueError, ImportError: for problems found before anything is sent.
    """
    layout.check_config(config_name)
    options = PushOptions(repo_id, private, token, revision, create_pr, commit_message, license)
    return publish(result, options, lambda manifests: config_name)


def publish_build(result: CondensationResult, repo_id: str, *, token: str | None = None) -> CommitInfo | None:
    """Publish the result of a build under an unused name, unless the repository already has it.

    Returns:
        The commit, or None if the repository already has the result.

    Raises:
        The same errors as `push`.
    """
    key = result.metadata.key
    if key is None:
        raise ValueError(
            f"{repo_id}: this dataset has no cache key, because its recipe contains a function without a name. Name "
            "the function, or publish it with push_to_hub(config_name=...)."
        )

    def choose(manifests: Manifests) -> str | None:
        if any(manifest.get("cache_key") == key for manifest in manifests.values()):
            return None
        plain = re.sub("[^A-Za-z0-9_-]", "-", f"{result.metadata.recipe_name}-ipc{result.metadata.ipc}")[:80]
        return plain if plain not in manifests and layout.is_config(plain) else f"{plain}-{key[:8]}"

    return publish(result, PushOptions(repo_id, token=token), choose)


def check_access(repo_id: str, token: str | None = None) -> None:
    """Check before a long run that the Hub accepts the token on this machine.

    Raises:
        HubError: or one of its subclasses, if it does not.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    api = client(token)
    with translate_hub_errors(repo_id):
        # this request has a timeout, unlike the next one
        with suppress(RepositoryNotFoundError):
            api.dataset_info(check_name(repo_id))
        api.whoami()


def publish(result: CondensationResult, options: PushOptions, choose: Callable[[Manifests], str | None]) -> Any:
    """Publish under the name that `choose` returns for the manifests in the repository; None publishes nothing."""
    _check_preview(result)
    with tempfile.TemporaryDirectory(prefix="condensed-data-") as folder:
        written = _write(result, Path(folder) / "set")
        try:
            with translate_hub_errors(options.repo_id, options.revision, folder=folder):
                return Push(options, client(options.token), Path(folder), written, choose).run()
        except HubError as error:
            raise type(error)(f"{error} {_UNCHANGED}") from error


def _check_preview(result: CondensationResult) -> None:
    """Require pyarrow, because published datasets must be readable with `datasets` too."""
    manifest = result.metadata.to_manifest()
    if parquet.has_type(manifest) and not parquet.is_possible(manifest):
        raise ImportError(
            "Publishing needs pyarrow, so that the Hub and `datasets` can show the samples. Run "
            'pip install "condensed-data[hub]".'
        )


def _write(result: CondensationResult, folder: Path) -> dict[str, Any]:
    """Write the files to publish to `folder`; returns the manifest."""
    from condensed_data.plotting import grid

    result.save(folder)
    labels, limits = result.class_indices.tolist(), result.metadata.kind.value_range
    image = grid.grid(result.images, labels, result.metadata.classes, value_range=limits)
    grid.save(image, folder / layout.GRID)
    return artifact.read_manifest(folder)
