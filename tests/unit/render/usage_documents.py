"""Documents of ``usage`` for tests of its views."""

from __future__ import annotations

from typing import Any

HOSTILE = "<script>alert(1)</script>"


def _space(file_bytes: int, **more: Any) -> dict[str, Any]:
    return {"rows": 1, "database_bytes": 0, "files": 1, "file_bytes": file_bytes, **more}


def usage_document(**names: int) -> dict[str, Any]:
    """Return a document of experiments of some bytes, half of them in the trash."""
    experiments = [
        {
            "experiment_id": str(n),
            "name": "" if name == "nameless" else name,
            **_space(taken),
            "parts": [
                {"kind": "run", "stage": "active", **_space(taken - taken // 2)},
                {"kind": "run", "stage": "trash", **_space(taken // 2)},
            ],
        }
        for n, (name, taken) in enumerate(names.items())
    ]
    totals = {
        "rows": 1, "table_bytes": 0, "index_bytes": 0, "files": 1,
        "file_bytes": sum(names.values()), "freed_at_once_bytes": 0, "freed_later_bytes": 0,
        "not_freed_bytes": 0,
    }  # fmt: skip
    rows = [
        {**totals, "kind": "run", "stage": stage, "count": 1, "file_bytes": sum(found)}
        for stage, found in (
            ("active", [n - n // 2 for n in names.values()]),
            ("trash", [n // 2 for n in names.values()]),
        )
        if names
    ]
    return {
        "format": "mlflow-gc/usage",
        "tool": {"name": "mlflow-gc", "version": "0"},
        "measured_at": "2026-01-01T00:00:00.000Z",
        "server": {"tracking_uri": "http://server", "database": None},
        "diagnostics": [],
        "database": None,
        "files_measured": True,
        "sample": None,
        "rows": rows,
        "totals": totals,
        "largest": {
            "experiments": experiments,
            "other_experiments": {"count": 0, **_space(0), "parts": []},
            "logged_models": [], "registered_models": [], "owners": [],
        },
        "growth": [],
    }  # fmt: skip
