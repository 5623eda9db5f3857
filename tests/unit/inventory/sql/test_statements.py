"""What an account needs rights for is what is asked, and what the documentation says."""

from __future__ import annotations

import inspect
import re

from sqlalchemy import Select, Table
from sqlalchemy.sql import visitors
from support import ROOT

from mlflow_gc.backend.mlflow_tables import tracking
from mlflow_gc.inventory.sql.experiments import read_experiments
from mlflow_gc.inventory.sql.registry import read_registry
from mlflow_gc.inventory.sql.statements import ByRun, Statements
from mlflow_gc.inventory.sql.tables import Tables

PAGE = ROOT / "docs/how-to/database.md"
ARGUMENTS = {
    "by_name": True,
    "experiment_ids": [1],
    "active_only": True,
    "names": ["auc"],
    "run_ids": ["r"],
    "since_ms": 0,
    "workspace": "default",
    "after": "",
    "count": 10,
    "inputs": True,
}


def _asked() -> list[Select]:
    ask, found = Statements("default"), []
    for name, method in inspect.getmembers(ask, callable):
        if not name.startswith("_"):
            wanted = inspect.signature(method).parameters
            answer = method(**{key: ARGUMENTS[key] for key in wanted})
            answers = answer.values() if isinstance(answer, dict) else answer
            found += answers if isinstance(answer, dict | tuple) else [answer]
    tables = Tables(tracking.SqlRun.metadata)
    for read in (read_experiments, read_registry):
        read(tables, lambda statement: found.append(statement) or [], "default")
    return [each.rows if isinstance(each, ByRun) else each for each in found]


def test_the_documentation_grants_what_is_read_and_no_more():
    statements = _asked()
    assert len(statements) > 15
    tables = {t.name for s in statements for t in visitors.iterate(s) if isinstance(t, Table)}
    granted = re.search(r"GRANT SELECT ON\s+([\w,\s]+?)\s+TO", PAGE.read_text())
    assert granted
    # Which version of MLflow the database is of.
    assert set(granted[1].replace(",", " ").split()) == tables | {"alembic_version"}


def test_nothing_but_questions_is_asked():
    for statement in _asked():
        assert str(statement).startswith("SELECT ")


def test_parameters_and_values_are_read_of_some_runs_only():
    """There are more of them than of anything else: only those of runs that are deleted matter."""
    large = [str(s) for s in _asked() if re.search(r"FROM (params|metrics)\b", str(s))]
    assert len(large) == 2
    assert all("run_uuid IN (" in statement for statement in large)
