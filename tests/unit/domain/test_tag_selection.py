"""Which keys of tags mean ours to a person, and what is kept and compared of them."""

from __future__ import annotations

import pytest

from mlflow_gc.domain.tag_selection import ALWAYS_WANTED, OWN_TAGS, is_misspelt, tags_digest


@pytest.mark.parametrize(
    "key",
    [
        *("mlflow-gc.keep", "mlflow_gc.Keep", "MLFLOW_GC.KEEP", "MlflowGcKeep", "mlflowgc.keep"),
        *("mlflow_gc_keep", "mlflow_gc/keep", "mlflow_gc:keep", "mlflow gc keep", "mlflow.gc.keep"),
        *(" mlflow_gc.keep", "mlflow_gc.keep ", "mlflow_gc .keep", "mlflow_gc..keep"),
        *(
            "mlfow_gc.keep",
            "mlflow_cg.keep",
            "mlflow_gc.kep",
            "mlflow_g.keep",
            "mlflow_gc.\u043aeep",
        ),
        *("gc.keep", "mlflow.keep", "keep.mlflow_gc", "mlflow_gc", "mlflow_gc.something_new"),
        *(
            "acme.mlflow_gc.keep",
            "my:mlflow-gc.keep",
            "team/mlflow_gc.ttl",
            "x mlflow_gc.delete_after",
        ),
        *("mlflow-gc.ttl", "mlflow_gc.TTL", "mlflow_gc.deleteAfter", "mlflow_gc.delete-after"),
    ],
)
def test_a_key_that_means_ours_is_seen(key: str) -> None:
    """It is kept in memory, whatever the policy asks for, and compared: it is no instruction."""
    assert is_misspelt(key)
    assert ALWAYS_WANTED.of({key: "true"}, "") == {key: "true"}
    assert tags_digest({key: "true"}) != tags_digest({})


@pytest.mark.parametrize(
    "key",
    [
        *("team", "keep", "ttl", "gc", "mlflow.user", "mlflow.runType", "mlflow.gitRepoURL"),
        *("mlflow.gcp_project", "mlflow-gcs.bucket", "mlflow.autologging", "mlflow.keras.version"),
        *("mlflow.source.git.commit", "mlflow.log-model.history", "mlflow.parentRunId"),
    ],
)
def test_a_key_of_somebody_else_is_not(key: str) -> None:
    """Another program's tags keep nothing."""
    assert not is_misspelt(key)


@pytest.mark.parametrize("key", sorted(OWN_TAGS))
def test_our_own_keys_are_instructions(key: str) -> None:
    """Obeyed, not compared."""
    assert not is_misspelt(key)
    assert tags_digest({key: "true"}) == tags_digest({})
