"""docs/how-to/kubernetes.md and purge.md: jobs on one volume, and what they execute."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
from support import ROOT, kubernetes, oracle
from support.kubernetes import Manifest
from support.plans import Journal, Plan
from support.trash import Trash
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Outcome

MANIFESTS = kubernetes.manifests()
REPORT, REVIEW, PRUNE, PURGE = map(
    kubernetes.of, ("report.yaml", "review.yaml", "prune.yaml", "purge.yaml")
)
JOBS = [REPORT, REVIEW, PRUNE, PURGE]
PAGE = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()
VERSIONS = ("1.32", "1.37")
"""The oldest and the newest of which there are schemas."""

pytestmark = pytest.mark.smoke


def execute(bench: Bench, job: Manifest, *more: object, plan_id: str = "") -> Outcome:
    """Run what the container runs, with its variables, in a directory in place of the volume.

    The image starts ``mlflow-gc`` with the arguments of the job, in the directory of the volume.
    """
    assert "command" not in job.container
    (volume,) = [v for v in job.container["volumeMounts"] if v["name"] == "plans"]
    assert volume["mountPath"] == "/plans"
    env = dict.fromkeys(job.env, "")
    # Port 9 answers nobody: what has no server in its manifest must not need one.
    has_server = "MLFLOW_TRACKING_URI" in env
    env["MLFLOW_TRACKING_URI"] = bench.world.uri if has_server else "http://127.0.0.1:9"
    if "MLFLOW_GC_POLICY" in env:
        (bench.dir / "mlflow-gc.yml").write_text("version: 1\n")
        env["MLFLOW_GC_POLICY"] = "mlflow-gc.yml"
    if "MLFLOW_BACKEND_STORE_URI" in env:
        env["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{bench.world.database}"
        env["MLFLOW_ARTIFACTS_DESTINATION"] = str(bench.world.database.parent / "artifacts")
    arguments = [plan_id if word == "PLAN_ID" else word for word in job.container["args"]]
    return bench.cli(*arguments, *more, env=env, cwd=bench.dir)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_keep_to_the_schemas_of_kubernetes(manifest: Manifest, version: str) -> None:
    """Every name is one that Kubernetes knows, every value of its type."""
    kubernetes_validate.validate(manifest.document, version, strict=True)


def test_a_misspelt_name_would_be_found() -> None:
    """The schema is a strict one."""
    broken = json.loads(json.dumps(PRUNE.document))
    broken["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 120
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriodSecond"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_jobs_have_no_rights(job: Manifest) -> None:
    """What the restricted Pod Security Standard asks for, and a read-only root file system."""
    assert job.pod["securityContext"]["runAsNonRoot"]
    assert job.pod["securityContext"]["runAsUser"] == 10001
    assert job.pod["securityContext"]["fsGroup"] == 10001
    assert job.pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert job.pod["automountServiceAccountToken"] is False
    assert job.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in job.container["volumeMounts"]  # noqa: S108
    assert {"name": "tmp", "emptyDir": {}} in job.pod["volumes"]


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_jobs_are_careful(job: Manifest) -> None:
    """One at a time, no blind retries, time to end in order where something is deleted."""
    spec = job.document["spec"]
    if job.document["kind"] == "CronJob":
        assert spec["concurrencyPolicy"] == "Forbid"
        spec = spec["jobTemplate"]["spec"]
    assert spec["backoffLimit"] == 0
    assert job.pod["restartPolicy"] == "Never"
    if job in (PRUNE, PURGE):
        assert job.pod["terminationGracePeriodSeconds"] > 30


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_secrets_are_references(job: Manifest) -> None:
    """No secret is in a manifest; the page creates those that it names."""
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_BACKEND_STORE_URI"):
        if name in job.env:
            assert job.env[name].keys() == {"name", "valueFrom"}
            assert job.env[name]["valueFrom"].keys() == {"secretKeyRef"}
    if "MLFLOW_TRACKING_TOKEN" in job.env:
        reference = job.env["MLFLOW_TRACKING_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert f"secret generic {reference['name']} --from-file={reference['key']}=" in PAGE


def test_all_jobs_have_one_image_and_one_volume() -> None:
    """The claim of the page, and the image that it builds."""
    claim = kubernetes.of("plans.yaml").document["metadata"]["name"]
    for job in JOBS:
        volumes = {volume["name"]: volume for volume in job.pod["volumes"]}
        assert volumes["plans"]["persistentVolumeClaim"]["claimName"] == claim
        assert f"docker build --tag {job.container['image']} ." in PAGE
        if "MLFLOW_GC_POLICY" in job.env:
            configured = volumes["policy"]["configMap"]["name"]
            assert f"create configmap {configured} --from-file=mlflow-gc.yml" in PAGE
            assert job.env["MLFLOW_GC_POLICY"]["value"] == "/policy/mlflow-gc.yml"


def test_a_review_needs_no_server_and_changes_nothing() -> None:
    """No variable, no secret, a read-only volume."""
    assert not REVIEW.env
    (plans,) = [m for m in REVIEW.container["volumeMounts"] if m["name"] == "plans"]
    assert plans["readOnly"]


def test_report_review_prune_and_undo(bench: Bench) -> None:
    """The three jobs on one volume, then the other arguments of the third."""
    runs = set(bench.world.bulk_runs(bench.world.experiment(age=FRESH), 3))
    before = oracle.look(bench.world.database)
    execute(bench, REPORT).expect(0)
    plan = Plan.load(bench.dir / "prune-plan.json")
    assert plan.runs == runs
    review = execute(bench, REVIEW).expect(0)
    assert plan.plan_id in review.out
    assert all(run in review.out for run in runs)
    assert oracle.look(bench.world.database) == before

    # The digest of the page is that of another plan.
    (other,) = {line for line in PAGE.splitlines() if line.startswith("plan_id=")}
    execute(bench, PRUNE, plan_id=other.removeprefix("plan_id=")).expect(5)
    assert oracle.look(bench.world.database) == before

    execute(bench, PRUNE, plan_id=plan.plan_id).expect(0)
    journal = bench.dir / "prune-plan.json.journal.jsonl"
    assert Journal.load(journal).with_outcome("deleted") == {("run", each) for each in runs}
    (undo,) = [args for args in kubernetes.other_arguments() if args[0] == "restore"]
    bench.cli(*undo, cwd=bench.dir).expect(0)
    assert oracle.look(bench.world.database).active == before.active


def test_without_a_review(bench: Bench) -> None:
    """The CronJob with other arguments: a plan and a journal for each night."""
    runs = bench.world.bulk_runs(bench.world.experiment(age=FRESH), 3)
    (nightly,) = [args for args in kubernetes.other_arguments() if args[0] == "prune"]
    bench.cli(*nightly, cwd=bench.dir).expect(0)
    (journal,) = bench.dir.glob("prune-plan-*.json.journal.jsonl")
    assert Journal.load(journal).with_outcome("deleted") == {("run", each) for each in runs}


def test_purge_and_usage_beside_the_server(bench: Bench) -> None:
    """The job of purge.md, and the arguments for ``usage`` with its variables."""
    database = bench.world.database
    trash = Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")
    experiment = bench.world.experiment(age=FRESH)
    old, young = trash.run(experiment, deleted=100), trash.run(experiment, deleted=50)
    (usage,) = [args for args in kubernetes.other_arguments() if args[0] == "usage"]
    env = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}"}
    bench.cli(*usage, env=env, cwd=bench.dir).expect(0)
    before = trash.state()
    execute(bench, PURGE).expect(0)
    gone = trash.state().rows_gone_since(before)
    assert {row[0] for row in gone["runs"]} == {old}
    files = trash.state().files_gone_since(before)
    assert files
    assert not [path for path in files if young in path]


def test_every_night(bench: Bench) -> None:
    """The init container that is added to the job of purge.md prunes; then that job purges."""
    night = copy.deepcopy(PURGE.document)
    pod = night["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["initContainers"] = [kubernetes.init_container()]
    for version in VERSIONS:
        kubernetes_validate.validate(night, version, strict=True)
    assert pod["initContainers"][0]["securityContext"] == PURGE.container["securityContext"]
    assert pod["initContainers"][0]["image"] == PURGE.container["image"]
    pod["containers"] = pod.pop("initContainers")
    first = Manifest(PURGE.block, night)
    database = bench.world.database
    trash = Trash(bench, database.parent / "artifacts", f"sqlite:///{database}")
    experiment = bench.world.experiment(age=FRESH)
    old, stale = trash.run(experiment), trash.run(experiment, deleted=None)
    fresh = bench.world.run(experiment, age=FRESH)
    before = trash.state()
    # What Kubernetes does not start the container after.
    refused = {"MLFLOW_GC_MAX_DELETIONS": "0"}
    bench.cli(*first.container["args"], env=refused, cwd=bench.dir).expect(5)
    assert trash.state() == before
    execute(bench, first).expect(0)
    assert {i for kind, i in oracle.look(database).active if kind == "run"} == {fresh}
    assert trash.state().files == before.files
    execute(bench, PURGE).expect(0)
    assert {row[0] for row in trash.state().rows["runs"]} == {stale, fresh}
    gone = trash.state().files_gone_since(before)
    assert gone
    assert all(old in path for path in gone)
