"""Offline checks of a plan: is it genuine and consistent, and may it be applied?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mlflow_gc.domain.entities import CLOCK_SKEW, INCOMPLETE_SCAN, PARTIAL_VIEW, SCAN_TOO_LONG
from mlflow_gc.domain.kinds import KINDS, action_of, is_purge, kinds_of
from mlflow_gc.domain.timestamps import now_ms, parse_time
from mlflow_gc.errors import GcError, Refused, UsageProblem
from mlflow_gc.invocation import command, file_argument
from mlflow_gc.plan import schema
from mlflow_gc.plan.builder import FORECAST, FORMAT, FORMAT_VERSION, GUARD
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.document import Plan, counts_of, deletions_of, protected_of
from mlflow_gc.plan.preconditions import DELETED_TIME, KNOWN_KEYS, time_or_none
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
"""Diagnostic codes of an incomplete scan, with the clause for people."""


def report_command(plan: Mapping[str, Any], *, for_others: bool = False) -> str:
    """Return the command that makes such a plan; see :func:`mlflow_gc.invocation.command`."""
    trash = ["--trash"] if is_purge(plan) else []
    return command("report", *trash, for_others=for_others)


def guard_hint(plan: Mapping[str, Any], *, for_others: bool = False) -> str:
    """Return the advice on an exceeded guard."""
    return (
        "Review what is deleted. If all of it should be, raise that guard in the policy file and "
        f"make a new plan: {report_command(plan, for_others=for_others)}"
    )


def load_plan(path: Path) -> Plan:
    """Read a well-formed plan; its digest is not checked (see :func:`edited`).

    Raises:
        GcError: The file is missing, not JSON, not a plan, or violates the schema.
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
    """Refuse a document of another format or major version.

    Raises:
        GcError: It is another document.
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


def refuse_action(plan: Plan, path: Path, action: str) -> None:
    """Refuse a plan for another command.

    Raises:
        Refused: With the command for it.
    """
    found = action_of(plan)
    if found != action:
        raise Refused(
            f"{path} is a {found} plan, and {action} applies {action} plans only.",
            hint=f"Nothing was deleted. To apply it: {command(found, file_argument(path))}",
        )


def edited(plan: Plan) -> str | None:
    """Return a sentence if the ``plan_id`` of a plan does not match its content, or None."""
    actual = plan_id(plan)
    if actual == plan["plan_id"]:
        return None
    return f"It was edited: its content has the digest {actual}, it says {plan['plan_id']}."


def inconsistencies(plan: Plan) -> list[str]:
    """Return contradictions in a plan, one sentence each."""
    found: list[str] = []
    irreversible = 0
    for kind in kinds_of(plan):
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
        protected_ids = {KINDS[kind].id_of(entity) for entity in protected_of(plan, kind)}
        found += [
            f"{kind}: {both} is deleted and protected." for both in sorted(protected_ids & ids)
        ]
    if irreversible != plan["summary"]["irreversible"]:
        found.append(
            f"summary/irreversible: says {plan['summary']['irreversible']}, "
            f"the lists have {irreversible}."
        )
    try:
        policy = Policy.from_document(plan["policy"], as_of=plan["as_of"])
    except (UsageProblem, ValueError) as error:  # a usage error only in a policy file
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
    """Return preconditions, guards and rules that this version cannot check."""
    also = {DELETED_TIME} if is_purge(plan) else set()
    guards: Mapping[str, Any] = {**plan["policy"]["guards"]}
    limits = {f"guards: {key!r}" for key in set(guards) - {"max_deletions", "max_share_percent"}}
    for name, known in (("max_deletions", COUNTED), ("max_share_percent", COUNTED | GROUPS.keys())):
        limits |= {f"guards: {name} {key!r}" for key in set(guards[name]) - known}
    for rule in (plan["policy"]["default"], *plan["policy"]["rules"]):
        # What cannot be written again was not understood.
        if Rule.from_document(rule).to_document() != rule:
            limits.add(f"rule {rule['name']!r}")
    return sorted(limits) + [
        f"{kind}: {KINDS[kind].id_of(entity)} expects {key!r}"
        for kind in kinds_of(plan)
        for entity in deletions_of(plan, kind)
        if not entity["expect"].keys() <= KNOWN_KEYS[kind] | also
        for key in sorted(entity["expect"].keys() - KNOWN_KEYS[kind] - also)
    ]


@dataclass(frozen=True)
class Applicability:
    """Whether a plan may be applied now, by its file and the clock, and why not.

    All views and ``prune`` use it, so they cannot disagree.

    Attributes:
        reasons: why not, a clause each (``it was edited``); empty if it may be applied.
        details: sentences with the findings of the scan, the guards or the file.
        advice: what to do next; empty if it may be applied.
        is_genuine: whether its ``plan_id`` matches its content; if not, nobody approved the
            content.
    """

    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    advice: str = ""
    is_genuine: bool = True

    @property
    def may_be_applied(self) -> bool:
        """Tell whether ``prune`` would accept the plan."""
        return not self.reasons

    @property
    def why(self) -> str:
        """Return why it cannot be applied, as one clause."""
        *first, last = self.reasons
        return f"{', '.join(first)} and {last}" if first else last


def _new_plan(plan: Plan, *, for_others: bool = False) -> str:
    return f"Make and review a new plan: {report_command(plan, for_others=for_others)}"


def file_problems(plan: Plan) -> list[Applicability]:
    """Return why a valid plan was not written by a report, or is not understood; empty if fine.

    Reading all of it takes a second for half a million runs.
    """
    found = []
    new = _new_plan(plan)
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
    plan: Plan, problems: Sequence[Applicability] = (), *, for_others: bool = False
) -> Applicability:
    """Return whether a plan may be applied now.

    Args:
        plan: the document.
        problems: the result of :func:`file_problems`; empty for a plan that was just made.
        for_others: the advice is for people on other machines.
    """
    if problems:
        return Applicability(
            tuple(clause for problem in problems for clause in problem.reasons),
            tuple(sentence for problem in problems for sentence in problem.details),
            problems[0].advice,
            is_genuine=all(problem.is_genuine for problem in problems),
        )
    codes = {diagnostic["code"] for diagnostic in plan["diagnostics"]}
    now = now_ms()
    reasons = []
    new = advice = _new_plan(plan, for_others=for_others)
    # A date that does not exist is treated as expired, and as not yet reached.
    if plan["expires_at"] is not None and _moment(plan["expires_at"], otherwise=now) <= now:
        reasons.append(f"it expired at {plan['expires_at']}")
    if GUARD in codes:
        reasons.insert(0, "a guard is exceeded")
        advice = guard_hint(plan, for_others=for_others)
    if _moment(plan["as_of"], otherwise=now + 1) > now or (
        FORECAST in codes and not plan["applyable"]
    ):
        reasons.insert(0, f"it is a forecast as of {plan['as_of']}")
        advice = "Make a plan without --as-of. If you did, compare the clocks of the machines."
    if not plan["applyable"] and not plan["complete"]:
        accepted = {PARTIAL_VIEW} if plan["policy"].get("accept_partial_view") else set()
        blocking = [clause for code, clause in _BLOCKING.items() if code in codes - accepted]
        if blocking or not (reasons or CLOCK_SKEW in codes):
            reasons = [*(blocking or ["the scan is incomplete"]), *reasons]
            advice = f"{_advise_on_scan(codes - accepted)} {new}"
    if not plan["applyable"] and not reasons:
        # A small clock skew has the same diagnostic: it is the cause only if nothing else is.
        skewed = CLOCK_SKEW in codes and not plan["complete"]
        reasons = ["the clock skew is too large" if skewed else "the plan says so"]
        advice = "Set the clock of one of the machines." if skewed else new
    if not reasons:
        return Applicability()
    findings = [(diagnostic["code"], diagnostic["message"]) for diagnostic in plan["diagnostics"]]
    known = {*_BLOCKING, CLOCK_SKEW, FORECAST, GUARD}
    # A newer version may have unknown reasons.
    is_explained = codes & known or plan["applyable"]
    details = tuple(message for code, message in findings if code in known or not is_explained)
    return Applicability(tuple(reasons), details, advice)


def _advise_on_scan(codes: set[str]) -> str:
    """Return the advice on an incomplete scan, by the codes of its diagnostics."""
    sentences = []
    if PARTIAL_VIEW in codes:
        sentences.append(
            "Use the account of an administrator of the server; or accept, at your own risk, that "
            "only what this account sees protects: --accept-partial-view."
        )
    if SCAN_TOO_LONG in codes:
        sentences.append(
            "Raise max_scan_duration in the policy file, or read the server's database "
            "(--backend-store-uri)."
        )
    if not sentences or INCOMPLETE_SCAN in codes:
        sentences.append("Fix the cause first.")
    return " ".join(sentences)


def _moment(text: str, *, otherwise: int) -> int:
    try:
        return parse_time(text)
    except ValueError:
        return otherwise


def verify(plan: Plan, path: Path) -> None:
    """Refuse a plan that was edited, is contradictory, or is not understood.

    Raises:
        Refused: With the problems.
    """
    if problems := file_problems(plan):
        _refuse(applicability(plan, problems), path)


def is_only_a_forecast(plan: Plan) -> bool:
    """Tell whether a plan cannot be applied only because ``as_of`` lies in the future."""
    codes = {diagnostic["code"] for diagnostic in plan["diagnostics"]}
    problems = codes & {*_BLOCKING, CLOCK_SKEW}
    if plan["policy"].get("accept_partial_view"):
        problems.discard(PARTIAL_VIEW)
    return FORECAST in codes and GUARD not in codes and (plan["complete"] or not problems)


def verify_applyable(plan: Plan, path: Path) -> None:
    """Refuse a plan that must not be applied now: incomplete, a forecast, or expired.

    Raises:
        Refused: With the reason and advice.
    """
    state = applicability(plan)
    if not state.may_be_applied:
        _refuse(state, path)
    # Check now, not at the first tag or keep rule during the deletions.
    _ = Policy.from_document(plan["policy"], as_of=plan["as_of"]).zone


def _refuse(state: Applicability, path: Path) -> None:
    details = " ".join(state.details[:_MOST_DETAILS])
    raise Refused(
        f"The plan {path} cannot be applied: {state.why}. {details}".rstrip(), hint=state.advice
    )
