"""The sentences of a usage document."""

from __future__ import annotations

import pytest
from unit.render.usage_documents import usage_document

from mlflow_gc.render.common.usage_tables import sentences
from mlflow_gc.render.markdown import usage_markdown


@pytest.mark.parametrize(
    ("reusable", "parts"),
    [
        (None, "60.0 MB tables, 20.0 MB indexes, 20.0 MB not of MLflow"),
        (19_000_000, "60.0 MB tables, 20.0 MB indexes"),
    ],
)
def test_the_parts_of_a_database_are_all_of_it(reusable: int | None, parts: str) -> None:
    """Less than a hundredth is not worth a word."""
    found = usage_document(a=1)
    found["database"] = {
        "kind": "postgresql", "total_bytes": 100_000_000, "table_bytes": 60_000_000,
        "index_bytes": 20_000_000, "reusable_bytes": reusable, "sizes_are_estimates": False,
    }  # fmt: skip
    sentence = f"Database: 100.0 MB ({parts})."
    assert next(sentences(found)) == sentence
    assert f"\n{sentence}\n" in usage_markdown.show(found)
