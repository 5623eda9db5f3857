"""The Dockerfile as the tests read it, and what it does, done without Docker in a directory."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

DOCKERFILE = ROOT / "Dockerfile"
_RULES = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined.

    Attributes:
        name: such as ``COPY``.
        text: what follows.
    """

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words, also those of the JSON form."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


def instructions() -> list[Instruction]:
    """All instructions of the Dockerfile, in order, without comments."""
    lines = [n for n in DOCKERFILE.read_text().splitlines() if not n.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line]


def named(name: str) -> list[Instruction]:
    """The instructions of one name."""
    return [each for each in instructions() if each.name == name]


def is_sent(path: str) -> bool:
    """Whether the build sees a file of the checkout: the last matching rule decides."""
    sent = True
    parents = ["/".join(path.split("/")[:n]) for n in range(1, path.count("/") + 2)]
    for rule in _RULES:
        pattern = rule.removeprefix("!").removeprefix("**/")
        names = path.split("/") if "**/" in rule else parents
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            sent = rule.startswith("!")
    return sent


def copied() -> dict[str, str]:
    """The files of the checkout in the image: where each is there, by its path here."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = {}
    for each in named("COPY"):
        *sources, target = each.words
        for source in sources:
            is_folder = (ROOT / source).is_dir()
            names = [n for n in listed if n == source or n.startswith(f"{source}/")]
            # A folder is copied without its own name.
            found |= {
                n: target + (n.removeprefix(f"{source}/") if is_folder else Path(n).name)
                for n in names
                if is_sent(n)
            }
    return found


def build(root: Path) -> None:
    """Copy and execute what the Dockerfile does, below ``root``, with the Python of the tests."""
    for here, there in copied().items():
        target = root / there.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / here, target)
    for each in named("RUN"):
        script = re.sub(r"(?<![\w.])/(opt|plans)\b", rf"{root}/\1", each.text)
        if os.geteuid() != 0:
            script = re.sub(r" -o \d+ -g \d+", "", script)
        folder = Path(sys.executable).parent
        subprocess.run(
            ["/bin/sh", "-c", script],
            cwd="/",
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            check=True,
            timeout=1500,
        )
