"""Run commands on a terminal, and make a moving picture of what stands there."""

from __future__ import annotations

import errno
import fcntl
import html
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS = 110
ROWS = 40

# Background, foreground, and the sixteen colours of a terminal.
_THEME = TerminalTheme(
    (22, 27, 34),
    (225, 228, 232),
    [
        (22, 27, 34), (248, 81, 73), (86, 211, 100), (227, 179, 65),
        (108, 182, 255), (210, 168, 255), (86, 212, 221), (225, 228, 232),
    ],
    [
        (139, 148, 158), (255, 123, 114), (126, 231, 135), (242, 204, 96),
        (145, 203, 255), (226, 197, 255), (157, 236, 243), (255, 255, 255),
    ],
)  # fmt: skip

_CELL, _LINE, _EDGE = 8.43, 19, 16  # in pixels, at the font size below

_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" fill="{foreground}">
<style>
{styles}
@media (prefers-reduced-motion: reduce) {{ g {{ animation: none !important; }} }}
</style>
<rect width="100%" height="100%" rx="6" fill="{background}"/>
{groups}
</svg>
"""


@dataclass(frozen=True)
class Block:
    """Lines of a recording, on the screen from one second of it to another.

    Attributes:
        lines: with their colours.
        row: of its first line.
        begin: seconds from the start of the recording.
        end: seconds from the start of the recording.
    """

    lines: tuple[Text, ...]
    row: int
    begin: float
    end: float


def run_on_terminal(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], codes: Sequence[int]
) -> str:
    """Return what a command writes to its terminal, colours included; its stderr is left out.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        environment: all of it.
        codes: exit codes that are as expected.

    Raises:
        RuntimeError: another exit code; holds what the command said.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)},
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=subprocess.PIPE,
    )
    os.close(its)
    written = b""
    while chunk := _read(ours):
        written += chunk
    os.close(ours)
    _, said = process.communicate()
    if process.returncode not in codes:
        words = said.decode(errors="replace")
        raise RuntimeError(f"{shlex.join(command)} ended with {process.returncode}: {words}")
    return written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        # Linux says so when the last writer is gone.
        if error.errno == errno.EIO:
            return b""
        raise


def lines_on_terminal(written: str) -> tuple[Text, ...]:
    """Return what was written, line by line; a terminal breaks lines at its last column."""
    texts = map(Text.from_ansi, written.rstrip("\n").split("\n"))
    return tuple(
        piece for text in texts for piece in text.divide(range(COLUMNS, len(text), COLUMNS))
    )


def as_svg(blocks: Sequence[Block]) -> str:
    """Return a picture that repeats the recording; where nothing moves, it is the first screen."""
    length = max(block.end for block in blocks)
    rows = max(block.row + len(block.lines) for block in blocks)
    styles, groups = [], []
    for number, block in enumerate(blocks):
        begin, end = (f"{100 * at / length:.2f}%" for at in (block.begin, block.end))
        at_first = "visible" if block.end == blocks[0].end else "hidden"
        styles.append(
            f"@keyframes k{number} {{ 0% {{ visibility: hidden; }} {begin} {{ visibility: visible; }} "
            f"{end} {{ visibility: hidden; }} 100% {{ visibility: hidden; }} }}\n"
            f"#b{number} {{ visibility: {at_first}; animation: k{number} {length}s step-end infinite; }}"
        )
        lines = [_svg_line(line, block.row + row) for row, line in enumerate(block.lines)]
        groups.append(f'<g id="b{number}">\n{"".join(filter(None, lines))}</g>')
    return _SVG.format(
        width=round(COLUMNS * _CELL + 2 * _EDGE),
        height=rows * _LINE + 2 * _EDGE,
        foreground=_THEME.foreground_color.hex,
        background=_THEME.background_color.hex,
        styles="\n".join(styles),
        groups="\n".join(groups),
    )


def _svg_line(line: Text, row: int) -> str:
    column, spans = 0, []
    console = Console(color_system="truecolor", force_terminal=True, width=10_000)
    for part in line.render(console):
        style = part.style or Style()
        facts = []
        if style.color is not None and not style.color.is_default:
            facts.append(f' fill="{style.color.get_truecolor(_THEME).hex}"')
        facts += [' font-weight="bold"'] if style.bold else []
        facts += [' opacity="0.6"'] if style.dim else []
        # A place for each word of a table: no viewer has to keep blanks, or to know this font.
        for word in re.finditer(r"\S+(?: \S+)*", part.text):
            x = _EDGE + (column + cell_len(part.text[: word.start()])) * _CELL
            text = html.escape(word[0], quote=False)
            spans.append(f'<tspan x="{x:.1f}"{"".join(facts)}>{text}</tspan>')
        column += cell_len(part.text)
    y = _EDGE + row * _LINE + 14
    return f'<text y="{y}">{"".join(spans)}</text>\n' if spans else ""


def lines_of(svg: str) -> list[str]:
    """Return the lines of text in a picture, without their places and colours."""
    found = re.findall(r"<text [^>]*>(.*)</text>", svg)
    return [html.unescape(" ".join(re.findall("<tspan.*?>(.*?)</tspan>", line))) for line in found]
