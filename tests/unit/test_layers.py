"""The folders tell the story of the data; a lower room never imports a higher one."""

from __future__ import annotations

import ast
from pathlib import Path

from support import ROOT

PACKAGE = ROOT / "mlflow_gc"
STORY = [
    "retention",
    "plan",
    "policy",
    "storage",
    "backend",
    "inventory",
    "apply",
    "announce",
    "workflows",
    "render",
    "demo",
    "cli",
]
FOUNDATION = {"domain", "errors", "settings", "invocation", "version"}


def _rank(module: str) -> int:
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else ""
    if room in STORY:
        return STORY.index(room) + 1
    return 0 if room in FOUNDATION or not room else len(STORY) + 1


def _imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.split(".")[0] == "mlflow_gc"]


def test_no_room_imports_a_later_one() -> None:
    """Arrows point backwards only, in the order of ``STORY``."""
    wrong = []
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 40
    for file in files:
        module = ".".join(["mlflow_gc", *file.relative_to(PACKAGE).with_suffix("").parts])
        wrong += [f"{module} -> {name}" for name in _imports(file) if _rank(name) > _rank(module)]
    assert not wrong


def test_only_the_backend_and_the_demo_know_mlflow() -> None:
    """``backend`` is the only room that calls MLflow; the demo fills a server of its own."""
    knowing = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [getattr(node, "module", None) or ""] if isinstance(node, ast.ImportFrom) else []
            )
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.split(".")[0] == "mlflow" for name in names):
                knowing.add(file.relative_to(PACKAGE).parts[0])
    assert knowing <= {"backend", "demo"}
