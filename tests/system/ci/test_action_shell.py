"""The shell that the action's steps share."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import ROOT
from support.github import read_commands, read_outputs

SHELL = ROOT / ".github" / "action" / "lib.sh"


def start(scratch: Path, script: str) -> subprocess.Popen[str]:
    """Start a step that sources the library, with ``scratch`` as the runner's directory."""
    (scratch / "mlflow-gc" / "x.plan").mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        ["bash", "-c", f'. "{SHELL}"\n{script}'],
        env={
            "PATH": os.environ["PATH"],
            "RUNNER_TEMP": str(scratch),
            "NAME": "x",
            "GITHUB_OUTPUT": str(scratch / "output"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=scratch,
    )


def run(scratch: Path, script: str) -> tuple[int, str]:
    """Run such a step to its end."""
    process = start(scratch, script)
    printed, _ = process.communicate(timeout=30)
    return process.returncode, printed


def test_the_runner_acts_on_nothing_that_a_program_says(tmp_path: Path) -> None:
    """On stdout and stderr; afterwards it listens again."""
    program = (
        r"""sh -c 'printf "::error::a\n  ::warning::b\nx ##[error]c\n"; echo "::notice::d" >&2'"""
    )
    code, printed = run(tmp_path, f"logged log {program}\nannotate warning 'A sentence.'")
    assert code == 0
    assert "::error::a" in printed
    assert read_commands(printed) == [("warning", "A sentence.")]
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["::error::a", "  ::warning::b", "x ##[error]c", "::notice::d"]


def test_nobody_can_guess_the_word_that_ends_the_silence(tmp_path: Path) -> None:
    """Another one each time."""
    _, printed = run(tmp_path, "logged log true; logged log true")
    words = {line for line in printed.splitlines() if line.startswith("::stop-commands::")}
    assert len(words) == 2
    assert all(len(word) == len("::stop-commands::") + 32 for word in words)


@pytest.mark.parametrize("code", [0, 1, 2, 5, 143])
def test_the_exit_code_is_that_of_the_program(code: int, tmp_path: Path) -> None:
    """Not that of what prints its words."""
    assert run(tmp_path, f"logged log sh -c 'echo x; exit {code}'")[0] == code


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_program_once(signum: signal.Signals, tmp_path: Path) -> None:
    """The runner sends SIGINT, then SIGTERM; to a second signal mlflow-gc would end at once."""
    (tmp_path / "program.sh").write_text(
        "trap 'echo stopping; stopped=yes' TERM\ntrap 'echo interrupted' INT\n"
        "touch ready\n"
        'while [ -z "$stopped" ]; do sleep 0.1; done\n'
        # What comes now would be a second signal.
        "trap 'echo twice; exit 99' TERM\n"
        "for _ in 1 2 3 4 5; do sleep 0.1; done\necho done\nexit 143\n"
    )
    process = start(tmp_path, 'logged log sh program.sh || code=$?\necho "then $code"')
    deadline = time.monotonic() + 20
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signum)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == ["stopping", "done"]
    assert printed.splitlines()[-1] == "then 143"


def test_outputs_hold_any_value(tmp_path: Path) -> None:
    """Line breaks and look-alikes of the end included."""
    run(tmp_path, "output a 'x\ny<<z'; output b ''; output a-b 'end-0\nb=evil'")
    text = (tmp_path / "output").read_text()
    assert read_outputs(text) == {"a": "x\ny<<z", "b": "", "a-b": "end-0\nb=evil"}
    ends = [line.partition("<<")[2] for line in text.splitlines() if "<<end-" in line]
    assert len(set(ends)) == 3


def test_quoted_text_is_text(tmp_path: Path) -> None:
    """The last lines, without markup; what is very long is cut."""
    lines = [*(f"line {n}" for n in range(100)), "<b>&amp;</pre>", "y" * 5000]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    _, printed = run(tmp_path, "quoted log")
    shown = printed.splitlines()
    assert shown[0] == "<pre>"
    assert shown[-1] == "</pre>"
    assert shown[1] == "line 52"
    assert shown[-3] == "&lt;b&gt;&amp;amp;&lt;/pre&gt;"
    assert shown[-2] == "y" * 2000
