from __future__ import annotations

import pytest

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.rest import json_parser


def test_a_run():
    run = json_parser.run(
        {
            "info": {"run_uuid": "r", "experiment_id": 7, "start_time": "5", "end_time": 9},
            "data": {
                "tags": [{"key": "mlflow.runName", "value": "n"}, {"key": "mlflow.parentRunId"}],
                "metrics": [{"timestamp": 3}, {"timestamp": "8"}, {}],
            },
            "inputs": {"model_inputs": [{"model_id": "m-2"}]},
            "outputs": {"model_outputs": [{"model_id": "m-1"}, {"model_id": "m-2"}]},
        }
    )
    assert (run.run_id, run.run_name, run.experiment_id) == ("r", "n", "7")
    assert (run.start_time, run.end_time) == (5, 9)
    assert (run.oldest_metric_time, run.newest_metric_time) == (3, 8)
    assert run.last_activity_time(None) == 9
    assert run.parent_run_id is None
    assert run.model_ids == ("m-1", "m-2")


def test_aliases_by_version():
    aliases = [{"alias": "b", "version": 2}, {"alias": "a", "version": "2"}]
    assert json_parser.registered_model({"name": "m", "aliases": aliases}).aliases == {
        "2": ("a", "b")
    }
    assert json_parser.version_details(
        {"name": "m", "version": "1", "aliases": ["b", "a"]}
    ).aliases == ("a", "b")


def test_a_logged_model_was_updated_at_the_later_of_two_times():
    info = {"model_id": "m", "creation_timestamp_ms": 9, "last_updated_timestamp_ms": "4"}
    assert json_parser.logged_model({"info": info}).last_updated_time == 9
    metrics = [{"run_id": "b"}, {"run_id": "a"}, {"run_id": "a"}, {"key": "auc"}]
    found = json_parser.logged_model({"info": info, "data": {"metrics": metrics}})
    assert found.metric_run_ids == ("a", "b")


@pytest.mark.parametrize(
    ("parse", "answer"),
    [
        (json_parser.run, {}),
        (json_parser.run, {"info": {}}),
        (json_parser.run, {"info": {"run_id": "r"}}),
        (json_parser.run, {"info": {"run_id": "r", "experiment_id": "1", "start_time": "soon"}}),
        (json_parser.experiment, {"name": "x"}),
        (json_parser.experiment, {"experiment_id": "1", "creation_time": {}}),
        (json_parser.model_version, {"name": "m"}),
        (json_parser.model_version, {"name": "", "version": "1"}),
        (json_parser.registered_model, {}),
        (json_parser.logged_model, {"info": {"model_id": None}}),
    ],
)
def test_an_answer_without_what_it_must_have_is_invalid(parse, answer):
    with pytest.raises(ServerError) as caught:
        parse(answer)
    assert caught.value.failure is Failure.INVALID_RESPONSE
