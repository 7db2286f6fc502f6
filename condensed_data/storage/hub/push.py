"""Publishes a condensed dataset to a Hub repository in one commit; see `commit.py` for the protocol."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from condensed_data.core.atomic import temporary
from condensed_data.core.hub_errors import ConcurrentPushError, HubError, HubUnavailableError, translate_hub_errors
from condensed_data.storage import artifact, display, parquet
from condensed_data.storage.hub import layout
from condensed_data.storage.hub.client import check_name, client
from condensed_data.storage.hub.commit import Manifests, Push, PushOptions, PushResult
from condensed_data.storage.result import CondensationResult

_NOTHING = "Nothing was published."
_WHOLE = "The dataset is published as a whole or not at all; push again, what is there already is not sent twice."
_REQUEST = "Check its pull requests before you push again: each push with create_pr opens a new one."


def push(result: CondensationResult, options: PushOptions, config_name: str) -> PushResult:
    """Publish a condensed dataset under the given name; `HubMixin.push_to_hub` documents arguments and errors."""
    layout.check_config(config_name)
    pushed = publish(result, options, lambda manifests: config_name)
    assert pushed is not None  # the name is given
    return pushed


def publish_build(result: CondensationResult, repo_id: str) -> PushResult | None:
    """Publish the result of a build under an unused name, unless the repository already has it.

    Returns:
        The commit, or None if the repository already has the result.

    Raises:
        The same errors as `push`.
    """
    key = result.metadata.key
    if key is None:
        raise ValueError(
            f"{repo_id}: this dataset has no cache key: its recipe contains a function without a name, or it was "
            "condensed without a cache. Publish it with push_to_hub(config_name=...)."
        )

    def choose(manifests: Manifests) -> str | None:
        if any(manifest.get("cache_key") == key for manifest in manifests.values()):
            return None
        plain = re.sub("[^A-Za-z0-9_-]", "-", f"{result.metadata.recipe_name}-ipc{result.metadata.ipc}")[:80]
        return plain if plain not in manifests and layout.is_config(plain) else f"{plain}-{key[:8]}"

    return publish(result, PushOptions(repo_id), choose)


def check_access(repo_id: str) -> None:
    """Check before a long run that the Hub accepts the token on this machine.

    Raises:
        HubError: or one of its subclasses, if it does not.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    api = client(None)
    with translate_hub_errors(repo_id):
        # this request has a timeout, unlike the next one
        with suppress(RepositoryNotFoundError):
            api.dataset_info(check_name(repo_id))
        api.whoami()


def publish(
    result: CondensationResult, options: PushOptions, choose: Callable[[Manifests], str | None]
) -> PushResult | None:
    """Publish under the name that `choose` returns for the manifests in the repository; None publishes nothing."""
    _check_preview(result)
    with temporary(Path(tempfile.gettempdir()), folder=True) as folder:
        folder.chmod(0o700)  # others may read the system's temporary folder
        written = _write(result, folder / "set")
        try:
            with translate_hub_errors(options.repo_id, options.revision, folder=folder):
                return Push(options, client(options.token), folder, written, choose).run()
        except HubError as error:
            raise type(error)(f"{error} {_state(error, options)}") from error


def _state(error: HubError, options: PushOptions) -> str:
    """What a failed push left, and how to continue; the response to a commit may be all that was lost."""
    if not isinstance(error, HubUnavailableError | ConcurrentPushError):
        return _NOTHING
    return _REQUEST if options.create_pr else _WHOLE


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
    result.save(folder)
    display.grid(result, folder / layout.GRID)
    return artifact.read_manifest(folder)
