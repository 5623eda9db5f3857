"""Pages of runs as JSON, without what no decision needs.

Most of a page of two thousand runs is parameters and metric values.  msgspec skips them, which
takes half the time and a tenth of the memory of full parsing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypedDict

from mlflow_gc.backend.interface import Json


class _Tag(TypedDict, total=False):
    key: Any
    value: Any


class _Metric(TypedDict, total=False):
    key: Any
    timestamp: Any
    model_id: Any


class _Data(TypedDict, total=False):
    tags: list[_Tag] | None
    metrics: list[_Metric] | None


class _Model(TypedDict, total=False):
    model_id: Any


class _Inputs(TypedDict, total=False):
    model_inputs: list[_Model] | None


class _Outputs(TypedDict, total=False):
    model_outputs: list[_Model] | None


class _Run(TypedDict, total=False):
    info: Any
    data: _Data | None
    inputs: _Inputs | None
    outputs: _Outputs | None


class _Page(TypedDict, total=False):
    runs: list[_Run]
    next_page_token: Any


_decoder: Any = None
with suppress(ImportError):  # the channels of Anaconda Enterprise need not have it
    import msgspec

    _decoder = msgspec.json.Decoder(_Page)


def decode(content: bytes) -> Json | None:
    """Return a ``runs/search`` response without parameters, datasets and metric values.

    Returns:
        None if it is unusual, which does not make it invalid, or if msgspec is not installed.
    """
    if _decoder is None:
        return None
    try:
        found: Json = _decoder.decode(content)
    except msgspec.MsgspecError:
        return None
    # Something other than runs, which is left out here, must not look like an empty page.
    return found if "runs" in found else None
