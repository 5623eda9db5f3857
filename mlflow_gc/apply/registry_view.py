"""The model registry as it is now, kept up to date at the price of one request per batch.

Which runs a registered model needs cannot be asked for many runs at once (the filter grammar has
no OR and ``source`` can have five forms).  So all versions are read once, and again those of
models that were touched since: creating a version sets the registered model's
``last_updated_timestamp`` (2.3.0 to 3.18.0).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from copy import copy
from functools import partial

from mlflow_gc.inventory import wire
from mlflow_gc.inventory.entities import LoggedModel, ModelVersion, RegisteredModel
from mlflow_gc.inventory.gateway import Gateway, pages
from mlflow_gc.inventory.scan import (
    PROMPTS,
    read_hidden_versions,
    read_logged_models_of,
    read_registry,
    resolve_storage,
)
from mlflow_gc.inventory.sources import copied_from

# Several servers behind one address each stamp with their own clock.
_CLOCK_MARGIN_MS = 10 * 60 * 1000


class RegistryView:
    """Registered models, all their versions, and the logged models these name.

    With the registries of the server's other workspaces, whose versions may need a run of this one.

    Args:
        gateway: where to read.
        others: the other workspaces of the server.

    Raises:
        ServerError: the registry cannot be read completely.
    """

    def __init__(self, gateway: Gateway, others: Iterable[Gateway] = ()) -> None:
        self._gateway = gateway
        self._others = [RegistryView(other) for other in others]
        self._no_logged_models: set[str] = set()
        self.models: dict[str, RegisteredModel] = {}
        self.versions: dict[tuple[str, str], ModelVersion] = {}
        self.logged_models: dict[str, LoggedModel] = {}
        self._read_all()

    @property
    def foreign_versions(self) -> tuple[ModelVersion, ...]:
        """Versions of the other workspaces."""
        return tuple(version for other in self._others for version in other.versions.values())

    def refreshed(self) -> RegistryView:
        """Return the registry as it is now; what was touched since is read again.

        This view stays as it is: a version must not be missing for a moment in the eyes of a look
        that is under way.

        Raises:
            ServerError: the registry cannot be read.
        """
        fresh = copy(self)
        fresh._refresh()  # noqa: SLF001 - one of us
        return fresh

    def _refresh(self) -> None:
        self._others = [other.refreshed() for other in self._others]
        # What is still those of the view that this one is a copy of.
        self.models, self.versions = dict(self.models), dict(self.versions)
        self.logged_models = dict(self.logged_models)
        self._no_logged_models = set(self._no_logged_models)
        touched: list[str] = []
        for filter_string in ("", PROMPTS):
            search = partial(
                self._gateway.search_registered_models,
                filter_string=filter_string,
                order_by=["last_updated_timestamp DESC"],
                max_results=100,
            )
            for found in pages(search):
                model = wire.registered_model(found)
                if (model.last_updated_timestamp or 0) < self._watermark - _CLOCK_MARGIN_MS:
                    break
                if model != self.models.get(model.name) or self._is_recent(model):
                    touched.append(model.name)
                self.models[model.name] = model
        for name in touched:
            if not self._read_versions_of(name):
                self._read_all()
                return
        self._settle()

    def of_model(self, name: str) -> dict[tuple[str, str], ModelVersion]:
        """Return the versions of one model."""
        return {key: self.versions[key] for key in self._by_model.get(name, ())}

    def copies_of(self, name: str, version: str) -> dict[tuple[str, str], ModelVersion]:
        """Return the versions that were copied from one."""
        return {key: self.versions[key] for key in self._copies.get((name, version), ())}

    def _is_recent(self, model: RegisteredModel) -> bool:
        return (model.last_updated_timestamp or 0) >= self._watermark - _CLOCK_MARGIN_MS

    def _read_all(self) -> None:
        self.models, self.versions = {}, {}
        read_registry(self._gateway, self.models, self.versions)
        self._settle()

    def _read_versions_of(self, name: str) -> bool:
        """Read the versions of one model; False when the filter grammar cannot name it."""
        # No escape exists: a name can stand in the kind of quote that it does not hold.
        quote = next((q for q in "'\"" if q not in name), None)
        if quote is None:
            return False
        for key in self.of_model(name):
            del self.versions[key]
        for prompt in ("", f" AND {PROMPTS}"):
            filter_string = f"name = {quote}{name}{quote}{prompt}"
            for found in pages(
                partial(self._gateway.search_model_versions, filter_string=filter_string)
            ):
                version = wire.model_version(found)
                self.versions[version.name, version.version] = version
        read_hidden_versions(self._gateway, self.models[name], self.versions)
        return True

    def _settle(self) -> None:
        """Derive what is asked for often, once per reading."""
        resolve_storage(self._gateway, self.versions)
        named = [*self.versions.values(), *self.foreign_versions]
        read_logged_models_of(self._gateway, named, self.logged_models, self._no_logged_models)
        self._watermark = max(
            (m.last_updated_timestamp or 0 for m in self.models.values()), default=0
        )
        # New ones: those of the view that this one came from are still looked at.
        self._by_model: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._copies: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for key, version in self.versions.items():
            self._by_model[version.name].append(key)
            if original := copied_from(version):
                self._copies[original].append(key)
