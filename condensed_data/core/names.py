"""Messages about unknown names, with the known name that is most similar."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The sentence " Did you mean 'convnet'?" for a `name` that resembles a known one, else an empty string."""
    text, names = str(name).lower().replace("-", "_"), list(known)
    folded = {other.lower().replace("-", "_"): other for other in reversed(names)}
    similar = difflib.get_close_matches(text, folded, n=1, cutoff=0.7)
    return f" Did you mean {folded[similar[0]]!r}?" if similar else ""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """The message for a name of some kind, such as "recipe" or "field", that is not among the known ones."""
    names = list(known)
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"Unknown {kind} {name!r}.{did_you_mean(name, names)} Known {plural}: {', '.join(names)}."
