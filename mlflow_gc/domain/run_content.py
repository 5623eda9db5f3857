"""The content of a run besides its tags and metrics: parameters, datasets and models.

It was part of the review, and changing it updates no timestamp.  A plan contains no parameters,
so it contains a digest.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_gc.domain.canonical_json import short_digest

Dataset = tuple[str, str, Iterable[tuple[str, str]]]
"""Name, digest, and the tags of its use by the run as (key, value) pairs."""


def content_digest(
    *,
    params: Iterable[tuple[str, str]],
    datasets: Iterable[Dataset],
    inputs: Iterable[str],
    outputs: Iterable[tuple[str, int]],
) -> str:
    """Return a digest over the content of a run.

    Args:
        params: name and value.
        datasets: the datasets it read.
        inputs: ids of the logged models it read.
        outputs: ids of the logged models it produced, with their step.
    """
    read = ([name, version, sorted(map(list, tags))] for name, version, tags in datasets)
    content = [
        sorted(map(list, params)),
        sorted(read),
        sorted(inputs),
        # As text: canonical JSON has no numbers beyond 2^53.
        sorted([model_id, str(step)] for model_id, step in outputs),
    ]
    return short_digest(content)
