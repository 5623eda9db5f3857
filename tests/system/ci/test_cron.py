"""docs/how-to/cron.md: the nightly job, its mail, and one at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from email import message_from_string
from email.policy import default
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import ROOT, oracle
from support.pages import block_for, blocks
from support.plans import Journal
from support.trash import Trash
from support.world import FRESH

if TYPE_CHECKING:
    from email.message import EmailMessage

    from support.bench import Bench

BIN = Path(sys.executable).parent
PAGE = ROOT / "docs" / "how-to" / "cron.md"


def rewritten(text: str, places: dict[str, Path]) -> str:
    """Put scratch directories in place of those of the page; each has to be there."""
    for place, scratch in places.items():
        assert place in text
        text = text.replace(place, str(scratch))
    return text


@dataclass(frozen=True)
class Night:
    """The job of the page below a scratch directory, with a ``sendmail`` that writes to a file."""

    bench: Bench

    @property
    def plans(self) -> Path:
        """What the job writes to."""
        return self.bench.dir / "lib" / "plans"

    @property
    def places(self) -> dict[str, Path]:
        """Directories of the page, and those of this job."""
        root = self.bench.dir
        return {"/opt/mlflow-gc/bin": BIN, "/etc": root, "/var/lib/mlflow-gc": root / "lib"}

    def set_up(self) -> None:
        """Write the script and what it needs."""
        root = self.bench.dir
        self.plans.mkdir(parents=True)
        artifacts = self.bench.world.database.parent / "artifacts"
        settings = block_for("how-to/cron.md", "/etc/mlflow-gc.env")
        for line, value in {
            "https://mlflow.example.com": self.bench.world.uri,
            "postgresql://...": f"sqlite:///{self.bench.world.database}",
            "s3://bucket/root": str(artifacts),
            "/etc/mlflow-gc.yml": str(root / "mlflow-gc.yml"),
            # A shell reads it: without quotes the job would end here.
            "MLFLOW_TRACKING_TOKEN='...'": "MLFLOW_TRACKING_TOKEN='a&b$c'",
        }.items():
            assert line in settings
            settings = settings.replace(line, value)
        (root / "mlflow-gc.env").write_text(settings)
        (root / "mlflow-gc.yml").write_text("version: 1\n")
        (script,) = [b.text for b in blocks(PAGE) if b.text.startswith("#!/bin/sh")]
        places = self.places | {"/usr/sbin": root / "sbin"}
        (root / "nightly").write_text(rewritten(script, places))
        (root / "sbin").mkdir()
        self.sendmail('cat > "$0.mail"')

    def sendmail(self, script: str) -> None:
        """Say what ``sendmail`` does."""
        program = self.bench.dir / "sbin" / "sendmail"
        program.write_text(f'#!/bin/sh\necho "$*" > "$0.arguments"\n{script}\n')
        program.chmod(0o755)

    def run(self, *before: str) -> subprocess.CompletedProcess[str]:
        """Run it as cron does."""
        return self.bare(*before, "sh", str(self.bench.dir / "nightly"))

    def bare(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a bare environment, without a terminal."""
        return subprocess.run(
            command,
            cwd=self.bench.dir,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.bench.dir),
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def mail(self) -> EmailMessage:
        """What was sent."""
        text = (self.bench.dir / "sbin" / "sendmail.mail").read_text()
        message = message_from_string(text, policy=default)
        assert not message.defects
        assert message["To"] == "mlops"
        assert message.get_content_type() == "text/plain"
        assert message.get_content_charset() == "utf-8"
        arguments = (self.bench.dir / "sbin" / "sendmail.arguments").read_text()
        # Recipients from the header; a line with a dot alone does not end the text.
        assert arguments.split() == ["-i", "-t"]
        return message


@pytest.fixture
def night(bench: Bench) -> Night:
    made = Night(bench)
    made.set_up()
    return made


def subject(code: int, result: str) -> str:
    """The subject of a mail."""
    return f"mlflow-gc: {result} on {os.uname().nodename} (exit code {code})"


def test_a_night(night: Night) -> None:
    """It prunes, purges what has been in the trash for long, and mails both summaries."""
    world = night.bench.world
    trash = Trash(night.bench, world.database.parent / "artifacts", f"sqlite:///{world.database}")
    experiment = world.experiment(age=FRESH)
    runs = world.bulk_runs(experiment, 3)
    purged = trash.run(experiment, deleted=100)
    before = trash.state()
    done = night.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    left = {row[0] for row in trash.state().rows["runs"]}
    # Those that this night pruned stay in the trash.
    assert {row[0] for row in before.rows["runs"]} - left == {purged}

    message = night.mail()
    assert message["Subject"] == subject(0, "done")
    text = message.get_content()
    assert "3 deleted, 0 skipped, 0 failed" in text
    assert re.search(
        r"^Undo: +mlflow-gc restore prune-plan-\S+\.json\.journal\.jsonl$", text, re.MULTILINE
    )
    assert re.search(r"^runs +1 +0 +0$", text, re.MULTILINE)
    assert re.search(r"^Deleted \d+ bytes in \d+ files, and \d+ rows\.$", text, re.MULTILINE)

    (journal,) = night.plans.glob("prune-plan-*.json.journal.jsonl")
    assert Journal.load(journal).with_outcome("deleted") == {("run", each) for each in runs}
    assert {file.stat().st_mode & 0o077 for file in night.plans.iterdir()} == {0}
    (example,) = [b.text for b in blocks(PAGE) if b.text.startswith("mlflow-gc restore")]
    shape = re.compile(r"prune-plan-[\dT.-]+Z\.json\.journal\.jsonl")
    assert shape.fullmatch(journal.name)
    assert shape.fullmatch(example.split()[-1])


@pytest.mark.smoke
def test_the_mail_undoes_the_night(night: Night) -> None:
    """Its command, pasted into a shell that has what the page says."""
    world = night.bench.world
    world.bulk_runs(world.experiment(age=FRESH), 3)
    before = night.bench.state().active
    assert night.run().returncode == 0
    assert before - night.bench.state().active
    (shell,) = [b.text for b in blocks(PAGE) if b.text.startswith("cd /var/lib/mlflow-gc/plans")]
    (undo,) = re.findall(r"^Undo: +(.+)$", night.mail().get_content(), re.MULTILINE)
    done = night.bare("sh", "-c", f"{rewritten(shell, night.places)}\n{undo} --yes")
    assert done.returncode == 0, done.stderr
    assert night.bench.state().active >= before


def test_a_refusal_is_in_the_subject_and_nothing_is_purged(night: Night) -> None:
    """An exceeded guard: neither command deletes anything."""
    world = night.bench.world
    trash = Trash(night.bench, world.database.parent / "artifacts", f"sqlite:///{world.database}")
    experiment = world.experiment(age=FRESH)
    world.bulk_runs(experiment, 3)
    trash.run(experiment, deleted=100)
    (night.bench.dir / "mlflow-gc.yml").write_text(
        "version: 1\nguards: {max_deletions: {runs: 1}}\n"
    )
    before = trash.state()
    assert night.run().returncode == 5
    assert night.mail()["Subject"] == subject(5, "refused")
    assert not trash.state().rows_gone_since(before)
    assert not trash.state().files_gone_since(before)


def test_an_error_is_in_the_subject(night: Night) -> None:
    """A server that does not answer."""
    settings = night.bench.dir / "mlflow-gc.env"
    settings.write_text(settings.read_text().replace(night.bench.world.uri, "http://127.0.0.1:9"))
    settings.write_text(settings.read_text() + "MLFLOW_HTTP_REQUEST_MAX_RETRIES=0\n")
    assert night.run().returncode == 1
    assert night.mail()["Subject"] == subject(1, "failed")


def test_one_night_at_a_time(night: Night) -> None:
    """The second one deletes nothing, and says so."""
    world = night.bench.world
    world.bulk_runs(world.experiment(age=FRESH), 3)
    before = oracle.look(world.database)
    assert night.run("flock", str(night.plans / "lock")).returncode == 75
    message = night.mail()
    assert message["Subject"] == subject(75, "not started")
    assert "still running" in message.get_content()
    assert oracle.look(world.database) == before


def test_what_cannot_be_mailed_is_printed(night: Night) -> None:
    """cron mails it, or logs it."""
    night.sendmail("exit 1")
    done = night.run()
    assert done.returncode == 0
    assert "mlflow-gc" in done.stdout or "Nothing" in done.stdout


def test_names_cannot_write_headers_or_commands(night: Night) -> None:
    """Whatever an experiment is called, it is text of the body."""
    world = night.bench.world
    name = "\n.\n\nSubject: forged\n~!touch forged\n$(touch forged) `touch forged` %s%n"
    world.bulk_runs(world.experiment(name, age=FRESH), 3)
    assert night.run().returncode == 0
    message = night.mail()
    assert message.get_all("Subject") == [subject(0, "done")]
    assert "3 deleted, 0 skipped, 0 failed" in message.get_content()
    assert not list(night.bench.dir.rglob("forged"))


def test_the_schedule(night: Night) -> None:
    """Five fields, the account and the script of the page."""
    assert night.plans.is_dir()
    (line,) = [
        line
        for line in block_for("how-to/cron.md", "/etc/cron.d/mlflow-gc").splitlines()
        if line and not line.startswith("#")
    ]
    *times, account, command = line.split()
    assert len(times) == 5
    assert f"useradd --system --home-dir /var/lib/{account} " in PAGE.read_text()
    assert f"# {command}\n" in PAGE.read_text()
