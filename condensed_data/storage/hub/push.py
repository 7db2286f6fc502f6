"""Publish a condensed set to a repository of the Hub, in one commit; `commit.py` says how."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.core.hub_errors import HubError, translate_hub_errors
from condensed_data.storage import artifact as artifact
from condensed_data.storage import parquet
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.commit import Push, PushOptions, Sets
from condensed_data.storage.hub.repository import check_name, client
from condensed_data.storage.result import CondensationResult

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

_AGAIN = "Nothing partial is on the Hub, and the set here is unchanged: the same push again goes on."


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
    """Publish a condensed set: all of it in one commit, or nothing.

    Args:
        outcome: the set.
        repo_id: "user/name" of a dataset repository; made if it is not there.
        private: of a new repository: True or None makes it private, False public. For one that is there it is
            checked, not changed.
        token: None uses the stored one.
        revision: branch to commit to; made from the default one if it is not there.
        create_pr: open a pull request instead of committing.
        commit_message: first line of the commit.
        config_name: which of the repository's sets this is; "default" is the root.
        license: identifier of the source's license, for the card, such as "mit" or "cc-by-4.0".

    Returns:
        The commit (`.oid`, `.commit_url`, `.pr_url`); the present head where nothing has changed.

    Raises:
        HubError: or a subclass that says why; nothing is published, and the message says how to go on.
        ArtifactError: where a set that is already in the repository cannot be read.
        ValueError, ImportError: for what is found wrong before anything is sent.
    """
    layout.check_config(config_name)
    target = PushOptions(repo_id, private, token, revision, create_pr, commit_message, license)
    return publish(result, target, lambda sets: config_name)


def publish_build(result: CondensationResult, repo_id: str, *, token: str | None = None) -> CommitInfo | None:
    """Publish the result of a build under a free name, unless the repository has the result of the same build.

    Returns:
        The commit, or None where the repository has it already.

    Raises:
        As `push` does.
    """
    key = result.metadata.key
    if key is None:
        raise ValueError(
            f"{repo_id}: this set has no key, as its recipe holds a function without a name. Name the function "
            "(Named), or push it by hand with push_to_hub(config_name=...)."
        )

    def name(sets: Sets) -> str | None:
        if any(manifest.get("cache_key") == key for manifest in sets.values()):
            return None
        plain = re.sub("[^A-Za-z0-9_-]", "-", f"{result.metadata.recipe_name}-ipc{result.metadata.ipc}")[:80]
        return plain if plain not in sets and layout.is_config(plain) else f"{plain}-{key[:8]}"

    return publish(result, PushOptions(repo_id, token=token), name)


def check_access(repo_id: str, token: str | None = None) -> None:
    """Find out before long work whether the token on this machine is a valid one.

    Raises:
        HubError: or the subclass that says why it is not.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    api = client(token)
    with translate_hub_errors(repo_id):
        # unlike the next question, this one is given up where there is no answer
        with suppress(RepositoryNotFoundError):
            api.dataset_info(check_name(repo_id))
        api.whoami()


def publish(result: CondensationResult, target: PushOptions, choose: Callable[[Sets], str | None]) -> Any:
    """Publish under the name that `choose` gives for the sets that the repository has; None publishes nothing."""
    _check_preview(result)
    with tempfile.TemporaryDirectory(prefix="condensed-data-") as folder:
        written = _write(result, Path(folder) / "set")
        try:
            with translate_hub_errors(target.repo_id, target.revision, folder=folder):
                return Push(target, client(target.token), Path(folder), written, choose).run()
        except HubError as error:
            raise type(error)(f"{error} {_AGAIN}") from error


def _check_preview(result: CondensationResult) -> None:
    """What is published is a data set for `datasets` too, which takes pyarrow."""
    manifest = result.metadata.to_manifest()
    if parquet.has_type(manifest) and not parquet.is_possible(manifest):
        raise ImportError(
            "Publishing needs pyarrow, so that the Hub and `datasets` can show the samples: "
            'pip install "condensed-data[hub]"'
        )


def _write(result: CondensationResult, folder: Path) -> dict[str, Any]:
    """Write the files of a set; the manifest."""
    from condensed_data.plotting import grid as plots

    result.write(folder)
    kind, labels = result.metadata.kind, result.class_indices.tolist()
    limits = (0.0, float(kind.max_value)) if kind.eight_bit else None
    picture = plots.grid(result.images, labels, result.metadata.classes, value_range=limits)
    plots.save(picture, folder / layout.GRID)
    return artifact.read_manifest(folder)
