"""Makes text of others harmless where it is shown: on a terminal, in Markdown and in HTML.

Names of classes, datasets, files and repositories may come from a download. Control characters could rewrite what a
terminal shows, and characters that change the direction of writing could reorder it.
"""

from __future__ import annotations

import html
import re
from typing import Any

MAX_NAME = 200  # characters shown of a name
MAX_STORED = 900  # characters kept of a name; a manifest allows 1,000
# controls, invisible separators and marks, changes of direction, halves of characters, tags; not the joiners of scripts
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~&$]|:(?=//))")  # with what makes a link of "scheme://"


def visible(text: str, keep: str = "") -> str:
    """`text` for a terminal: characters that would act or hide are shown as Python's escapes, except `keep`."""
    return _INVISIBLE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def visible_name(name: str) -> str:
    """A name on one line of a terminal, at most `MAX_NAME` characters of it."""
    shown = visible(" ".join(name.split()))
    return shown if len(shown) <= MAX_NAME else shown[: MAX_NAME - 1] + "…"


def storable_name(name: str) -> str:
    """A name as files can hold it: halves of characters (undecodable file names) as escapes, long ones cut."""
    stored = re.sub("[\ud800-\udfff]", lambda found: _escaped(found[0]), name)
    return stored if len(stored) <= MAX_STORED else stored[: MAX_STORED - 1] + "…"


def markdown(text: str) -> str:
    """`text` on one line, with everything escaped that has a meaning in Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", visible(" ".join(text.split())))


def html_text(text: str) -> str:
    """`text` for HTML; line breaks stay."""
    return html.escape(visible(text, "\n"))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class VisibleMessage(Exception):
    """An exception whose message may quote text of others, which is made visible."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*(visible(item) if isinstance(item, str) else item for item in arguments))
