"""What the made-up company of the demo did in the past year.

Ages are relative to now and the random numbers are seeded, so that two demos differ in the ids
the server hands out and in nothing else.
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
    """Make up the demo's data.

    Args:
        now_ms: the time all ages count from, milliseconds since the epoch.

    Returns:
        the same scenario for the same ``now_ms``, moved along with it otherwise.
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
