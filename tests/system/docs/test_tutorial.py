"""The tutorial is true: what it shows is what the program does today.

All its commands are typed into a shell, with a demo server of their own; what changes every time
(ids, digests, times) is set aside.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_record"))

from session import Step, lasting, shell, steps, with_steps
from tutorial import PAGE, differences, replay

FENCE = "```"


def block(*lines: str, comment: str = "") -> str:
    return "\n".join([*([comment] if comment else []), f"{FENCE}console", *lines, FENCE]) + "\n"


@pytest.mark.timeout(1800)
def test_every_command_does_what_the_page_shows(tmp_path: Path):
    page = PAGE.read_text(encoding="utf-8")
    assert differences(page, replay(page, tmp_path)) == []


@pytest.mark.smoke
def test_the_page_is_written_as_the_recorder_would():
    page = PAGE.read_text(encoding="utf-8")
    assert with_steps(page, steps(page)) == page
    commands = [step.command.split()[1] for step in steps(page) if "mlflow-gc" in step.command]
    assert {"demo", "report", "show", "check", "diff", "prune", "restore", "policy"} <= set(
        commands
    )


def test_another_number_in_the_output_is_a_difference():
    before = block("$ mlflow-gc report", "runs  12")
    after = block("$ mlflow-gc report", "runs  13")
    assert "-runs 12" in differences(before, after)
    assert "+runs 13" in differences(before, after)


def test_ids_digests_times_and_addresses_are_none():
    def page(digit: str, day: int) -> str:
        return block(
            f"$ export MLFLOW_TRACKING_URI=http://127.0.0.1:5{digit}",
            f"run {digit * 32}  2026-11-0{day}  sha256:{digit * 64}",
            f"As of 2026-11-0{day}T10:00:00.000Z in /tmp/x/mlflow-gc-demo-{digit}",
        )

    assert page("1", 2) != page("3", 4)
    assert differences(page("1", 2), page("3", 4)) == []


def test_progress_of_a_slow_machine_is_left_out(tmp_path: Path):
    page = block(
        "$ echo 'Read 400 runs, 12 model versions (38/s)'; echo done",
        "$ echo 'Done: 12 of 50 runs (0.8/s, about 2 min left)'; echo done",
        "$ echo 'Loading MLflow: 20 s so far'; echo done",
    )
    with shell(tmp_path) as running:
        assert [running.run(step).output for step in steps(page)] == ["done\n"] * 3


def test_long_output_is_cut_in_the_middle():
    page = block("$ seq 9", comment="<!-- session: first=2 last=1 -->")
    (step,) = steps(page)
    done = Step(step.command, "".join(f"{n}\n" for n in range(1, 10)), step.first, step.last)
    assert with_steps(page, [done]) == block(
        "$ seq 9", "1", "2", "...", "9", comment="<!-- session: first=2 last=1 -->"
    )


def test_output_that_looks_like_a_command_has_to_be_cut():
    page = block("$ cat session")
    with pytest.raises(ValueError, match="cut it"):
        with_steps(page, [Step("cat session", "$ rm -rf /\n")])


def test_commands_share_a_shell_and_cannot_read_each_other(tmp_path: Path):
    page = block("$ NAME=fraud; cd /; cat", "$ cat <<END", "> $NAME", "> END", "$ pwd; false")
    with shell(tmp_path) as running:
        outputs = [running.run(step).output for step in steps(page)]
    assert outputs == ["", "fraud\n", "/\n"]


def test_what_a_command_names_of_an_older_session_is_that_of_this_one(tmp_path: Path):
    plan = tmp_path / "plan.json"
    plan.write_text('{"plan_id": "sha256:' + "b" * 64 + '"}', encoding="utf-8")
    page = block(
        "$ echo http://127.0.0.1:7777",
        "$ export URI=http://127.0.0.1:5555; echo $URI",
        "$ echo plan.json --expect sha256:" + "a" * 64,
    )
    with shell(tmp_path) as running:
        done = [running.run(step) for step in steps(page)]
    assert done[1].output == "http://127.0.0.1:7777\n"
    assert done[2].output == "plan.json --expect sha256:" + "b" * 64 + "\n"
    assert "a" * 64 not in lasting(done[2])
