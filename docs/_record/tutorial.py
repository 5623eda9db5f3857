"""Run the tutorial on a fresh demo server and write down what happened: ``make tutorial``.

``--check`` writes nothing, says what is not as the page shows it, and exits with 1 if anything is.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
from pathlib import Path

from session import lasting, shell, steps, with_steps

PAGE = Path(__file__).parents[1] / "tutorial.md"


def replay(page: str, folder: Path) -> str:
    """Return the page with what its commands write today.

    Args:
        page: Markdown with sessions.
        folder: an empty one, for everything the commands leave behind.
    """
    with shell(folder) as running:
        return with_steps(page, [running.run(step) for step in steps(page)])


def differences(before: str, after: str) -> list[str]:
    """Return the lines of the sessions that are not what they were, volatile parts aside."""
    old, new = ("".join(map(lasting, steps(page))).splitlines() for page in (before, after))
    return list(difflib.unified_diff(old, new, "the page", "the program", lineterm=""))


def main() -> None:
    """Rewrite the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        replayed = replay(page, Path(folder))
    found = differences(page, replayed)
    sys.stdout.write("".join(f"{line}\n" for line in found))
    if not arguments.check:
        PAGE.write_text(replayed, encoding="utf-8")
    sys.exit(1 if found and arguments.check else 0)


if __name__ == "__main__":
    main()
