"""docs/how-to/approve.md: what stands for a plan, and what refuses another one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT
from support.pages import blocks
from support.plans import Plan, plan_digest
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench

BIN = Path(sys.executable).parent
SHELL = [b.text for b in blocks(ROOT / "docs" / "how-to" / "approve.md") if b.language == "sh"]
(SIGN,) = [text for text in SHELL if text.startswith("ssh-keygen")]
(APPLY_SIGNED,) = [text for text in SHELL if "apply-signed.sh" in text]


@pytest.fixture
def plan(bench: Bench) -> Plan:
    """A plan with some runs."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 3)
    return bench.report(name="prune-plan.json")


def sha256(path: Path) -> str:
    """As ``sha256sum`` counts."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_reports_of_one_state_have_one_plan_id(bench: Bench, plan: Plan) -> None:
    """And are two files."""
    again = bench.report(name="again.json")
    assert again.plan_id == plan.plan_id
    assert sha256(again.path) != sha256(plan.path)
    other = bench.cli("report", "-o", bench.dir / "later.json").expect(0)
    assert plan.plan_id not in other.text, "another moment, another plan"


def test_validate_says_the_plan_id(bench: Bench, plan: Plan) -> None:
    """As the page shows it, which recipes cut with sed."""
    done = bench.cli("validate", "prune-plan.json", cwd=bench.dir).expect(0)
    assert done.out == f"prune-plan.json: valid plan {plan.plan_id}\n"


def test_a_reformatted_plan_is_the_approved_one(bench: Bench, plan: Plan) -> None:
    """Another file, the same content."""
    document = json.loads(plan.path.read_text())
    shuffled = dict(reversed(document.items()))
    plan.path.write_text(json.dumps(shuffled, indent=4))
    bench.cli("prune", plan.path, "--expect", plan.plan_id, "--dry-run").expect(0)


def _expire(document: dict[str, Any]) -> None:
    document["as_of"] = "2020-01-01T00:00:00.000Z"


def _another(document: dict[str, Any]) -> None:
    document["runs"].pop()
    for count in ("delete", "stale", "scanned"):
        document["summary"]["runs"][count] -= 1


@pytest.mark.smoke
def test_a_changed_plan_is_refused(bench: Bench, plan: Plan) -> None:
    """Whether its digest was left as it was, or made to fit."""
    before = bench.state()
    for sign in (False, True):
        changed = plan.edited(bench.dir / "changed.json", _another, sign=sign)
        refused = bench.cli("prune", changed.path, "--expect", plan.plan_id).expect(5)
        assert plan.plan_id in refused.err
        assert plan_digest(changed.document) in refused.err
    # Made to fit, it is a plan of its own, which nobody approved.
    bench.cli("prune", changed.path, "--dry-run").expect(0)
    assert bench.state() == before
    assert not list(bench.dir.glob("*.journal.jsonl"))


@pytest.mark.parametrize("expect", ["", "sha256:", "a33520eb", "SHA256"])
def test_an_approval_that_is_no_digest_fits_nothing(expect: str, bench: Bench, plan: Plan) -> None:
    """Neither empty nor cut nor in another spelling."""
    given = plan.plan_id.upper() if expect == "SHA256" else expect
    bench.cli("prune", plan.path, "--expect", given).expect(5)


def test_an_expired_plan_is_refused_although_approved(bench: Bench) -> None:
    """``expire_after`` of the policy, from the page."""
    bench.world.bulk_runs(bench.world.experiment(age=FRESH), 1)
    (policy,) = [
        b.text for b in blocks(ROOT / "docs" / "how-to" / "approve.md") if "expire_after" in b.text
    ]
    (bench.dir / "p.yml").write_text(policy)
    args = ("--policy", bench.dir / "p.yml", "--as-of", "2026-01-01T00:00:00Z")
    bench.cli("report", "-o", bench.dir / "old.json", *args).expect(0)
    old = Plan.load(bench.dir / "old.json")
    assert old.document["expires_at"] == "2026-01-03T00:00:00.000Z"
    refused = bench.cli("prune", old.path, "--expect", old.plan_id).expect(5)
    assert "expired" in refused.err


# Signed with SSH keys


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Ann's key, and the file that lets her approve."""
    home = tmp_path / "ann"
    (home / ".ssh").mkdir(parents=True)
    key = home / ".ssh" / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", str(key)], check=True
    )
    return key


@pytest.fixture
def signed(bench: Bench, plan: Plan, key: Path) -> Plan:
    """The plan, signed as the page says, and the approvers beside it."""
    home = key.parents[1]
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    script = SIGN.replace("~", str(home))
    subprocess.run(["sh", "-ec", script], cwd=bench.dir, env=env, check=True)
    public = key.with_suffix(".pub").read_text().rsplit(" ", 1)[0]
    (bench.dir / "approvers").write_text(f'ann@example.com namespaces="mlflow-gc" {public}\n')
    return plan


def apply(bench: Bench, who: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the page."""
    script = bench.dir / "apply-signed.sh"
    script.write_text(APPLY_SIGNED)
    return subprocess.run(
        ["sh", str(script), "prune-plan.json", who],
        cwd=bench.dir,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(bench.dir),
            "MLFLOW_TRACKING_URI": bench.world.uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_signed_plan_is_applied(bench: Bench, signed: Plan) -> None:
    """And its journal stands beside it."""
    done = apply(bench, "ann@example.com")
    assert done.returncode == 0, done.stderr
    assert not signed.entities & bench.state().active
    assert (bench.dir / "prune-plan.json.journal.jsonl").exists()


def test_without_a_good_signature_nothing_is_touched(bench: Bench, signed: Plan) -> None:
    """Another person, another file, no signature."""
    before = bench.state()
    assert apply(bench, "bob@example.com").returncode != 0
    content = signed.path.read_bytes()
    signed.path.write_bytes(content + b"\n")
    assert apply(bench, "ann@example.com").returncode != 0
    signed.path.write_bytes(content)
    (bench.dir / "prune-plan.json.sig").unlink()
    assert apply(bench, "ann@example.com").returncode != 0
    assert bench.state() == before
