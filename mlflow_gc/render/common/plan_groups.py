"""Deletions of a plan by experiment and registered model: shares, ages, reasons."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlflow_gc.domain.kinds import KINDS, kinds_of
from mlflow_gc.domain.quantities import number_of
from mlflow_gc.domain.reasons import without_age
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.plan.document import Fields, Plan, ProtectedEntry, deletions_of, protected_of
from mlflow_gc.plan.lazy_entries import Chosen

_WHYS = 3


@dataclass(frozen=True)
class Group:
    """The runs of an experiment, or the versions of a registered model, to delete.

    Attributes:
        kind: ``runs`` or ``model_versions``.
        key: id of the experiment, name of the model.
        name: of the experiment; empty for a model.
        entries: of the plan, irreversible ones first.
        irreversible: number of irreversible deletions.
        existing: number of existing entities, retained ones included; None if unknown.
    """

    kind: str
    key: str
    name: str
    entries: Sequence[Fields]
    irreversible: int
    existing: int | None

    @property
    def count(self) -> int:
        """Return the number of deletions."""
        return len(self.entries)

    @property
    def of_how_many(self) -> str:
        """Return ``7 of 13 versions``, or ``7 versions``."""
        noun = "run" if self.kind == "runs" else "version"
        if self.existing is None:
            return number_of(self.count, noun, f"{noun}s")
        return f"{self.count:,} of {number_of(self.existing, noun, f'{noun}s')}"

    @property
    def share(self) -> str:
        """Return the deleted share in percent; empty if unknown."""
        return percent(self.count, self.existing) if self.existing else ""


def percent(part: int, whole: int) -> str:
    """Return ``53 %``; 100 % only for all, 0 % only for nothing."""
    if not whole:
        return ""
    rounded = round(100 * part / whole)
    if rounded == 100 and part < whole:
        return ">99 %"
    if rounded == 0 and part:
        return "<1 %"
    return f"{rounded} %"


def experiment_names(plan: Plan) -> dict[str, str]:
    """Return the name of each experiment that occurs in the plan, by id."""
    names = {e["experiment_id"]: e["name"] for e in statistics(plan).get("by_experiment", ())}
    names |= {r["experiment_id"]: r["experiment_name"] for r in plan["runs"]}
    for experiments in (plan["protected"]["experiments"], plan["experiments"]):
        names |= {e["experiment_id"]: e["name"] for e in experiments}
    return names


def statistics(plan: Plan) -> Fields:
    """Return the statistics of a plan; empty for older versions."""
    found: Fields = plan.get("statistics") or {}
    return found


def groups(plan: Plan, kind: str) -> list[Group]:
    """Return the runs by experiment, or the versions by model; the largest group first."""
    id_field = "experiment_id" if kind == "runs" else "name"
    shares = statistics(plan).get("by_experiment" if kind == "runs" else "by_model", ())
    existing = {s[id_field]: s["delete"] + s["protected"] + s["fresh"] for s in shares}
    entries: Sequence[Fields] = deletions_of(plan, kind)
    # Their indexes in the plan: irreversible deletions first.
    found: dict[str, tuple[array[int], array[int]]] = {}
    for index, entry in enumerate(entries):
        indexes = found.setdefault(entry[id_field], (array("Q"), array("Q")))
        indexes[bool(entry["reversible"])].append(index)
    made = [
        Group(
            kind,
            key,
            entries[(lost or rest)[0]]["experiment_name"] if kind == "runs" else "",
            Chosen(entries, lost + rest),
            len(lost),
            existing.get(key),
        )
        for key, (lost, rest) in found.items()
    ]
    return sorted(made, key=lambda group: -group.count)


def protections(plan: Plan) -> dict[tuple[str, str], Sequence[ProtectedEntry]]:
    """Return what is protected by kind and code of the reason, in the order of the plan."""
    found: dict[tuple[str, str], array[int]] = {}
    for kind in kinds_of(plan):
        for index, entry in enumerate(protected_of(plan, kind)):
            found.setdefault((kind, entry["reason"]), array("Q")).append(index)
    return {key: Chosen(protected_of(plan, key[0]), indexes) for key, indexes in found.items()}


def milliseconds(moment: str | None) -> int | None:
    """Return a time of a plan in ms since the epoch; None if missing or invalid."""
    if not moment:
        return None
    try:
        return parse_time(moment)
    except ValueError:  # the schema checks the form, not the calendar: 2026-02-31
        return None


def age_days(time: str | None, as_of: str) -> int | None:
    """Return the age in whole days, rounded down; None if unknown."""
    then, now = milliseconds(time), milliseconds(as_of)
    return None if then is None or now is None else (now - then) // DAY_MS


def aged_from(kind: str, entry: Fields) -> str | None:
    """Return the time that an age counts from: the last activity, in the trash the deletion."""
    return entry.get("deleted_time") or KINDS[kind].last_activity(entry)


def ages(kind: str, entries: Iterable[Fields], as_of: str) -> str:
    """Return ``31 to 298 days``, from the youngest entry to the oldest; empty if unknown."""
    times = [time for entry in entries if (time := aged_from(kind, entry))]
    if not times:
        return ""
    # Times of one format sort as texts.
    youngest, oldest = age_days(max(times), as_of), age_days(min(times), as_of)
    if youngest is None or oldest is None:
        return ""
    if youngest == oldest:
        return f"{oldest:,} day{'' if oldest == 1 else 's'}"
    return f"{youngest:,} to {oldest:,} days"


def why(entry: Fields) -> str:
    """Return the reasons of an entry, without its age."""
    return "; ".join(filter(None, (without_age(reason) for reason in entry["reasons"])))


def whys(entries: Iterable[Fields]) -> str:
    """Return the reasons of a group, the most frequent first: ``FINISHED 41, FAILED 3``."""
    found = Counter(map(why, entries))
    if len(found) == 1:
        return next(iter(found))
    shown = [f"{reason or 'old'} ({n:,})" for reason, n in found.most_common(_WHYS)]
    if len(found) > _WHYS:
        shown.append(f"{len(found) - _WHYS:,} other reasons")
    return ", ".join(shown)
