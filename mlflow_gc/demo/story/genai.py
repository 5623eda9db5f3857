"""Work on language models: evaluation runs, prompts, and an assistant with only traces."""

from __future__ import annotations

from mlflow_gc.demo.scenario import PromptSpec, TraceSpec
from mlflow_gc.demo.story.diary import Chapter, Diary

LLM_EVAL = "llm-eval"
ASSISTANT = "support-assistant"
FAQ_BOT = "faq-bot-trial"

_QUESTIONS = (
    "Where is my parcel?",
    "How do I return shoes?",
    "Can I change the address?",
)


def genai(diary: Diary) -> Chapter:
    """Return evaluation runs, traces and prompts."""
    chapter = Chapter(
        experiments=[
            diary.experiment(LLM_EVAL, 180, team="assistant"),
            # No runs, but its traces show daily use.
            diary.experiment(ASSISTANT, 150, team="assistant"),
            # Only old traces, which are data, too.
            diary.experiment(FAQ_BOT, 160, team="assistant"),
        ]
    )
    chapter.runs += diary.daily_work(LLM_EVAL, ("chloe", "ana"), fresh=8, stale=14, name="eval")
    # mlflow.genai.evaluate() tags its run like this.  MLflow 3.11 and newer delete the scores
    # (assessments) that such a run gave together with the run, and restoring it does not bring
    # them back.
    for number, days in enumerate((70.0, 52.0, 12.0), start=1):
        key = f"genai-evaluate-{number}"
        chapter.runs.append(
            diary.run(
                LLM_EVAL,
                days,
                key=key,
                name=f"judge-{number}",
                user="chloe",
                tags={"mlflow.runType": "genai_evaluate"},
            )
        )
        chapter.traces += [
            TraceSpec(LLM_EVAL, diary.ago(days), question, scored_by=key) for question in _QUESTIONS
        ]
    chapter.traces.append(TraceSpec(FAQ_BOT, diary.ago(155), _QUESTIONS[0]))
    chapter.traces += [
        TraceSpec(ASSISTANT, diary.ago(days), question)
        for days, question in zip((120.0, 45.0, 0.5), _QUESTIONS, strict=True)
    ]
    chapter.prompts += [
        PromptSpec(
            "support-answer",
            diary.ago(100),
            (
                "Answer: {{question}}",
                "Answer politely: {{question}}",
                "Answer politely, in two sentences: {{question}}",
            ),
            {"production": 2},
        ),
        PromptSpec("summary", diary.ago(85), ("Sum up: {{text}}", "Sum up briefly: {{text}}")),
    ]
    return chapter
