"""Write what a reviewer reads: the run's summary and the comment on the pull request.

Called by report.sh with the step's directory, the name of the plan and how it compares with the
earlier one.  Prints the facts that become outputs of the action, one ``name=value`` per line: only
numbers, booleans and the digest, nothing that a server or a person wrote.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

# GitHub refuses comments of more than 65,536 characters; counting bytes is on the safe side.  The
# rest is for the marker and the link that comment.py adds.
COMMENT_BYTES = 64_000
# The runner drops a summary of more than 1 MiB, and hiding secrets may make it longer.
SUMMARY_BYTES = 1_000_000
KINDS = ("experiments", "runs", "model_versions", "registered_models")
_CUT = "**Cut here.** The whole is in the artifact of the run; what gets approved is the plan id."
_EARLIER = {
    "none": "There is no earlier plan to compare with.",
    "same": "Nothing has changed since the earlier plan.",
    "unknown": "It could not be compared with the earlier plan; the log of the run says why.",
}


def main(scratch: Path, name: str, earlier: str) -> None:
    """Write ``summary.md`` and ``comment.md``, and print the facts.

    Args:
        scratch: holds ``files/prune-plan.json``, ``plan-short.md``, ``plan-long.md`` and, if it
            differs, ``diff.md``.
        name: the plan's, checked by install.sh.
        earlier: ``none``, ``same``, ``different`` or ``unknown``.
    """
    plan = json.loads((scratch / "files" / "prune-plan.json").read_bytes())
    found = facts(plan, earlier)
    if earlier == "different":
        compared = (scratch / "diff.md").read_text(encoding="utf-8")
    else:
        compared = _EARLIER[earlier]
    for file, source, budget in (
        ("comment.md", "plan-short.md", COMMENT_BYTES),
        ("summary.md", "plan-long.md", SUMMARY_BYTES),
    ):
        whole = (scratch / source).read_text(encoding="utf-8")
        text = compose(head(plan, name, found), compared, whole, budget)
        (scratch / file).write_text(text, encoding="utf-8")
    sys.stdout.writelines(f"{key}={value}\n" for key, value in found.items())


def facts(plan: dict[str, Any], earlier: str) -> dict[str, str]:
    """Return the outputs of the action that a plan determines.

    Raises:
        ValueError: the plan's ``plan_id`` is no digest.
    """
    plan_id = str(plan["plan_id"])
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", plan_id):
        raise ValueError("plan_id is no SHA-256 digest")
    deletes = sum(int(plan["summary"][kind]["delete"]) for kind in KINDS)
    changes = earlier == "different" or (earlier != "same" and deletes > 0)
    return {
        "plan-id": plan_id,
        "deletes": str(deletes),
        "irreversible": str(int(plan["summary"]["irreversible"])),
        "applyable": "true" if plan["applyable"] is True else "false",
        "changes": "true" if changes else "false",
    }


def head(plan: dict[str, Any], name: str, found: dict[str, str]) -> str:
    """Return heading and digest: what everybody has to see."""
    deletes, irreversible = found["deletes"], found["irreversible"]
    words = f"{deletes} to delete" if deletes != "0" else "nothing to delete"
    if irreversible != "0":
        words += f", {irreversible} of them cannot be undone"
    if found["applyable"] == "false":
        words += "; **the plan cannot be applied**"
    until = f", to be applied before {plan['expires_at']}" if plan["expires_at"] else ""
    return f"### `{name}`: {words}\n\n`{found['plan-id']}`{until}\n"


def compose(top: str, compared: str, whole: str, budget: int) -> str:
    """Return the text: what changed, then the whole plan, folded; cut to ``budget`` bytes."""
    changed = f"{top}\n{fit(compared, budget - _size(top) - 200)}\n"
    opened = "<details><summary>The whole plan</summary>\n\n"
    closed = "\n</details>\n"
    room = budget - _size(changed) - _size(opened) - _size(closed)
    if room < 2 * _size(_CUT):
        return changed
    return f"{changed}{opened}{fit(whole, room)}{closed}"


def fit(text: str, budget: int) -> str:
    """Return text that takes at most ``budget`` bytes: whole, or whole lines with a word about it.

    Sections that are open where it is cut are closed: what follows must not be folded away.
    """
    if _size(text) <= budget:
        return text
    kept: list[str] = []
    left, opened = budget - _size(_CUT) - 2, 0
    for line in text.splitlines():
        opened_then = opened + line.count("<details") - line.count("</details>")
        left -= _size(line) + 1
        if left < opened_then * _size("\n</details>\n"):
            break
        kept.append(line)
        opened = opened_then
    return "\n".join([*kept, *["", "</details>"] * opened, "", _CUT])


def _size(text: str) -> int:
    return len(text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
