"""The teams' own experiments: work of all ages, nightly training, sandboxes, an abandoned idea."""

from __future__ import annotations

import dataclasses

from mlflow_gc.demo.scenario import KEEP_TAGS
from mlflow_gc.demo.story.diary import Chapter, Diary

FRAUD = "fraud-detection"
CHURN = "churn"
DEMAND = "demand-forecast"
NIGHTLY = "nightly-training"
SANDBOX_ANA = "sandbox-ana"
SANDBOX_BO = "sandbox-bo"
SANDBOX_CHLOE = "sandbox-chloe"
SANDBOX_EMI = "sandbox-emi"
RECSYS = "recsys-prototype-2"
VISION = "vision-trial"
AUDIT = "credit-audit-2024"

_NIGHTS = 56
# The TTL of 30 days falls between two nights.
_NIGHT_SHIFT_DAYS = 0.4


def teams(diary: Diary) -> Chapter:
    """Return what the teams did."""
    chapter = Chapter()
    _products(chapter, diary)
    _nightly(chapter, diary)
    _sandboxes(chapter, diary)
    _left_behind(chapter, diary)
    return chapter


def _products(chapter: Chapter, diary: Diary) -> None:
    chapter.experiments += [
        diary.experiment(FRAUD, 400, team="risk", note="Card fraud, scored online."),
        diary.experiment(CHURN, 310, team="growth"),
        diary.experiment(DEMAND, 280, team="supply"),
    ]
    chapter.runs += diary.daily_work(
        FRAUD, ("ana", "dmitri", "svc-training"), fresh=20, stale=44, name="xgb"
    )
    chapter.runs += diary.daily_work(CHURN, ("bo", "emi"), fresh=12, stale=34, name="logreg")
    chapter.runs += diary.daily_work(DEMAND, ("chloe", "emi"), fresh=14, stale=30, name="prophet")
    # Finished long ago and still used: a backtest logged a metric last week.
    backtested = diary.run(DEMAND, 90, name="prophet-backtested", user="emi")
    chapter.runs += [
        dataclasses.replace(backtested, metrics=(*backtested.metrics, diary.late_metric(6))),
        # A resumed run is RUNNING with an end time weeks ago.
        diary.run(DEMAND, 75, name="prophet-resumed", user="emi", status="RUNNING", resumed=True),
        diary.run(FRAUD, 120, name="xgb-keep-baseline", user="dmitri", tags=KEEP_TAGS),
        # The job died with its machine, so its run is still RUNNING.
        diary.run(FRAUD, 66, name="xgb-zombie", user="svc-training", status="RUNNING"),
        diary.run(CHURN, 0.05, name="logreg-now", user="bo", status="RUNNING"),
        diary.run(CHURN, 41, name="logreg-queued", user="emi", status="SCHEDULED"),
        diary.run(CHURN, 150, name="logreg-removed", user="emi", deleted=True),
    ]


def _nightly(chapter: Chapter, diary: Diary) -> None:
    chapter.experiments.append(diary.experiment(NIGHTLY, 200, team="platform"))
    for night in range(_NIGHTS, 0, -1):
        status = "FAILED" if night % 11 == 0 else "FINISHED"
        days = night + _NIGHT_SHIFT_DAYS
        chapter.runs.append(
            diary.run(
                NIGHTLY, days, name=f"nightly-{night:02d}", user="svc-training", status=status
            )
        )


def _sandboxes(chapter: Chapter, diary: Diary) -> None:
    chapter.experiments += [
        diary.experiment(SANDBOX_ANA, 260),
        diary.experiment(SANDBOX_BO, 190),
        diary.experiment(SANDBOX_CHLOE, 240),
    ]
    chapter.runs += diary.daily_work(SANDBOX_ANA, ("ana",), fresh=0, stale=20, name="try")
    chapter.runs.append(diary.run(SANDBOX_ANA, 130, name="notebook", user="ana", status="RUNNING"))
    chapter.runs += diary.daily_work(SANDBOX_BO, ("bo",), fresh=6, stale=14, name="test")
    chapter.runs += diary.daily_work(SANDBOX_CHLOE, ("chloe",), fresh=0, stale=15, name="tmp")
    # All runs are old, but one in the trash is of last week: somebody still works on it.
    chapter.experiments.append(diary.experiment(SANDBOX_EMI, 150))
    chapter.runs += diary.daily_work(SANDBOX_EMI, ("emi",), fresh=0, stale=6, name="draft")
    chapter.runs.append(diary.run(SANDBOX_EMI, 5, name="draft-oops", user="emi", deleted=True))
    # Runs without set_experiment() are in the default experiment.
    for number in range(1, 7):
        chapter.runs.append(
            diary.run("Default", diary.stale_age(), name=f"untitled-{number}", user="bo")
        )


def _left_behind(chapter: Chapter, diary: Diary) -> None:
    chapter.experiments += [
        diary.experiment(RECSYS, 330, team="growth", note="On hold."),
        diary.experiment(AUDIT, 420, team="risk", tags=KEEP_TAGS, note="Kept for the auditor."),
        diary.experiment(VISION, 190),
        diary.experiment("pricing-ideas", 140),
        diary.experiment("price-elasticity", 3, team="growth"),
        diary.experiment("poc-image-search", 380, deleted=True),
    ]
    # Not registered, but a model: MLflow stores its files next to the runs.
    chapter.runs.append(diary.run(VISION, 185, name="resnet-50", user="chloe", logged_model=True))
    for number in range(1, 23):
        chapter.runs.append(
            diary.run(RECSYS, 210 + 4 * number, name=f"als-{number:02d}", user="emi")
        )
    chapter.runs.append(diary.run(RECSYS, 300, name="als-broken", user="emi", deleted=True))
    for quarter in range(1, 9):
        chapter.runs.append(
            diary.run(AUDIT, 100 + 30 * quarter, name=f"evidence-{quarter}", user="dmitri")
        )
    for number in range(1, 5):
        chapter.runs.append(diary.run("poc-image-search", 340, name=f"clip-{number}", user="chloe"))
