"""A repository that a build looks into before it condenses, and that its result may be published to.

The Hub makes a build faster; it never makes one fail. What is wrong with it is a warning, apart from what the user can
mend before long work starts: a name that is none, or a token that the Hub does not take where a push is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from condensed_data.core.errors import ArtifactError
from condensed_data.core.hub_errors import HubError, HubUnavailableError
from condensed_data.storage.result import CondensationResult


class HubCache:
    """One repository, for one build.

    Attributes:
        repo_id: "user/name".
        push: whether the result is to be published.
        commit: that the result was taken from, or None.
    """

    def __init__(self, repo_id: str, push: bool) -> None:
        self.repo_id, self.push = repo_id, push
        self.commit: str | None = None

    @staticmethod
    def of(hub: str | None, push: bool) -> HubCache | None:
        """For the arguments `hub` and `push` of a build.

        Raises:
            ValueError: for a name that is none, or a push to nowhere.
            HubAccessError: where a push is asked for and the Hub does not take the token.
        """
        if hub is None:
            if push:
                raise ValueError('push=True needs to know where to: give hub="user/name" as well.')
            return None
        from condensed_data.storage.hub.push import check_access
        from condensed_data.storage.hub.repository import check_name

        hub_cache = HubCache(check_name(hub), push)
        if push:
            try:
                check_access(hub)
            except HubUnavailableError as error:
                warnings.warn(f"The result may not be published: {error}", stacklevel=3)
        return hub_cache

    def take(self, key: str, content: Mapping[str, Any]) -> CondensationResult | None:
        """The result of a build, where the repository has it.

        Args:
            key: of the build; content: what it is the key of.
        """
        from condensed_data.storage.hub.search import lookup

        try:
            found = lookup(self.repo_id, key, content)
        except (HubError, ArtifactError, OSError) as error:
            warnings.warn(f"The set is condensed here, and not taken from the Hub: {error}", stacklevel=7)
            return None
        if found is None:
            return None
        self.commit = found.commit
        return found.result

    def offer(self, result: CondensationResult) -> None:
        """Publish a result, where that was asked for and it did not come from there."""
        if not self.push or self.commit is not None:
            return
        from condensed_data.storage.hub.push import publish_build

        try:
            publish_build(result, self.repo_id)
        except (HubError, ArtifactError, OSError, ValueError, ImportError) as error:
            warnings.warn(
                f"The set is finished, and not published: {error} push_to_hub({self.repo_id!r}) tries it again.",
                stacklevel=3,
            )
