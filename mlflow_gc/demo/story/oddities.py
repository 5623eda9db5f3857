"""Unusual data: wrong clocks, and names that attack a terminal."""

from __future__ import annotations

import dataclasses

from mlflow_gc.demo.scenario import DAY_MS, KEEP_TAGS, RegisteredModelSpec, VersionSpec
from mlflow_gc.demo.story.diary import Chapter, Diary

CLOCKS = "edge-devices"

# Anybody who may create a run chooses these; mlflow-gc shows them to people with more permissions.
_ESCAPE = "\x1b[2J\x1b[31mall clear\x1b[0m"
_NEWLINE = "first line\nEverything is fine, answer yes"
_MARKUP = "[red]bold[/red] [link=https://example.org]click[/link]"
_SCRIPT = "<script>alert(1)</script>"
_QUOTES = 'it\'s "quoted"'
_RIGHT_TO_LEFT = "report-\u202egnp.exe"
_UNICODE = "größe-模型-🚀"
_TABLE = "| cell | `code` | ![x](https://example.org/x.png) |"

UGLY_NAMES = (
    _ESCAPE,
    _NEWLINE,
    _MARKUP,
    _SCRIPT,
    _QUOTES,
    _RIGHT_TO_LEFT,
    _UNICODE,
    _TABLE,
)
_UGLY_EXPERIMENT = f"{_UNICODE} {_QUOTES} {_SCRIPT}"
_UGLY_STALE_EXPERIMENT = f"{_MARKUP}{_ESCAPE}\n{_RIGHT_TO_LEFT}"
# MLflow refuses "/" and ":" in the name of a model, and nothing else.
_UGLY_MODEL = '[red]risk[red] <b onclick=alert(1)> it\'s "x"\x1b[31m'


def oddities(diary: Diary) -> Chapter:
    """Return runs with implausible times and entities with ugly names."""
    chapter = Chapter()
    _clocks(chapter, diary)
    _names(chapter, diary)
    return chapter


def _clocks(chapter: Chapter, diary: Diary) -> None:
    chapter.experiments.append(diary.experiment(CLOCKS, 220))
    sane = [
        diary.run(CLOCKS, 100 + 5 * number, name=name, user="edge")
        for number, name in enumerate(("no-start", "seconds", "future", "fine-1", "fine-2"))
    ]
    no_start, seconds, future, *fine = sane
    chapter.runs += [
        # A client without start time gets 1970.
        dataclasses.replace(no_start, start_ms=None, metrics=()),
        # Seconds instead of milliseconds: also 1970.
        dataclasses.replace(
            seconds,
            start_ms=diary.ago(100) // 1000,
            end_ms=diary.ago(100) // 1000 + 60,
            metrics=(),
        ),
        # A device whose clock is a year ahead.
        dataclasses.replace(future, end_ms=diary.now_ms + 365 * DAY_MS),
        *fine,
    ]


def _names(chapter: Chapter, diary: Diary) -> None:
    chapter.experiments += [
        diary.experiment(_UGLY_EXPERIMENT, 170, note=_SCRIPT),
        diary.experiment(_UGLY_STALE_EXPERIMENT, 175),
    ]
    for number, name in enumerate(UGLY_NAMES):
        chapter.runs += [
            diary.run(_UGLY_EXPERIMENT, 60 + number, name=name, user=name),
            diary.run(_UGLY_STALE_EXPERIMENT, 80 + number, name=name, user=_ESCAPE),
        ]
    chapter.runs += [
        diary.run(_UGLY_EXPERIMENT, 60, name=f"kept {_ESCAPE}", user=_QUOTES, tags=KEEP_TAGS),
        diary.run(
            _UGLY_EXPERIMENT, 60, key="ugly-1", name=f"{_MARKUP}{_NEWLINE}", user=_RIGHT_TO_LEFT
        ),
        diary.run(_UGLY_EXPERIMENT, 50, key="ugly-2", name=_TABLE, user=_UNICODE),
    ]
    chapter.models.append(RegisteredModelSpec(_UGLY_MODEL, diary.ago(170), {}, _ESCAPE))
    chapter.versions += [
        VersionSpec(
            _UGLY_MODEL,
            diary.ago(days),
            run=key,
            description=f"{_NEWLINE}{_ESCAPE}{_SCRIPT}",
            tags={"comment": _TABLE},
        )
        for key, days in (("ugly-1", 60), ("ugly-2", 50))
    ]
