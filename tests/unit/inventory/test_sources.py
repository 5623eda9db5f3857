from __future__ import annotations

import pytest
from unit.worlds import MODEL_IDS, RUN_IDS, a_version

from mlflow_gc.inventory import sources

RUN, MODEL = RUN_IDS[0], MODEL_IDS[0]


@pytest.mark.parametrize(
    ("source", "run", "model"),
    [
        (f"runs:/{RUN}/model", True, False),
        (f"mlflow-artifacts:/1/{RUN}/artifacts/model", True, False),
        (f"s3://bucket/1/{RUN}/artifacts", True, False),
        (f"file:///mlruns/1/{RUN}", True, False),
        (f"runs%3A%2F{RUN}%2Fmodel", True, False),
        (f"models:/{MODEL}", False, True),
        (f"mlflow-artifacts:/1/models/{MODEL}/artifacts", False, True),
        (f"s3://bucket/models%2F{MODEL}/artifacts/", False, True),
        (f"models:/x{MODEL}", False, False),
        (f"models:/{MODEL}0", False, False),
        ("dummy-source", False, False),
        ("", False, False),
    ],
)
def test_ids_in_a_source(source, run, model):
    version = a_version(source=source)
    assert (RUN in sources.possible_run_ids(version)) == run
    assert sources.logged_model_ids(version) == ({MODEL} if model else set())


def test_ids_in_fields():
    assert RUN in sources.possible_run_ids(a_version(run_id=RUN))
    assert RUN in sources.possible_run_ids(a_version(run_link=f"https://x/#/runs/{RUN}"))
    assert sources.logged_model_ids(a_version(model_id=MODEL)) == {MODEL}
    assert "" not in sources.possible_run_ids(a_version(source=""))


@pytest.mark.parametrize(
    ("source", "copied", "by_alias"),
    [
        ("models:/fraud/3", ("fraud", "3"), None),
        ("models:///fraud/3/", ("fraud", "3"), None),
        ("models:/Größe 𝒳/10", ("Größe 𝒳", "10"), None),
        ("models:/fraud@champion", None, ("fraud", "champion")),
        (f"models:/{MODEL}", None, None),
        ("models:/fraud/Staging", None, None),
        ("s3://models:/fraud/3", None, None),
        ("dummy-source", None, None),
    ],
)
def test_copies(source, copied, by_alias):
    assert sources.copied_from(a_version(source=source)) == copied
    assert sources.copied_from_alias(a_version(source=source)) == by_alias


def test_parent_locations():
    assert sources.parent_locations("s3://b/1/x/") == [
        "s3://b/1/x",
        "s3://b/1",
        "s3://b",
        "s3:/",
        "s3:",
    ]
