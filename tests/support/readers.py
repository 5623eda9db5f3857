"""The two ways to read a server, side by side."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mlflow_gc.backend.connect import connect
from mlflow_gc.backend.server_identity import read_server_info
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.inventory.reader import open_reader
from mlflow_gc.settings import resolve_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow_gc.domain.inventory import Inventory
    from support.plans import Plan

WANTED = Wanted(metrics=frozenset({"auc", "loss"}), tags=frozenset({"team", "note"}))
SAME_BUT = {"plan_id", "created_at", "server", "server.read_from"}
"""In what a plan read from the database may differ from one read over REST."""


def read(
    tracking_uri: str,
    backend_store_uri: str | None = None,
    *,
    workspace: str | None = None,
    wanted: Wanted | None = WANTED,
    progress: Callable[[str, int], None] = lambda _what, _count: None,
) -> Inventory:
    """Read all of a server, with a look into every experiment, and at the details of every run."""
    gateway = connect(
        resolve_connection(
            tracking_uri=tracking_uri, workspace=workspace, backend_store_uri=backend_store_uri
        )
    )
    is_database = backend_store_uri or not tracking_uri.startswith("http")
    with open_reader(gateway, read_server_info(gateway)) as reader:
        assert reader.read_from == ("database" if is_database else "rest")
        found = reader.scan(progress, wanted=wanted)
        found = reader.read_inputs(found, found.runs, progress)
        found = reader.read_histories(found, found.runs, progress)
        return reader.probe(found, found.experiments, since_ms=0, progress=progress)


def assert_same(left: Inventory, right: Inventory) -> None:
    """Assert that two inventories are the same, entity by entity, and hold something."""
    for field in fields(left):
        one, other = getattr(left, field.name), getattr(right, field.name)
        if isinstance(one, dict):
            assert set(one) == set(other), field.name
            for key, entity in one.items():
                assert _plain(entity) == _plain(other[key]), (field.name, key)
        elif field.name in {"foreign_versions", "foreign_models"}:
            assert sorted(map(_plain, one)) == sorted(map(_plain, other))
        else:
            assert one == other, field.name
    assert left.runs


def _plain(entity: Any) -> list[tuple[str, str]]:
    # As text: NaN is not equal to itself, and 1 is equal to True and to 1.0.
    values = [(f.name, getattr(entity, f.name)) for f in fields(entity)]
    return [(name, repr(dict(v) if hasattr(v, "keys") else v)) for name, v in values]


def differing(left: Plan, right: Plan) -> set[str]:
    """The names of the lines in which two plan files differ, and of the fields of ``server``."""
    ours, theirs = (plan.path.read_text().splitlines() for plan in (left, right))
    assert len(ours) == len(theirs)
    names = {
        found[1] if (found := re.match(r'"(\w+)":', one)) else one
        for one, other in zip(ours, theirs, strict=True)
        if one != other
    }
    servers = left.document["server"], right.document["server"]
    assert servers[0].keys() == servers[1].keys()
    return names | {f"server.{k}" for k in servers[0] if servers[0][k] != servers[1][k]}
