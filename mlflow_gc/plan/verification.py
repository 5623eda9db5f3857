"""May this plan be trusted, and may it be applied?  Everything that can be told offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mlflow_gc.domain.entities import CLOCK_SKEW, INCOMPLETE_SCAN, PARTIAL_VIEW, SCAN_TOO_LONG
from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.domain.timestamps import now_ms, parse_time
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.invocation import command
from mlflow_gc.plan import schema
from mlflow_gc.plan.builder import FORECAST, FORMAT, FORMAT_VERSION, GUARD
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.document import Plan, counts_of, deletions_of, protected_of
from mlflow_gc.plan.preconditions import KNOWN_KEYS, time_or_none
from mlflow_gc.plan.reader import read_plan
from mlflow_gc.retention.guards import COUNTED, GROUPS
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

_MOST_DETAILS = 5
_BLOCKING = {
    INCOMPLETE_SCAN: "the server could not be read to its end",
    PARTIAL_VIEW: "the account may not see everything",
    SCAN_TOO_LONG: "the scan took too long",
}
"""What makes a scan incomplete, by the code of its diagnostic."""


def guard_hint(*, for_others: bool = False) -> str:
    """Return what to do about a guard that is exceeded; see :func:`mlflow_gc.invocation.command`."""
    return (
        "Review what is deleted. If all of it should be, raise that guard in the policy file and "
        f"make a new plan: {command('report', for_others=for_others)}"
    )


def load_plan(path: Path) -> Plan:
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
            hint=f"Make a new plan: {command('report')}",
        )
    return cast("Plan", document)


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
            hint="Use the version of mlflow-gc that wrote it, or make a new one.",
        )


def edited(plan: Plan) -> str | None:
    """Return a sentence when the plan is not the one that its ``plan_id`` names, or None."""
    actual = plan_id(plan)
    if actual == plan["plan_id"]:
        return None
    return f"It was edited: its content has the digest {actual}, it says {plan['plan_id']}."


def inconsistencies(plan: Plan) -> list[str]:
    """Return what a plan says that cannot all be true, one sentence each."""
    found: list[str] = []
    irreversible = 0
    for kind in KINDS:
        ids: set[str] = set()
        for entity in deletions_of(plan, kind):
            entity_id = KINDS[kind].id_of(entity)
            if entity_id in ids:
                found.append(f"{kind}: {entity_id} is listed twice.")
            ids.add(entity_id)
            irreversible += not entity["reversible"]
        count, listed = counts_of(plan, kind)["delete"], len(deletions_of(plan, kind))
        if count != listed:
            found.append(f"summary/{kind}: says {count} to delete, the list has {listed}.")
        kept = {KINDS[kind].id_of(entity) for entity in protected_of(plan, kind)}
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


def unknown_expectations(plan: Plan) -> list[str]:
    """Return preconditions, guards and rules that this program does not know how to check."""
    guards: Mapping[str, Any] = {**plan["policy"]["guards"]}
    limits = {f"guards: {key!r}" for key in set(guards) - {"max_deletions", "max_share_percent"}}
    for name, known in (("max_deletions", COUNTED), ("max_share_percent", COUNTED | GROUPS.keys())):
        limits |= {f"guards: {name} {key!r}" for key in set(guards[name]) - known}
    for rule in (plan["policy"]["default"], *plan["policy"]["rules"]):
        # What it cannot write again it has not understood.
        if Rule.from_document(rule).to_document() != rule:
            limits.add(f"rule {rule['name']!r}")
    return sorted(limits) + [
        f"{kind}: {KINDS[kind].id_of(entity)} expects {key!r}"
        for kind in KINDS
        for entity in deletions_of(plan, kind)
        if not entity["expect"].keys() <= KNOWN_KEYS[kind]
        for key in sorted(entity["expect"].keys() - KNOWN_KEYS[kind])
    ]


@dataclass(frozen=True)
class Applicability:
    """May a plan be applied now, as far as its file and the clock tell, and why not.

    Every view renders this, and prune refuses by it: they cannot disagree.

    Attributes:
        obstacles: why not, a clause each (``it was edited``); empty when it may be applied.
        details: the sentences behind that, of the scan, the guards or the file.
        advice: what to do next; empty when it may be applied.
        is_genuine: its ``plan_id`` names its content; if not, nobody approved what the file says.
    """

    obstacles: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    advice: str = ""
    is_genuine: bool = True

    @property
    def may_be_applied(self) -> bool:
        """Tell whether prune would take the plan."""
        return not self.obstacles

    @property
    def why(self) -> str:
        """Return why it cannot be applied, as one clause."""
        *first, last = self.obstacles
        return f"{', '.join(first)} and {last}" if first else last


def _renew(*, for_others: bool = False) -> str:
    return f"Make and review a new plan: {command('report', for_others=for_others)}"


def distrust(plan: Plan, *, for_others: bool = False) -> list[Applicability]:
    """Return why a file is not what a report wrote, or cannot be understood; empty if it is fine.

    Args:
        plan: keeps to its schema; all of it is read, which takes a second for half a million runs.
        for_others: the advice is for people on other machines.
    """
    found = []
    new = _renew(for_others=for_others)
    if message := edited(plan):
        advice = f"Only reviewed plans are applied as they are. {new}"
        found.append(Applicability(("it was edited",), (message,), advice, is_genuine=False))
    if wrong := inconsistencies(plan):
        details = tuple(wrong[:_MOST_DETAILS])
        found.append(Applicability(("it contradicts itself",), details, new))
    if unknown := unknown_expectations(plan):
        names = "; ".join(unknown[:_MOST_DETAILS])
        found.append(
            Applicability(
                ("it has preconditions that this version cannot check",),
                (f"Not known are {names}.",),
                "Use the version of mlflow-gc that wrote the plan, or a newer one.",
            )
        )
    return found


def applicability(
    plan: Plan, doubts: Sequence[Applicability] = (), *, for_others: bool = False
) -> Applicability:
    """Return whether a plan may be applied now.

    Args:
        plan: the document.
        doubts: what :func:`distrust` found; nothing of a plan that was made a moment ago.
        for_others: the advice is for people on other machines.
    """
    if doubts:
        return Applicability(
            tuple(clause for doubt in doubts for clause in doubt.obstacles),
            tuple(sentence for doubt in doubts for sentence in doubt.details),
            doubts[0].advice,
            is_genuine=all(doubt.is_genuine for doubt in doubts),
        )
    codes = {diagnostic["code"] for diagnostic in plan["diagnostics"]}
    now = now_ms()
    obstacles = []
    new = advice = _renew(for_others=for_others)
    # Of a day that no calendar has nobody knows when it is: it is over, and not yet here.
    if plan["expires_at"] is not None and _moment(plan["expires_at"], otherwise=now) <= now:
        obstacles.append(f"it expired at {plan['expires_at']}")
    if GUARD in codes:
        obstacles.insert(0, "a guard is exceeded")
        advice = guard_hint(for_others=for_others)
    if _moment(plan["as_of"], otherwise=now + 1) > now or (
        FORECAST in codes and not plan["applyable"]
    ):
        obstacles.insert(0, f"it is a forecast as of {plan['as_of']}")
        advice = "Make a plan without --as-of. If you did, compare the clocks of the machines."
    if not plan["applyable"] and not plan["complete"]:
        accepted = {PARTIAL_VIEW} if plan["policy"].get("accept_partial_view") else set()
        blocking = [clause for code, clause in _BLOCKING.items() if code in codes - accepted]
        if blocking or not (obstacles or CLOCK_SKEW in codes):
            obstacles = [*(blocking or ["the scan is incomplete"]), *obstacles]
            advice = f"{_remedy(codes - accepted)} {new}"
    if not plan["applyable"] and not obstacles:
        # Of small differences of the clocks there is a diagnostic, too: only where nothing else
        # explains it was it this one.
        skewed = CLOCK_SKEW in codes and not plan["complete"]
        obstacles = ["the clock skew is too large" if skewed else "it says so itself"]
        advice = "Set the clock of one of the machines." if skewed else new
    if not obstacles:
        return Applicability()
    said = [(diagnostic["code"], diagnostic["message"]) for diagnostic in plan["diagnostics"]]
    known = {*_BLOCKING, CLOCK_SKEW, FORECAST, GUARD}
    # A newer version may block for reasons that this one does not know.
    is_explained = codes & known or plan["applyable"]
    details = tuple(message for code, message in said if code in known or not is_explained)
    return Applicability(tuple(obstacles), details, advice)


def _remedy(codes: set[str]) -> str:
    """Return what helps against an incomplete scan, by the codes of its diagnostics."""
    words = []
    if PARTIAL_VIEW in codes:
        words.append(
            "Use the account of an administrator of the server; or accept, at your own risk, that "
            "only what this account sees protects: --accept-partial-view."
        )
    if SCAN_TOO_LONG in codes:
        words.append(
            "Raise max_scan_duration in the policy file, or read the server's database "
            "(--backend-store-uri)."
        )
    if not words or INCOMPLETE_SCAN in codes:
        words.append("Fix the cause first.")
    return " ".join(words)


def _moment(text: str, *, otherwise: int) -> int:
    try:
        return parse_time(text)
    except ValueError:
        return otherwise


def verify(plan: Plan, path: Path) -> None:
    """Refuse a plan that was edited, contradicts itself, or cannot be understood.

    Raises:
        Refused: with what is wrong.
    """
    if doubts := distrust(plan):
        _refuse(applicability(plan, doubts), path)


def is_only_a_forecast(plan: Plan) -> bool:
    """Tell whether nothing but a moment in the future keeps a plan from being applied."""
    codes = {diagnostic["code"] for diagnostic in plan["diagnostics"]}
    doubts = codes & {*_BLOCKING, CLOCK_SKEW}
    if plan["policy"].get("accept_partial_view"):
        doubts.discard(PARTIAL_VIEW)
    return FORECAST in codes and GUARD not in codes and (plan["complete"] or not doubts)


def verify_applyable(plan: Plan, path: Path) -> None:
    """Refuse a plan that must not be applied now: incomplete, a forecast, or expired.

    Raises:
        Refused: with the reason and what to do.
    """
    state = applicability(plan)
    if not state.may_be_applied:
        _refuse(state, path)
    # Not only at the first tag or keep rule that asks for it, amid the deletions.
    _ = Policy.from_document(plan["policy"], as_of=plan["as_of"]).zone


def _refuse(state: Applicability, path: Path) -> None:
    details = " ".join(state.details[:_MOST_DETAILS])
    raise Refused(
        f"The plan {path} cannot be applied: {state.why}. {details}".rstrip(), hint=state.advice
    )
