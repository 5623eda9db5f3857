"""What is in a run beside its tags and metrics: its parameters, datasets and models.

All of it is part of what was reviewed, and none of it moves a time stamp.  A plan holds no
parameter, so it holds a digest.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_gc.domain.canonical_json import digest

_LENGTH = len("sha256:") + 32

Dataset = tuple[str, str, Iterable[tuple[str, str]]]
"""Name, digest, and the tags that the run gave it as (key, value) pairs."""


def content_digest(
    *,
    params: Iterable[tuple[str, str]],
    datasets: Iterable[Dataset],
    inputs: Iterable[str],
    outputs: Iterable[tuple[str, int]],
) -> str:
    """Return a digest over what is in a run.

    Args:
        params: name and value.
        datasets: that it read.
        inputs: ids of logged models that it read.
        outputs: ids of logged models that it put out, and the step.
    """
    read = ([name, version, sorted(map(list, tags))] for name, version, tags in datasets)
    content = [
        sorted(map(list, params)),
        sorted(read),
        sorted(inputs),
        # As text: canonical JSON has no numbers beyond 2^53.
        sorted([model_id, str(step)] for model_id, step in outputs),
    ]
    return digest(content)[:_LENGTH]
