"""What the tests stand on: real servers, data in them, the program as a process, an oracle."""

import re
import select
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]
"""The checkout."""

REPOSITORY = re.findall(
    r'^Repository = "https://github\.com/([^"]+)"$',
    (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    re.MULTILINE,
)[0]
"""Owner and name of this repository on its code host."""


class HasFile(Protocol):
    """Something with a file descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def is_readable(file: int | HasFile, seconds: float) -> bool:
    """Wait until there is something to read, or the end; select() stops at descriptor 1,023."""
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
