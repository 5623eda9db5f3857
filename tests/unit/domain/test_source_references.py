from __future__ import annotations

import uuid

import pytest
from unit.worlds import MODEL_IDS, RUN_IDS, a_version

from mlflow_gc.domain import source_references

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
        (f"models:/x{MODEL}", False, True),
        (f"models:/{MODEL}0", False, True),
        (f"s3://bucket/run_{RUN}/model", True, False),
        (f"s3://bucket/{RUN}-v2.tar.gz", True, False),
        (f"s3://bucket/x{RUN}y", True, False),
        (f"dbfs:/0123{RUN}4567", True, False),
        (f"gs://bucket/{RUN.upper()}/model", True, False),
        (f"s3://bucket/a%255F{RUN}%255F", True, False),
        (f"wasbs://c@a/{uuid.UUID(RUN)}/model", True, False),
        (f"s3://bucket/{uuid.UUID(RUN)}/model".replace("-", "_"), True, False),
        (f"s3://bucket/model_{MODEL}_copy", False, True),
        (f"s3://bucket/{MODEL.upper()}", False, True),
        (f"s3://bucket/m-{uuid.UUID(MODEL[2:])}", False, True),
        (f"s3://bucket/{RUN[:-1]}", False, False),
        (f"s3://bucket/{RUN[:16]}/{RUN[16:]}", False, False),
        ("dummy-source", False, False),
        ("", False, False),
    ],
)
def test_ids_in_a_source(source, run, model):
    version = a_version(source=source)
    assert (RUN in source_references.possible_run_ids(version)) == run
    assert source_references.logged_model_ids(version) == ({MODEL} if model else set())


@pytest.mark.parametrize(
    "output",
    [
        {"storage": "s3://bucket/{}/model"},
        {"run_id": "run_{}"},
        {"run_link": "https://host/#/experiments/1/runs/{}?tab=x"},
        {"description": "Trained in {}, better than before."},
        {"tags": {"trained_by": "run {}"}},
        {"tags": {"{}": "baseline"}},
    ],
    ids=["storage", "run_id", "run_link", "description", "value of a tag", "key of a tag"],
)
@pytest.mark.parametrize("form", ["{}", "run_{}-v2"], ids=["alone", "in a word"])
def test_ids_in_every_field(output, form):
    def filled(value, of):
        if isinstance(value, dict):
            return {filled(k, of): filled(v, of) for k, v in value.items()}
        return value.format(form.format(of))

    def version(of):
        return a_version(**{field: filled(value, of) for field, value in output.items()})

    assert RUN in source_references.possible_run_ids(version(RUN))
    assert MODEL in source_references.logged_model_ids(version(MODEL))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("models:/fraud/3", True),
        ("models:/fraud@champion", True),
        (f"models:/from-{MODEL}/3", True),
        (f"models:/{MODEL}/3", True),
        (f"models:/{MODEL}", False),
        (f"s3://bucket/{MODEL}", False),
    ],
)
def test_a_version_of_a_model_named_after_a_logged_model(source, names):
    """What is asked for is where its files lie, not the logged model."""
    assert source_references.names_other_version(a_version(source=source)) == names


def test_the_longest_text_takes_no_time():
    """Texts come from anybody: neither digits nor encodings without end."""
    for text in ("0123456789abcdef" * 5000, "%25" * 30_000, "m-" * 40_000, "a-" * 40_000):
        source_references.possible_run_ids(a_version(description=text))
        source_references.logged_model_ids(a_version(description=text))


def test_ids_in_fields():
    assert RUN in source_references.possible_run_ids(a_version(run_id=RUN))
    assert RUN in source_references.possible_run_ids(a_version(run_link=f"https://x/#/runs/{RUN}"))
    assert source_references.logged_model_ids(a_version(model_id=MODEL)) == {MODEL}
    assert "" not in source_references.possible_run_ids(a_version(source=""))


@pytest.mark.parametrize(
    ("source", "copied", "by_alias"),
    [
        ("models:/fraud/3", ("fraud", "3"), None),
        ("models:///fraud/3/", ("fraud", "3"), None),
        ("models:/Größe 𝒳/10", ("Größe 𝒳", "10"), None),
        ("models:/team@prod/1", ("team@prod", "1"), None),
        ("models:/fraud/01", ("fraud", "1"), None),
        ("models:/fraud/2?x=1", ("fraud", "2"), None),
        ("Models:/fraud/3#x", ("fraud", "3"), None),
        ("models:/fraud@champion", None, ("fraud", "champion")),
        ("models:/team@prod@champion", None, ("team@prod", "champion")),
        (f"models:/{MODEL}", None, None),
        ("models:/fraud/Staging", None, None),
        ("s3://models:/fraud/3", None, None),
        ("dummy-source", None, None),
    ],
)
def test_copies(source, copied, by_alias):
    assert source_references.copied_from(a_version(source=source)) == copied
    assert source_references.copied_from_alias(a_version(source=source)) == by_alias


@pytest.mark.parametrize(
    "same",
    [
        ("/data/k", "file:///data/k", "file:/data/k/", "/data//k", "file://localhost/data/./k"),
        ("s3://b/k", "s3a://b/k", "S3://b//k/", "s3://b/z/../k", "s3://b/%6b"),
        ("s3://b/k 6", "s3://b/k%206", "s3://b/k%25206"),
        ("mlflow-artifacts:/k", "mlflow-artifacts://127.0.0.1:5000/k", "mlflow-artifacts:///k"),
        ("wasbs://c@a.blob/k", "wasbs://c@a.blob/k/"),
    ],
)
def test_one_place_has_one_location(same):
    assert len({source_references.location(uri) for uri in same}) == 1


def test_other_places_have_other_locations():
    places = [
        "s3://b/k",
        "s3://B/k",
        "gs://b/k",
        "/b/k",
        "b/k/l",
        "s3://b",
        "wasbs://c@a/k",
        "dbfs:/k",
    ]
    assert len({source_references.location(uri) for uri in places}) == len(places)


def test_parent_locations():
    assert source_references.parent_locations("s3a://b/1//x/") == [
        "s3://b/1/x",
        "s3://b/1",
        "s3://b",
    ]
    assert source_references.parent_locations("file:///a/b") == [":///a/b", ":///a", "://"]
