"""Reasons and protections as groups: the texts of a plan are specific to each entity."""

from __future__ import annotations

import re
from functools import lru_cache

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_COUNT = re.compile(r"(?<![\w.,/=-])\d+ (day|hour|run|version|time)s?(?![\w.-])")
_MISSING = re.compile(r"^([a-z_ ]+) .* is in no table$", re.DOTALL)
# Names given by people: their numbers are significant.
_NAMED = ("rule ", "tag ")

_TEXTS = {
    "keep_tag": "its owner set the keep tag",
    "registered_model": "a registered model version needs it",
    "alias": "it has an alias",
    "stage": "it is in a stage",
    "highest_version": "the highest version of its model or stage",
    "copied": "another version was copied from it",
    "prompt": "a prompt; its text would be deleted with it",
    "refused_name": "the server refuses the name of its registered model",
    "unknown_model": "its registered model was not listed",
    "default_experiment": "MLflow's default experiment",
    "gateway": "MLflow's gateway needs it",
    "tree": "nested with a run that is retained",
    "model_in_use": "it made a model that a retained run uses",
    "genai_evaluate": "assessments would be lost with it",
    "traces_unread": "its traces could not be read",
    "experiment_deleted": "its experiment is already in the trash",
    "not_terminal": "status RUNNING or SCHEDULED",
    "unknown_time": "its timestamps are missing or implausible",
    "live_run": "it holds a run that is retained",
    "has_logged_models": "it holds logged models",
    "has_traces": "it holds traces",
    "has_contents": "it holds scorers, issues, review queues, label schemas or evaluation datasets",
    "recent_trash": "a run in its trash was active not long ago",
    "not_seen": "the scan could not read it",
    "keep_last": "one of the newest, by a keep rule",
    "keep_best": "one of the best, by a keep rule",
    "keep_daily": "the newest of a day, by a keep rule",
    "keep_weekly": "the newest of a week, by a keep rule",
    "keep_monthly": "the newest of a month, by a keep rule",
    "keep_yearly": "the newest of a year, by a keep rule",
    "keep_within": "recently active, by a keep rule",
    "malformed_tag": "a tag of its owner cannot be understood",
    "grace": "not announced, or not for long enough",
    "min_age": "younger than the policy's minimum age",
    "active": "something active needs it",
    "needed_files": "files of something that is retained are within its folder, or around it",
    "unknown_layout": "its files are not in a folder of its own",
    "unknown_deletion_time": "MLflow did not store when it was deleted",
    "unreachable_store": "its artifact store cannot be read, or looks as if it were not mounted",
    "tombstone": "the row that MLflow keeps of a deleted model version",
}


def protection_text(code: str) -> str:
    """Return the text of a protection's code; an unknown code as it is."""
    return _TEXTS.get(code) or code.replace("_", " ")


@lru_cache(maxsize=100_000)
def reason_group(reason: str) -> str:
    """Return the group of a reason to delete: its text without ages, counts, times and missing ids."""
    if missing := _MISSING.match(reason):
        return f"{missing[1]} … is in no table"
    if reason.startswith(_NAMED):
        return reason
    return _COUNT.sub(r"N \1s", _TIME.sub("…", reason))
