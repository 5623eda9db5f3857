"""A fingerprint of a server that survives restarts and moves, and differs between servers.

MLflow has no server id.  The best substitute is experiment 0 (``Default``): every store creates it
once, with the time in milliseconds, and creates it again only after it was deleted permanently.
The address is not included on purpose: the same server has different names inside and outside a
cluster, and can be read through its database.

A copy of a database has the fingerprint of the original; MLflow has nothing to tell them apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from mlflow_gc.backend.interface import Failure, Gateway, ServerError
from mlflow_gc.domain.entities import Experiment, ServerInfo


def read_server_info(gateway: Gateway) -> ServerInfo:
    """Make the first contact and return the description of the server.

    Raises:
        ServerError: It cannot be reached, refuses the login, or is not an MLflow server.
    """
    server = gateway.server_metadata()
    tracking = _fingerprint(gateway, server.tracking_uri, of_registry=False)
    registry = (
        _fingerprint(gateway, server.registry_uri, of_registry=True)
        if gateway.registry_is_separate
        else tracking
    )
    return replace(server, identity=f"tracking:{tracking} registry:{registry}")


def _fingerprint(gateway: Gateway, uri: str, *, of_registry: bool) -> str:
    try:
        found = gateway.get_default_experiment(of_registry=of_registry)
    except ServerError as error:
        # The account may not be allowed to read it, and a registry need not be a tracking server.
        may_be_missing = error.failure is Failure.UNSUPPORTED and of_registry
        if error.failure is not Failure.FORBIDDEN and not may_be_missing:
            raise
        found = None
    if found is None:
        return unknown_identity(uri)
    return fingerprint(found)


def unknown_identity(uri: str) -> str:
    """Return the substitute fingerprint of a server whose experiment 0 cannot be read."""
    return _digest("uri", uri)


def fingerprint(default: Experiment) -> str:
    """Return the fingerprint of a server, by its default experiment."""
    return _digest(
        "experiment",
        default.experiment_id,
        str(default.creation_time),
        default.artifact_location,
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
