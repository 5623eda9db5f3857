"""Errors for people, and the exit codes they end in.

Everything a user can cause is raised as a :class:`GcError`; ``mlflow_gc.__main__`` is the one
place that converts it to text on stderr and a process exit code.
"""

from __future__ import annotations

from enum import IntEnum

from mlflow_gc.domain.redaction import hide


class ExitCode(IntEnum):
    """Process exit codes; part of the contract with scripts and CI."""

    OK = 0
    """Done; where 2 is possible: nothing to delete, no difference."""
    ERROR = 1
    """An error; the message says which."""
    SOMETHING = 2
    """Only ever "there is something": differences, deletions, changes."""
    PARTIAL = 3
    """A prune, restore or mark ended and some entities failed or were forbidden."""
    REFUSED = 5
    """Refused before anything was changed, or a plan that cannot be applied, for whatever cause."""
    USAGE = 64
    """A flag, argument, variable or file cannot be used as it is."""
    SIGINT = 130
    """Stopped by SIGINT (Ctrl-C): requests in flight were finished, the journal is complete."""
    SIGTERM = 143
    """Stopped by SIGTERM, in the same way."""


_LONGEST = 900


def _cut(message: str) -> str:
    """Truncate the middle of a message that quotes too much of a file or server."""
    if len(message) <= _LONGEST:
        return message
    return f"{message[: _LONGEST - 200]} ... {message[-150:]}"


class GcError(Exception):
    """What happened (``message``), and what to do next (``hint``).

    Attributes:
        message: one or a few sentences that name the entity, file or setting.
        hint: the next step for the person who reads it, or None.
        exit_code: exit code of the process.
    """

    exit_code: ExitCode = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Before truncation, which may leave a part of a secret.
        self.message = _cut(hide(message))
        super().__init__(self.message)
        self.hint = hide(hint) if hint else hint


class UsageProblem(GcError):
    """A flag, environment variable, secret or argument cannot be used."""

    exit_code = ExitCode.USAGE


class Refused(GcError):
    """Refused before anything was changed: digest, expiry, other server, incomplete plan."""

    exit_code = ExitCode.REFUSED
