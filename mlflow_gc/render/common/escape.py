"""Escaping of untrusted text from a server: it is shown, never interpreted.

Names, tags and descriptions can contain terminal escapes, line breaks, bidirectional marks and
markup of any kind.
"""

from __future__ import annotations

import re
import unicodedata

# Characters that change the text direction, or are invisible: one name can imitate another.
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LOG_COMMAND = re.compile(r"##(\[|vso\[|teamcity\[)")
# Blank letters and symbols: Hangul fillers, the Braille blank, the grapheme joiner.
_BLANKS = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0", "\u034f"}
_ALLOWED = {"\u200d"}  # joins emoji; harmless elsewhere


def plain(text: str, *, most: int | None = None) -> str:
    """Return text safe for one cell of a terminal line: no control, no line break, no bidi.

    ``most`` is the maximum number of characters, the last one is ``…`` then; never used for ids.
    """
    shown = text if text.isascii() and text.isprintable() else "".join(map(_visible, text))
    # Azure Pipelines, TeamCity and old GitHub runners execute these in a line of a job's log, the
    # first and the last of them anywhere in it.
    shown = _LOG_COMMAND.sub(r"#\\x23\1", shown)
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    return shown


def _visible(char: str) -> str:
    if char in _ALLOWED:
        return char
    if char in _BLANKS or unicodedata.category(char) in _INVISIBLE_CATEGORIES:
        code = ord(char)
        named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
        return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
    return char
