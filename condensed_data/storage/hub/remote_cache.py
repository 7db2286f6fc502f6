"""Uses a Hub repository as a cache: fetches a finished result before condensing, and publishes a new one.

The Hub makes a build faster and never makes it fail. Problems are warnings, except for those that the user can fix
before a long run starts: an invalid repository name, or a token that the Hub rejects although a push is requested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.errors import ArtifactError
from condensed_data.core.hub_errors import HubError, HubUnavailableError
from condensed_data.storage.result import CondensationResult


@dataclass
class HubCache:
    """A Hub repository used as a cache for one build."""

    repo_id: str
    push: bool  # whether to publish the result
    commit: str | None = None  # that the result was loaded from

    @staticmethod
    def from_options(hub: str | None, push: bool) -> HubCache | None:
        """The cache for the arguments `hub` and `push` of a build, or None without a repository.

        Raises:
            ValueError: if the repository name is invalid, or push=True is given without a repository.
            HubAccessError: if push=True and the Hub rejects the token.
        """
        if hub is None:
            if push:
                raise ValueError('push=True needs a repository. Give hub="user/name" as well.')
            return None
        from condensed_data.storage.hub.client import check_name
        from condensed_data.storage.hub.push import check_access

        hub_cache = HubCache(check_name(hub), push)
        if push:
            try:
                check_access(hub)
            except HubUnavailableError as error:
                warn_caller(f"Publishing the result may fail: {error}")
        return hub_cache

    def fetch(self, key: str, content: Mapping[str, Any]) -> CondensationResult | None:
        """The result of the build with a cache key, or None; see `search.lookup`."""
        from condensed_data.storage.hub.search import lookup

        try:
            found = lookup(self.repo_id, key, content)
        except (HubError, ArtifactError, OSError) as error:
            warn_caller(f"Could not load the result from the Hub; condensing locally instead. {error}")
            return None
        if found is None:
            return None
        self.commit = found.commit
        return found.result

    def publish(self, result: CondensationResult) -> None:
        """Publish a result if push=True and it was not loaded from the repository."""
        if not self.push or self.commit is not None:
            return
        from condensed_data.storage.hub.push import publish_build

        try:
            publish_build(result, self.repo_id)
        except (HubError, ArtifactError, OSError, ValueError, ImportError) as error:
            warn_caller(
                f"The result is ready, but publishing failed: {error} Publish it with push_to_hub({self.repo_id!r})."
            )
