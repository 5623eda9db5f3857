"""May the plan be applied?  What the head of the page says, and the banner above everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_gc.clock import now_ms
from mlflow_gc.plan.build import GUARD
from mlflow_gc.views.html.entries import milliseconds

EXPIRED = "Expired: this plan cannot be applied any more"


@dataclass(frozen=True)
class Standing:
    """Whether prune would take the plan, as far as the plan itself tells.

    Attributes:
        may_be_applied: prune would take it.
        headline: in one sentence, without a full stop.
        sentences: what is behind that.
        advice: what to do.
    """

    may_be_applied: bool
    headline: str
    sentences: tuple[str, ...] = ()
    advice: str = ""


def standing(plan: Mapping[str, Any], problems: Sequence[str]) -> Standing:
    """Return where a plan stands now.

    Args:
        plan: the document.
        problems: what is wrong with it, in sentences: it was edited, it contradicts itself.
    """
    said = tuple(d["message"] for d in plan["diagnostics"])
    codes = {d["code"] for d in plan["diagnostics"]}
    again = "Make and review a new one: mlflow-gc report."
    if problems:
        headline = "Not what was made: prune refuses this file"
        return Standing(False, headline, (*problems, *said), again)
    if not plan["applyable"]:
        if not plan["complete"]:
            headline = "Incomplete: this plan cannot be applied"
            advice = "Mend the cause and make a new plan: mlflow-gc report."
        elif "forecast" in codes:
            headline = "A forecast: this plan cannot be applied"
            advice = "It shows what would be stale then. Make one without --as-of to apply it."
        elif GUARD in codes:
            headline = "A guard is tripped: this plan cannot be applied"
            advice = (
                "Look at what goes. If all of it should, raise that guard in the policy file and "
                "make a new plan: mlflow-gc report."
            )
        else:
            headline, advice = "This plan cannot be applied", again
        return Standing(False, headline, said, advice)
    expires = milliseconds(plan["expires_at"])
    if expires is not None and expires <= now_ms():
        return Standing(False, EXPIRED, (f"It was valid until {plan['expires_at']}.",), again)
    return Standing(True, "Can be applied")
