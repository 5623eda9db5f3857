"""Plans whose every free text is hostile, with lists as long as wanted."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from unit import worlds
from unit.render.test_gfm import texts

Json = dict[str, Any]

FREE = {
    *("name", "run_name", "experiment_name", "user_id", "description", "source", "message"),
    *("tracking_uri", "registry_uri", "workspace", "experiment_id", "run_id", "version"),
}
"""Fields in which a server, or whoever wrote the file, may put any text."""
FREE_LISTS = {"reasons", "via"}


def poisoned(value: Any, text: Any) -> Any:
    """A copy in which ``text()`` stands in place of every free text."""
    if isinstance(value, list):
        return [poisoned(item, text) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: [text() for _ in item]
        if key in FREE_LISTS
        else text()
        if key in FREE and isinstance(item, str)
        else poisoned(item, text)
        for key, item in value.items()
    }


def longer(plan: Json, times: int) -> Json:
    """A copy in which every list has each entry that often, with ids of their own."""
    plan = copy.deepcopy(plan)
    for holder in (plan, plan["protected"]):
        for kind in ("experiments", "runs", "model_versions", "registered_models"):
            holder[kind] = [
                {**entity, **{key: f"{entity[key]}{n or ''}" for key in _ID[kind]}}
                for n in range(times)
                for entity in holder[kind]
            ]
    plan["diagnostics"] = plan["diagnostics"] * times
    return plan


_ID = {
    "experiments": ("experiment_id",),
    "runs": ("run_id",),
    "model_versions": ("version",),
    "registered_models": ("name",),
}


def with_all_kinds(plan: Json, *, irreversible: bool) -> Json:
    """A copy that also deletes a registered model, has diagnostics, and runs that go for good."""
    plan = copy.deepcopy(plan)
    model = {
        "name": "empty",
        "creation_timestamp": None,
        "description": "",
        "tags": {},
        "last_updated_timestamp": "2020-01-02T03:04:05.006Z",
        "reversible": False,
        "reasons": ["has no versions"],
        "expect": {},
    }
    plan["registered_models"] = [model]
    plan["protected"]["registered_models"] = [
        {"name": "kept", "reason": "grace", "via": ["not marked"]}
    ]
    plan["diagnostics"] = [*plan["diagnostics"], {"code": "unused_rule", "message": "The rule x."}]
    for number, run in enumerate(plan["runs"]):
        run["reversible"] = not (irreversible and number % 2)
    return plan


@st.composite
def hostile_plans(draw: Any, most: int = 200) -> Json:
    """A random plan with any text where text can be, each entry up to ``most`` times."""
    plan = worlds.plan_of(draw(worlds.inventories()))
    if draw(st.booleans()):
        plan = with_all_kinds(plan, irreversible=draw(st.booleans()))
    pool = draw(st.lists(texts, min_size=1, max_size=12))
    numbers = iter(range(10**9))
    plan = poisoned(plan, lambda: pool[next(numbers) % len(pool)])
    return longer(plan, draw(st.sampled_from([n for n in (1, 1, 2, 30, 200) if n <= most])))
