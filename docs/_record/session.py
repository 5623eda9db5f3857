"""Console sessions in a Markdown page: run them in a shell, and tell what is the same every time.

A session is a fenced block of the language ``console``: ``$`` and a blank begin a command, ``>`` and
a blank continue it, everything else is output.  All blocks of a page are typed into one shell, one
after the other, so that variables and the working directory last.  A comment before a block,
``<!-- session: first=8 last=3 -->``, cuts the output of its commands in the middle.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

_BLOCK = re.compile(
    r"(?:<!-- session: (?P<cut>[^>]*) -->\n)?```console\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_CUT = re.compile(r"(first|last)=(\d+)")
CUT = "..."
"""Stands for the lines that were left out."""

# Progress without a terminal: a line every ten seconds, on a slow machine only.
_PROGRESS = re.compile(r"^\w.*(?:\([\d,.]+/s\b.*\)|: \d+ .*so far)$\n?", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A command and what it wrote; ``first`` and ``last`` lines of that are shown, None for all."""

    command: str
    output: str
    first: int | None = None
    last: int = 0

    def shown(self) -> str:
        """Return the output as far as the page shows it."""
        lines = self.output.splitlines()
        if self.first is None or CUT in lines or len(lines) <= self.first + self.last + 1:
            return self.output
        end = lines[-self.last :] if self.last else []
        return "\n".join([*lines[: self.first], CUT, *end]) + "\n"


def steps(page: str) -> list[Step]:
    """Return all steps of a page, in order."""
    return [step for block in _BLOCK.finditer(page) for step in _steps_of(block)]


def with_steps(page: str, new: list[Step]) -> str:
    """Return the page with other commands and outputs in its blocks, as many as it has."""
    left = iter(new)

    def block(match: re.Match[str]) -> str:
        texts = []
        for _ in _steps_of(match):
            step = next(left)
            if re.search(r"^[$>] ", step.shown(), re.MULTILINE):
                raise ValueError(f"The output of `{step.command}` looks like a command: cut it.")
            texts.append("$ " + step.command.replace("\n", "\n> ") + "\n" + step.shown())
        comment = match[0][: match[0].index("```console")]
        return f"{comment}```console\n{''.join(texts)}```"

    return _BLOCK.sub(block, page)


def _steps_of(block: re.Match[str]) -> Iterator[Step]:
    cut = {key: int(number) for key, number in _CUT.findall(block["cut"] or "")}
    command, output = "", ""
    for line in block["body"].splitlines():
        if line.startswith("$ "):
            if command:
                yield Step(command, output, cut.get("first"), cut.get("last", 0))
            command, output = line[2:], ""
        elif line.startswith("> ") and not output:
            command += f"\n{line[2:]}"
        else:
            output += f"{line}\n"
    yield Step(command, output, cut.get("first"), cut.get("last", 0))


_PORT = re.compile(r"http://127\.0\.0\.1:\d+")
_FOLDER = re.compile(r"\S*/mlflow-gc-demo-\w+")
_GROUP = re.compile(r"kill -- -(\d+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PLAN_FILE = re.compile(r"\S+\.json\b")


class Shell:
    """Types commands into one bash, as somebody who follows the page would.

    Commands on the page name the server, folder and processes of the demo that wrote the page;
    those of this session's demo take their place.

    Args:
        folder: where it starts, and where temporary files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={
                **inherited,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "TMPDIR": str(folder),
                "COLUMNS": "100",
                "PYTHONWARNINGS": "ignore",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._stdin = cast("IO[str]", self._bash.stdin)
        self._stdout = cast("IO[str]", self._bash.stdout)
        self._where = folder
        self._written = ""

    def run(self, step: Step) -> Step:
        """Return the step with what its command writes here."""
        command = self._translated(step.command)
        script = self._folder / "command.sh"
        script.write_text(f"{command}\n", encoding="utf-8")
        # Not on the shell's own stdin: a command could read the next one.
        self._stdin.write(f". {script} </dev/null; printf '\\n%s\\n' {_END}; pwd\n")
        self._stdin.flush()
        output = ""
        while not output.endswith(f"\n{_END}\n"):
            line = self._stdout.readline()
            if not line:
                raise RuntimeError(f"The shell ended at: {command}\n{output}")
            output += line
        self._where = Path(self._stdout.readline().strip())
        output = _PROGRESS.sub("", output.removesuffix(f"\n{_END}\n"))
        self._written += output
        # Readers have /tmp.
        shown = replace(
            step,
            command=command.replace(str(self._folder), "/tmp"),  # noqa: S108 - words on a page
            output=output.replace(str(self._folder), "/tmp"),  # noqa: S108
        )
        lines = [line.rstrip() for line in shown.output.rstrip().splitlines()]
        return replace(shown, output="".join(f"{line}\n" for line in lines))

    def _translated(self, command: str) -> str:
        for pattern in (_PORT, _FOLDER, _GROUP):
            if found := pattern.search(self._written):
                command = pattern.sub(found[0], command)
        if _DIGEST.search(command) and (name := _PLAN_FILE.search(command)):
            plan = json.loads((self._where / name[0]).read_text(encoding="utf-8"))
            command = _DIGEST.sub(plan["plan_id"], command)
        return command

    def close(self) -> None:
        """End the shell, and the server of the demo if it still runs."""
        self._bash.kill()
        self._bash.communicate()
        for group in _GROUP.findall(self._written):
            with suppress(ProcessLookupError):
                os.killpg(int(group), signal.SIGKILL)


_END = "--end-of-command--"


@contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    """Open a shell in a folder, and leave nothing running."""
    running = Shell(folder)
    try:
        yield running
    finally:
        running.close()


_VOLATILE = (
    (re.compile(r"\b(?:m-)?[0-9a-f]{32}\b"), "<id>"),
    (_DIGEST, "<digest>"),
    (re.compile(r"\d{4}-\d{2}-\d{2}T[\d:.]+Z"), "<time>"),
    (re.compile(r"\d{4}-\d{2}-\d{2}"), "<day>"),
    (_PORT, "<server>"),
    (_FOLDER, "<folder>"),
    (_GROUP, "kill -- -<group>"),
    (re.compile(r"\b(?:\d+ to )?\d+ (second|day|d)s?\b"), r"<n> \1"),
    (re.compile(r"[ \t]+"), " "),
    # Which of several is the example depends on their ids.
    (re.compile(r"(for example) .*"), r"\1 <example>"),
    (re.compile(r"^( \+ [\d,]+ [a-z ]+ [a-z_]+) .*", re.MULTILINE), r"\1 <example>"),
)


def lasting(step: Step) -> str:
    """Return what is the same in every session: no ids, digests, times and widths of columns."""
    found = f"$ {step.command}\n{step.shown()}"
    for pattern, instead in _VOLATILE:
        found = pattern.sub(instead, found)
    return found
