"""What the demo says of a server that does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_gc.demo.server import LocalServer
from mlflow_gc.errors import GcError


@pytest.mark.parametrize(
    ("script", "patience_s", "message", "hint"),
    [
        ("echo port in use; exit 1", 60.0, "ended before it responded", "port in use"),
        ("sleep 60", 0.0, "did not respond within 0 seconds", "It printed nothing."),
    ],
)
def test_a_server_that_does_not_start_is_said_to_have(
    tmp_path: Path, script: str, patience_s: float, message: str, hint: str
) -> None:
    """Whether it ended or was too slow, and no file that is gone with the demo."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(GcError) as caught:
        LocalServer(tmp_path, python=python, patience_s=patience_s).start()
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert str(tmp_path) not in str(caught.value.hint)
