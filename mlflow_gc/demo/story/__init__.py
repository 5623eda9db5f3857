"""The fictional history of the demo: what a company did in the past year.

Ages are relative to now and random numbers are seeded, so that two demos differ only in the ids
that the server assigns.
"""

from __future__ import annotations

from mlflow_gc.demo.scenario import Scenario
from mlflow_gc.demo.story.diary import Diary
from mlflow_gc.demo.story.genai import genai
from mlflow_gc.demo.story.oddities import oddities
from mlflow_gc.demo.story.registry import registry
from mlflow_gc.demo.story.sweeps import sweeps
from mlflow_gc.demo.story.teams import teams

__all__ = ["tell"]


def tell(now_ms: int) -> Scenario:
    """Create the demo's data.

    Args:
        now_ms: the time from which ages count back, milliseconds since the epoch.

    Returns:
        The same scenario for the same ``now_ms``; otherwise shifted with it.
    """
    chapters = [
        chapter(Diary(now_ms, seed=name))
        for name, chapter in (
            ("teams", teams),
            ("sweeps", sweeps),
            ("genai", genai),
            ("registry", registry),
            ("oddities", oddities),
        )
    ]
    return Scenario(
        experiments=tuple(e for chapter in chapters for e in chapter.experiments),
        runs=tuple(r for chapter in chapters for r in chapter.runs),
        models=tuple(m for chapter in chapters for m in chapter.models),
        versions=tuple(v for chapter in chapters for v in chapter.versions),
        prompts=tuple(p for chapter in chapters for p in chapter.prompts),
        traces=tuple(t for chapter in chapters for t in chapter.traces),
    )
