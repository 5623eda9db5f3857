"""Run a command on a terminal, and make a picture of what stands there."""

from __future__ import annotations

import errno
import fcntl
import html
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
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

_PAGE = """<!doctype html>
<meta charset="utf-8">
<style>
  body {{ margin: 0; background: #161b22; width: max-content; }}
  pre {{
    /* A terminal breaks what is too long for its last column. */
    font: 14px/1.35 "DejaVu Sans Mono", monospace; width: {columns}ch; padding: 14px 18px;
    margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; word-break: break-all;
    color: {foreground}; font-variant-ligatures: none;
  }}
  .prompt {{ color: #7ee787; }}
</style>
<pre><span class="prompt">$ </span><b>{command}</b>
{code}</pre>
"""


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


def as_page(command: str, written: str, *, first: int | None = None) -> str:
    """Return a page that looks like the terminal.

    Args:
        command: what was typed.
        written: what came back, with colours.
        first: show only so many lines, as a window that is no higher would; None for all.
    """
    lines = written.rstrip("\n").split("\n")[:first]
    text = Text("\n").join(Text.from_ansi(line) for line in lines)
    console = Console(record=True, file=io.StringIO(), width=10_000)
    console.print(text, soft_wrap=True)
    inner = console.export_html(theme=_THEME, inline_styles=True, code_format="{code}")
    # A link would be another colour in a browser, and nobody can click on a picture.
    inner = re.sub(r"</?a\b[^>]*>", "", inner)
    return _PAGE.format(
        command=html.escape(command),
        code=inner,
        columns=COLUMNS,
        foreground=_THEME.foreground_color.hex,
    )
