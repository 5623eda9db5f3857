"""Text from the server is hostile: it is made visible, never interpreted.

Names, tags and descriptions can hold terminal escapes, line breaks, bidirectional marks and
markup of any kind.
"""

from __future__ import annotations

import re
import unicodedata

# Marks that turn the direction of what follows, or take no room: a name can fake another one.
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LOG_COMMAND = re.compile(r"##(\[|vso\[|teamcity\[)")
# Letters and symbols that draw nothing: Hangul fillers, the Braille blank, the grapheme joiner.
_BLANKS = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0", "\u034f"}
_ALLOWED = {"\u200d"}  # joins emoji; harmless where it joins nothing


def plain(text: str, *, most: int | None = None) -> str:
    """Return text safe for one cell of a terminal line: no control, no line break, no marks.

    Args:
        text: anything.
        most: cut to so many characters, the last one then being ``…``; never used for ids.
    """
    shown = text if text.isascii() and text.isprintable() else "".join(map(_visible, text))
    # Azure Pipelines, TeamCity and old GitHub runners act on these in a line of a job's log, the
    # first and the last anywhere in it.
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
