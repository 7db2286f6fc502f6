"""Names as an attacker would choose them."""

from __future__ import annotations

import unicodedata

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "`code` ```fence```",
    "a|b|c",
    "line\nbreak\r\n# heading",
    "\n---\ntags: [x]",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31m",
    "back\b\b\b\bspace\x07",
    "abc\u202egnp.exe",
    "\u2066isolated\u2069",
    "zero\u200bwidth\ufeff",
    "nul\x00l",
    "half \ud800 character",
    "a" * 10_000,
    "[link](http://evil.example) ![image](http://evil.example/x.png)",
    "http://evil.example/track?me",
    "*bold* _under_ ~~gone~~ $x$ &lt; &#60;",
    "<!-- condensed-data: end -->",
    "'\"; quotes",
    "\u2028separator\u2029",
)


def has_controls(text: str) -> bool:
    """Whether a character in it acts instead of being shown."""
    kinds = {unicodedata.category(letter) for letter in text if letter not in "\u200c\u200d"}
    return bool(kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"})
