"""What the tests stand on: real servers, data in them, the program as a process, an oracle."""

import select
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]
"""The checkout."""


class HasFile(Protocol):
    """Something with a file descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def is_readable(file: int | HasFile, seconds: float) -> bool:
    """Wait until there is something to read, or the end; select() stops at descriptor 1,023."""
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
