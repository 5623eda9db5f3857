"""May this plan be trusted, and may it be applied?  Everything that can be told offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow_gc.clock import now_ms, parse_time
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.plan import schema
from mlflow_gc.plan.build import FORMAT, FORMAT_VERSION, GUARD
from mlflow_gc.plan.canonical import plan_id
from mlflow_gc.plan.entries import Document
from mlflow_gc.plan.expect import KNOWN_KEYS, time_or_none
from mlflow_gc.plan.file import read_plan
from mlflow_gc.retention.guards import COUNTED, GROUPS
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

GUARD_HINT = (
    "Look at what goes: mlflow-gc show. If all of it should, raise that guard in the policy file "
    "and make a new plan: mlflow-gc report."
)

KINDS = ("experiments", "runs", "model_versions", "registered_models")
"""The entity lists of a plan, in its order."""


def identify(kind: str, entity: Document) -> str:
    """Return the id of an entry of a plan's list: a run id, an experiment id or ``name/version``."""
    if kind == "runs":  # the most by far
        return str(entity["run_id"])
    if kind == "experiments":
        return str(entity["experiment_id"])
    if kind == "registered_models":
        return str(entity["name"])
    return f"{entity['name']}/{entity['version']}"


def load_plan(path: Path) -> Document:
    """Read a plan that is well formed; its digest is not looked at (see :func:`edited`).

    Raises:
        GcError: no such file, no JSON, no plan, or not what the schema says.
        Refused: a format version this program does not know.
    """
    document = read_plan(path)
    check_format(document, path, FORMAT, FORMAT_VERSION, "plan")
    found = schema.problems(document, "plan")
    if found:
        raise GcError(
            f"The plan {path} does not keep to its schema. " + " ".join(f"{p}." for p in found),
            hint="Make a new plan: mlflow-gc report.",
        )
    plan: Document = document
    return plan


def check_format(document: Any, path: Path, format_name: str, version: str, what: str) -> None:
    """Refuse a document of another format or of a major version that is not ours.

    Raises:
        GcError: it is something else.
        Refused: a newer major version.
    """
    if not isinstance(document, dict) or document.get("format") != format_name:
        raise GcError(f"{path} is not a {what} of mlflow-gc (its format is not {format_name!r}).")
    found = document.get("format_version")
    major = str(found).split(".", 1)[0]
    if major != version.split(".", 1)[0]:
        raise Refused(
            f"The {what} {path} has format version {found!r}; this program knows {version}.",
            hint="Use the mlflow-gc that wrote it, or make a new one.",
        )


def edited(plan: Document) -> str | None:
    """Return a sentence when the plan is not the one that its ``plan_id`` names, or None."""
    actual = plan_id(plan)
    if actual == plan["plan_id"]:
        return None
    return f"It was edited: its content has the digest {actual}, it says {plan['plan_id']}."


def inconsistencies(plan: Document) -> list[str]:
    """Return what a plan says that cannot all be true, one sentence each."""
    found: list[str] = []
    irreversible = 0
    for kind in KINDS:
        ids: set[str] = set()
        for entity in plan[kind]:
            entity_id = identify(kind, entity)
            if entity_id in ids:
                found.append(f"{kind}: {entity_id} is listed twice.")
            ids.add(entity_id)
            irreversible += not entity["reversible"]
        count, listed = plan["summary"][kind]["delete"], len(plan[kind])
        if count != listed:
            found.append(f"summary/{kind}: says {count} to delete, the list has {listed}.")
        kept = {identify(kind, entity) for entity in plan["protected"][kind]}
        found += [f"{kind}: {both} is deleted and protected." for both in sorted(kept & ids)]
    if irreversible != plan["summary"]["irreversible"]:
        found.append(
            f"summary/irreversible: says {plan['summary']['irreversible']}, "
            f"the lists have {irreversible}."
        )
    try:
        policy = Policy.from_document(plan["policy"], as_of=plan["as_of"])
    except (UsageProblem, ValueError) as error:  # in a policy file a slip, here the plan is wrong
        return [*found, f"policy: {error}"]
    if plan["policy"]["cutoff"] != time_or_none(policy.cutoff_ms):
        found.append("policy/cutoff: is not as_of minus the default TTL.")
    if plan["policy"]["ttl_days"] != policy.ttl_days:
        found.append("policy/ttl_days: is not the default TTL.")
    if plan["expires_at"] != time_or_none(policy.expires_at_ms):
        found.append("expires_at: is not as_of plus policy/expire_after.")
    if plan["applyable"] and not plan["complete"] and not policy.evidence.accept_partial_view:
        found.append("applyable: an incomplete plan cannot be.")
    return found


def unknown_expectations(plan: Document) -> list[str]:
    """Return preconditions, guards and rules that this program does not know how to check."""
    guards = plan["policy"]["guards"]
    limits = {f"guards: {key!r}" for key in set(guards) - {"max_deletions", "max_share_percent"}}
    for name, known in (("max_deletions", COUNTED), ("max_share_percent", COUNTED | GROUPS.keys())):
        limits |= {f"guards: {name} {key!r}" for key in set(guards[name]) - known}
    for rule in (plan["policy"]["default"], *plan["policy"]["rules"]):
        # What it cannot write again it has not understood.
        if Rule.from_document(rule).to_document() != rule:
            limits.add(f"rule {rule['name']!r}")
    return sorted(limits) + [
        f"{kind}: {identify(kind, entity)} expects {key!r}"
        for kind in KINDS
        for entity in plan[kind]
        if not entity["expect"].keys() <= KNOWN_KEYS[kind]
        for key in sorted(entity["expect"].keys() - KNOWN_KEYS[kind])
    ]


def verify(plan: Document, path: Path) -> None:
    """Refuse a plan that was edited or contradicts itself.

    Raises:
        Refused: with what is wrong.
    """
    if message := edited(plan):
        raise Refused(
            f"The plan {path} is refused. {message}",
            hint="Only reviewed plans are applied as they are. Make a new one: mlflow-gc report.",
        )
    if found := inconsistencies(plan):
        raise Refused(f"The plan {path} contradicts itself. " + " ".join(found[:5]))
    if unknown := unknown_expectations(plan):
        raise Refused(
            f"The plan {path} has preconditions that this version cannot check: "
            + "; ".join(unknown[:5])
            + ".",
            hint="Use the version of mlflow-gc that wrote the plan, or a newer one.",
        )


def verify_applyable(plan: Document, path: Path) -> None:
    """Refuse a plan that must not be applied now: incomplete, a forecast, or expired.

    Raises:
        Refused: with the reason and what to do.
    """
    if not plan["complete"] and not plan["applyable"]:
        said = " ".join(d["message"] for d in plan["diagnostics"][:3])
        raise Refused(
            f"The plan {path} is incomplete and cannot be applied. {said}",
            hint="Mend the cause and make a new plan: mlflow-gc report.",
        )
    now = now_ms()
    if parse_time(plan["as_of"]) > now:
        raise Refused(
            f"The plan {path} is a forecast: its as_of {plan['as_of']} lies in the future.",
            hint="Make a plan without --as-of. If you did, compare the clocks of the machines.",
        )
    if guards := [d["message"] for d in plan["diagnostics"] if d["code"] == GUARD]:
        raise Refused(f"The plan {path} trips a guard. " + " ".join(guards[:5]), hint=GUARD_HINT)
    if not plan["applyable"]:
        said = " ".join(d["message"] for d in plan["diagnostics"][:3])
        raise Refused(f"The plan {path} says that it cannot be applied. {said}")
    if plan["expires_at"] is not None and parse_time(plan["expires_at"]) <= now:
        raise Refused(
            f"The plan {path} expired at {plan['expires_at']}.",
            hint="Make and review a new one: mlflow-gc report.",
        )
    # Not only at the first tag or keep rule that asks for it, amid the deletions.
    _ = Policy.from_document(plan["policy"], as_of=plan["as_of"]).zone
