"""Made-up inventories: one entity at a time for tables, whole random ones for properties."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import strategies as st

from mlflow_gc.domain.entities import (
    Capabilities,
    Experiment,
    LoggedModel,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
    RunDetails,
    ServerInfo,
    artifact_root,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.plan.document import Json
from mlflow_gc.plan.writer import render
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

AS_OF = parse_time("2026-05-01T10:02:11.123Z")
TTL = 30
POLICY = Policy(as_of_ms=AS_OF, default=Rule.of_days(TTL))
CUTOFF = AS_OF - TTL * DAY_MS
OLD = AS_OF - 400 * DAY_MS
NEW = AS_OF - 3 * DAY_MS
SERVER = ServerInfo(
    "http://mlflow:5000",
    "http://mlflow:5000",
    "3.10.0",
    None,
    "exp0:1:2",
    capabilities=Capabilities(accounts=False, aliases=True, logged_models=True, traces=True),
)

RUN_IDS = [f"{n:x}" * 32 for n in range(1, 10)]
MODEL_IDS = [f"m-{n:x}{'0' * 31}" for n in range(1, 5)]
DIGEST = f"sha256:{'0' * 32}"
DETAILS = RunDetails(0, DIGEST, DIGEST, DIGEST)
"""What is read of runs that are deleted."""
GONE_RUN, GONE_MODEL = "f" * 32, f"m-{'f' * 32}"
EXPERIMENT_IDS = ["0", "1", "2", "9", "10"]
MODEL_NAMES = ["fraud", "Größe 𝒳", "a.b"]


def an_experiment(experiment_id: str = "1", **other: Any) -> Experiment:
    """An old, plain experiment."""
    plain = Experiment(
        experiment_id=experiment_id,
        name=f"exp-{experiment_id}",
        lifecycle_stage="active",
        artifact_location=f"mlflow-artifacts:/{experiment_id}",
        creation_time=OLD,
        last_update_time=OLD,
        tags={},
    )
    return replace(plain, **other)


def a_run(run_id: str = RUN_IDS[0], *, parent: str | None = None, **other: Any) -> Run:
    """An old, finished, plain run of experiment 1."""
    experiment_id = other.get("experiment_id", "1")
    plain = Run(
        run_id=run_id,
        details=DETAILS,
        run_name=f"run-{run_id[:2]}",
        experiment_id="1",
        user_id="ada",
        status="FINISHED",
        lifecycle_stage="active",
        start_time=OLD,
        end_time=OLD + 5,
        newest_metric_time=None,
        oldest_metric_time=None,
        artifact_root=f"mlflow-artifacts:/{experiment_id}",
        has_own_folder=True,
        tags={},
    )
    if "artifact_uri" in other:
        root, has_own_folder = artifact_root(other.pop("artifact_uri"), run_id)
        other |= {"artifact_root": root, "has_own_folder": has_own_folder}
    run = replace(plain, **other)
    return replace(run, tags={**run.tags, "mlflow.parentRunId": parent}) if parent else run


def a_version(version: str = "1", name: str = "fraud", **other: Any) -> ModelVersion:
    """An old version that nothing protects, apart from its number."""
    plain = ModelVersion(
        name=name,
        version=version,
        creation_timestamp=OLD,
        last_updated_timestamp=OLD,
        current_stage="None",
        description="",
        source="dummy-source",
        run_id="",
        run_link="",
        model_id="",
        tags={},
    )
    return replace(plain, **other)


def a_model(name: str = "fraud", **other: Any) -> RegisteredModel:
    """A registered model without aliases or tags."""
    return replace(RegisteredModel(name, tags={}, aliases={}, last_updated_timestamp=OLD), **other)


def a_logged_model(model_id: str = MODEL_IDS[0], **other: Any) -> LoggedModel:
    """An old logged model of experiment 1."""
    plain = LoggedModel(model_id, "1", "", f"mlflow-artifacts:/1/models/{model_id}/artifacts", OLD)
    return replace(plain, **other)


def inventory(*entities: object, probed: bool = True, **other: Any) -> Inventory:
    """Put entities into an inventory; experiments are looked into and nothing was found."""
    of: dict[type, list[Any]] = {}
    for entity in entities:
        of.setdefault(type(entity), []).append(entity)
    experiments = {e.experiment_id: e for e in of.get(Experiment, ())}
    return Inventory(
        experiments=experiments,
        runs={r.run_id: r for r in of.get(Run, ())},
        registered_models={m.name: m for m in of.get(RegisteredModel, ())},
        model_versions={(v.name, v.version): v for v in of.get(ModelVersion, ())},
        logged_models={m.model_id: m for m in of.get(LoggedModel, ())},
        **{"probes": {e: Probe() for e in experiments} if probed else {}, **other},
    )


def plan_of(found: Inventory, policy: Policy = POLICY) -> Json:
    """Decide and build; with lists that a test can change."""
    return as_lists(build_plan(found, decide(found, policy), policy, SERVER))


def as_lists(plan: Json) -> Json:
    """A plan with Python's lists in place of entries that are parsed when asked for."""
    parsed: Json = orjson.loads(render(plan))
    return parsed


def shuffled(found: Inventory, seed: int) -> Inventory:
    """The same inventory, read in another order."""
    rng = random.Random(seed)

    def mixed(mapping: Any) -> Any:
        items = list(mapping.items())
        rng.shuffle(items)
        return dict(items)

    names = (
        "experiments",
        "runs",
        "registered_models",
        "model_versions",
        "logged_models",
        "probes",
    )
    return replace(found, **{name: mixed(getattr(found, name)) for name in names})


# Old and plain values come several times, so that random worlds delete something, too.
_ODD_TIMES = [
    None,
    0,
    5,
    -1,
    OLD // 1000,  # seconds
    parse_time("2015-01-01") - 1,
    parse_time("2015-01-01"),
    CUTOFF - 1,
    CUTOFF,
    CUTOFF + 1,
    NEW,
    AS_OF,
    AS_OF + DAY_MS,
    AS_OF + DAY_MS + 1,
    AS_OF + 4000 * DAY_MS,
    2**62,
]
_old = st.integers(OLD - 300 * DAY_MS, OLD)
times = st.integers(0, 11).flatmap(lambda n: st.sampled_from(_ODD_TIMES) if n == 0 else _old)
texts = st.one_of(
    st.sampled_from(["", "plain", "two words"]), st.text(st.characters(exclude_categories=["Cs"]))
)
_keep_values = st.sampled_from(["true", "false", " No ", "0", "", "ja", "maybe"])
_no_tags: dict[str, str] = {}
tags = st.integers(0, 9).flatmap(
    lambda n: (
        st.builds(lambda v: {"mlflow_gc.keep": v}, _keep_values)
        if n == 0
        else st.dictionaries(texts, texts, max_size=3)
        if n == 1
        else st.just(_no_tags)
    )
)


def _mostly(plain: Any, *odd: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([plain] * (5 * len(odd)) + list(odd))


@st.composite
def _experiment(draw: Any, experiment_id: str) -> Experiment:
    made = an_experiment(
        experiment_id,
        name=draw(_mostly(f"exp-{experiment_id}", "Default", "x\n\x1b[31m\u202e")),
        lifecycle_stage=draw(_mostly("active", "deleted")),
        creation_time=draw(times),
        last_update_time=draw(times),
        tags=draw(tags),
    )
    shared = draw(_mostly(made.artifact_location, "s3://bucket/all", ""))
    gateway = draw(_mostly(None, "true", "false"))
    extra = {} if gateway is None else {"mlflow.experiment.isGateway": gateway}
    return replace(made, artifact_location=shared, tags={**made.tags, **extra})


@st.composite
def _run(draw: Any, run_id: str, homes: list[str]) -> Run:
    metric_times = sorted(t for t in draw(st.lists(times, max_size=1)) if t is not None)
    extra = draw(_mostly({}, {"mlflow.runType": "genai_evaluate"}))
    return a_run(
        run_id,
        run_name=draw(texts),
        experiment_id=draw(st.sampled_from([*(homes * 4), "2"])),
        status=draw(_mostly("FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED", "", "ODD")),
        lifecycle_stage=draw(_mostly("active", "deleted")),
        start_time=draw(times),
        end_time=draw(times.map(lambda t: t if t is None or t > OLD else t + 300 * DAY_MS)),
        oldest_metric_time=min(metric_times, default=None),
        newest_metric_time=max(metric_times, default=None),
        tags={**draw(tags), **extra},
        model_ids=tuple(sorted(set(draw(_mostly([], *([m] for m in [*MODEL_IDS, GONE_MODEL])))))),
        parent=draw(st.sampled_from([None] * 12 + [*RUN_IDS[:6], GONE_RUN])),
        details=replace(
            DETAILS,
            loses_assessments=draw(_mostly(False, True)),
            traces_are_hidden=draw(_mostly(False, True)),
        ),
    )


@st.composite
def _source(draw: Any) -> str:
    """All forms that a version's source can have."""
    run_id = draw(st.sampled_from([*RUN_IDS, GONE_RUN]))
    model_id = draw(st.sampled_from([*MODEL_IDS, GONE_MODEL]))
    name = draw(st.sampled_from(MODEL_NAMES))
    return draw(
        st.sampled_from(
            [
                "dummy-source",
                "dummy-source",
                "",
                f"models:/{model_id}",
                f"models:/{name}/{draw(st.integers(1, 3))}",
                f"models:/{name}@champion",
                f"runs:/{run_id}/model",
                f"mlflow-artifacts:/1/{run_id}/artifacts/model",
                f"s3://bucket/all/models/{model_id}/artifacts",
                "s3://bucket/all/elsewhere",
                f"runs%3A/{run_id}%2Fmodel",
                f"s3://bucket/run_{run_id}-v2",
                f"s3://bucket/model_{model_id}_copy",
            ]
        )
    )


@st.composite
def _version(draw: Any, name: str, version: str) -> ModelVersion:
    extra = draw(_mostly({}, {"mlflow.prompt.is_prompt": "true"}))
    return a_version(
        version,
        name,
        creation_timestamp=draw(times),
        last_updated_timestamp=draw(times),
        current_stage=draw(_mostly("None", "Staging", "Production", "Archived", None)),
        description=draw(texts),
        source=draw(_source()),
        run_id=draw(_mostly("", *RUN_IDS[:3])),
        model_id=draw(_mostly("", MODEL_IDS[0])),
        tags={**draw(tags), **extra},
    )


@st.composite
def inventories(draw: Any) -> Inventory:
    """A random server."""
    ids = st.sampled_from
    experiments = [
        draw(_experiment(e)) for e in draw(st.lists(ids(EXPERIMENT_IDS), unique=True, max_size=5))
    ]
    homes = [e.experiment_id for e in experiments]
    runs = [draw(_run(r, homes)) for r in draw(st.lists(ids(RUN_IDS), unique=True, max_size=8))]
    versions, models = [], []
    for name in draw(st.lists(ids(MODEL_NAMES), unique=True, max_size=2)):
        numbers = draw(st.lists(ids(["1", "2", "3", "9", "10"]), unique=True, max_size=4))
        versions += [draw(_version(name, number)) for number in numbers]
        aliases = draw(
            _mostly({}, {"1": ("champion",)}, {"2": ("a", "champion")}, {"7": ("gone",)})
        )
        if draw(_mostly(True, False)):
            models.append(a_model(name, tags=draw(tags), aliases=aliases))
    logged = [
        a_logged_model(
            m,
            experiment_id=draw(ids(EXPERIMENT_IDS)),
            source_run_id=draw(ids(["", GONE_RUN, *RUN_IDS])),
            last_updated_time=draw(times),
            metric_run_ids=tuple(draw(_mostly([], *([r] for r in [GONE_RUN, *RUN_IDS])))),
        )
        for m in draw(st.lists(ids(MODEL_IDS), unique=True, max_size=3))
    ]
    seen = draw(
        _mostly(
            Probe(),
            Probe(True),
            Probe(newest_deleted_run=("x", POLICY.as_of_ms)),
            Probe(unseen_run="y"),
            Probe(assessed_runs={"z": "sha256:0"}),
            Probe(traces_are_hidden=True),
            Probe(contents=("scorers: 2",)),
        )
    )
    probes = {
        e.experiment_id: seen if n == 0 else Probe()
        for n, e in enumerate(experiments)
        if draw(_mostly(True, False))
    }
    made = inventory(*experiments, *runs, *versions, *models, *logged)
    above = draw(_mostly({}, *({GONE_RUN: run_id} for run_id in RUN_IDS[:3])))
    return replace(made, probes=probes, parents_in_trash=above)


# None of these is the default for most worlds; the ages lie where the random times are.
_ages = _mostly(0, 10 * DAY_MS, AS_OF - CUTOFF, AS_OF - OLD, AS_OF - OLD + 1, 550 * DAY_MS)
policies = st.builds(
    Policy,
    as_of_ms=st.just(AS_OF),
    default=_mostly(TTL, 1, 450).map(Rule.of_days),
    min_age_ms=_ages,
    keep_last_runs=st.sampled_from([0, 0, 0, 1, 2, 5]),
    keep_last_versions=st.sampled_from([0, 0, 0, 1, 2, 5]),
    delete_evaluations=st.booleans(),
)
"""Policies with everything that decides about single entities."""
