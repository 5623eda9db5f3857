"""What is in a run beside its tags and metrics: its parameters, datasets and models.

All of it is part of what was reviewed, and none of it moves a time stamp.  A plan holds no
parameter, so it holds a digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def content_of_wire(run: dict[str, Any]) -> str:
    """Return the digest of a ``runs/search`` or ``runs/get`` entry.

    Only ``runs/get`` knows the logged models that a run read (3.0 to 3.18).
    """
    data, read = run.get("data") or {}, run.get("inputs") or {}
    put_out = (run.get("outputs") or {}).get("model_outputs") or ()
    return content_digest(
        params=[_pair(param) for param in data.get("params") or ()],
        datasets=[_dataset(entry) for entry in read.get("dataset_inputs") or ()],
        inputs=[str(model.get("model_id")) for model in read.get("model_inputs") or ()],
        outputs=[(str(model.get("model_id")), int(model.get("step") or 0)) for model in put_out],
    )


def _dataset(entry: dict[str, Any]) -> Dataset:
    dataset = entry.get("dataset") or {}
    tags = [_pair(tag) for tag in entry.get("tags") or ()]
    return str(dataset.get("name") or ""), str(dataset.get("digest") or ""), tags


def _pair(entry: dict[str, Any]) -> tuple[str, str]:
    return str(entry.get("key") or ""), str(entry.get("value") or "")
