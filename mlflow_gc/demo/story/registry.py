"""Registered models: champions, stages, copies, MLflow 3 logged models, unused versions."""

from __future__ import annotations

from mlflow_gc.demo.scenario import KEEP_TAGS, RegisteredModelSpec, VersionSpec
from mlflow_gc.demo.story.diary import Chapter, Diary
from mlflow_gc.demo.story.teams import CHURN, DEMAND, FRAUD

FRAUD_CHAMPION = 12


def registry(diary: Diary) -> Chapter:
    """Return the registered models with their versions and the runs behind them."""
    chapter = Chapter()
    _fraud(chapter, diary)
    _churn(chapter, diary)
    _demand(chapter, diary)
    _scorecard(chapter, diary)
    return chapter


def _fraud(chapter: Chapter, diary: Diary) -> None:
    chapter.models.append(
        RegisteredModelSpec("fraud", diary.ago(390), {"team": "risk"}, "Card fraud, online.")
    )
    aliases = {FRAUD_CHAMPION: ("champion",), 11: ("challenger",)}
    stages = {7: "Production", 10: "Archived"}
    sources = {2: "artifacts", 3: "s3"}
    for number in range(1, 14):
        days = 390 - 29 * number if number <= FRAUD_CHAMPION else 4.0
        key = f"fraud-v{number}"
        chapter.runs.append(
            diary.run(FRAUD, days, key=key, name=f"release-{number:02d}", user="svc-training")
        )
        chapter.versions.append(
            VersionSpec(
                "fraud",
                diary.ago(days),
                source=sources.get(number, "runs"),
                run=key,
                stage=stages.get(number),
                aliases=aliases.get(number, ()),
                tags=KEEP_TAGS if number == 5 else {"validated": "yes"},
                description=f"Release {number} of the card fraud model.",
            )
        )


def _churn(chapter: Chapter, diary: Diary) -> None:
    chapter.models += [
        RegisteredModelSpec("churn", diary.ago(300)),
        RegisteredModelSpec("churn-eu", diary.ago(90), description="Copied from churn."),
    ]
    for number in range(1, 7):
        days = 300 - 42 * number
        key = f"churn-v{number}"
        chapter.runs.append(diary.run(CHURN, days, key=key, name=f"candidate-{number}", user="bo"))
        alias = ("champion",) if number == 6 else ()
        chapter.versions.append(VersionSpec("churn", diary.ago(days), run=key, aliases=alias))
    # A copy: its source is models:/churn/4, its files are those of the run of churn 4.
    chapter.versions.append(
        VersionSpec(
            "churn-eu", diary.ago(88), source="copy", copy_of=("churn", 4), aliases=("eu-live",)
        )
    )


def _demand(chapter: Chapter, diary: Diary) -> None:
    # MLflow 3: the version points at a logged model, the logged model at the run.
    chapter.models.append(RegisteredModelSpec("demand", diary.ago(200)))
    for number, days in enumerate((180, 120, 60), start=1):
        key = f"demand-v{number}"
        chapter.runs.append(
            diary.run(
                DEMAND, days, key=key, name=f"season-{number}", user="chloe", logged_model=True
            )
        )
        chapter.versions.append(
            VersionSpec("demand", diary.ago(days), source="logged_model", run=key)
        )


def _scorecard(chapter: Chapter, diary: Diary) -> None:
    # The keep tag of a registered model covers all its versions.
    chapter.models.append(
        RegisteredModelSpec("credit-scorecard", diary.ago(350), KEEP_TAGS, "Regulated.")
    )
    for number in range(1, 4):
        days = 350 - 60 * number
        key = f"scorecard-v{number}"
        chapter.runs.append(
            diary.run(FRAUD, days, key=key, name=f"scorecard-{number}", user="dmitri")
        )
        chapter.versions.append(VersionSpec("credit-scorecard", diary.ago(days), run=key))
