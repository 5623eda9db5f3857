"""Terminals and logs that views are printed on, without a terminal."""

from __future__ import annotations

import io
import re
import unicodedata

from rich.cells import cell_len
from rich.console import Console

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HOSTILE = [
    "[red]x[/red][link=http://evil]y[/link][/]",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b31m",
    "a\nb\r\nc\u2028d\u2029e\x0b\x0cf",
    "\u202etxt.exe\u2066\u200f\u200b\ufeff",
    "<script>alert(1)</script>",
    "::set-output name=x::y",
    "::error::pwned",
    "##vso[task.complete]##[error]x##teamcity[x]",
    "größe-模型-🚀 👩\u200d🔬 e\u0301\u0301\u0301",
    "日本語" * 40,
    "long " * 400,
    "a\u0300" * 500,
    "",
    " ",
    "-",
]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(width: int, *, no_color: bool = False) -> Console:
    """A terminal of so many cells."""
    return _console(_Terminal(), width=width, force_terminal=True, no_color=no_color)


def log() -> Console:
    """A job's log, or a file."""
    return _console(io.StringIO(), force_terminal=False)


def _console(file: io.StringIO, **options: object) -> Console:
    return Console(
        file=file,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        color_system="truecolor" if options.get("force_terminal") else None,
        legacy_windows=False,
        **options,  # type: ignore[arg-type]
    )


def shown(console: Console) -> str:
    """What it shows, colours aside."""
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def lines(console: Console) -> list[str]:
    """Its lines."""
    text = shown(console)
    assert text.endswith("\n") or not text
    return text.split("\n")[:-1]


def assert_harmless(console: Console) -> None:
    """No character steers the terminal, and no line begins with a CI system's command."""
    for line in lines(console):
        for char in line:
            assert unicodedata.category(char) not in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}, line
            assert char not in BIDI, line
        assert not line.lstrip().startswith(("::", "##")), line
        assert "##vso[" not in line
        assert "##teamcity[" not in line
        assert "##[" not in line


def width(line: str) -> int:
    """How many cells it fills."""
    return cell_len(line)
