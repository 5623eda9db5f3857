"""Whether a plan can be applied now, in a sentence."""

from __future__ import annotations

from typing import Any

from mlflow_gc.clock import now_ms, parse_time


def validity(plan: dict[str, Any]) -> str:
    """Return until when a plan can be applied, or why it cannot."""
    if not plan["applyable"]:
        if not plan["complete"]:
            return "Incomplete: it cannot be applied."
        codes = {diagnostic["code"] for diagnostic in plan["diagnostics"]}
        why = "A forecast" if "forecast" in codes else "A guard is tripped"
        return f"{why}: it cannot be applied."
    if plan["expires_at"] and parse_time(plan["expires_at"]) <= now_ms():
        return f"Expired at {plan['expires_at']}: it cannot be applied any more."
    return f"Valid until {plan['expires_at']}." if plan["expires_at"] else "It does not expire."
