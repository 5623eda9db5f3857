"""The digest that identifies a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mlflow_gc.domain.canonical_json import canonical, key_order
from mlflow_gc.plan.document import Plan
from mlflow_gc.plan.lazy_entries import Entries

_AT_ONCE = 100

_NOT_DIGESTED = frozenset({"$schema", "plan_id", "created_at", "tool"})


def plan_id(plan: Plan) -> str:
    """Return the digest that identifies a plan: over all but four descriptive fields."""
    digested = {key: value for key, value in plan.items() if key not in _NOT_DIGESTED}
    found = hashlib.sha256()
    for piece in _pieces(digested):
        found.update(piece)
    return f"sha256:{found.hexdigest()}"


def _pieces(value: Any) -> Iterator[bytes]:
    """Yield the canonical form in pieces; long lists some entries at a time."""
    if isinstance(value, Entries):
        between = b"["
        entries = iter(value)
        while some := list(islice(entries, _AT_ONCE)):
            yield between + canonical(some)[1:-1]
            between = b","
        yield b"]" if value else b"[]"
    elif isinstance(value, dict) and any(isinstance(v, (dict, Entries)) for v in value.values()):
        between = b"{"
        for key in sorted(value, key=key_order):
            yield between + canonical(key) + b":"
            yield from _pieces(value[key])
            between = b","
        yield b"}"
    else:
        yield canonical(value)
