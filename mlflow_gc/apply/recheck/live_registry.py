"""The current model registry, updated with one request per batch.

Versions cannot be searched by many runs at once (the filter grammar has no OR, and ``source`` has
five forms).  So all versions are read once, and again those of models whose record changed:
creating a version sets the registered model's ``last_updated_timestamp`` and adds the version to
its ``latest_versions`` (2.3.0 to 3.18.0).

Timestamps only tell how far to read the list of models, newest first, and implausible ones do not
end the search: one model with a timestamp in the future says nothing about the others.  A server
whose clock is behind sorts its changes among old models; if the registry has more than a page,
those are found by reading it completely.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from copy import copy
from functools import partial

from mlflow_gc.backend.interface import Gateway, ModelDetails, pages
from mlflow_gc.domain.entities import LoggedModel, ModelVersion, RegisteredModel
from mlflow_gc.domain.source_references import copied_from
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.inventory.lookup import read_logged_models_of
from mlflow_gc.inventory.registry import (
    PROMPTS,
    read_hidden_versions,
    read_registry,
    resolve_storage,
)

# Several servers behind one address have different clocks.
_CLOCK_MARGIN_MS = 10 * 60 * 1000
_MODELS_A_PAGE = 100
# The whole registry takes a handful of requests; the versions of one model take one or two.
_MANY_MODELS = 20


class RegistryView:
    """Registered models, all their versions, and the logged models these name.

    The registries of the other workspaces are included: their versions may name a run of this one.

    Every method that reads raises ``ServerError``.
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

    @property
    def foreign_models(self) -> tuple[RegisteredModel, ...]:
        """Registered models of the other workspaces."""
        return tuple(model for other in self._others for model in other.models.values())

    def refreshed(self, *, completely: bool = False) -> RegistryView:
        """Return the current registry; changed models are read again.

        If ``completely``, all are, regardless of timestamps.  This view is not changed: a version
        must not be missing temporarily in a concurrent re-check.
        """
        fresh = copy(self)
        fresh._others = [other.refreshed(completely=completely) for other in self._others]  # noqa: SLF001 - one of us
        # No longer shared with this view.
        fresh.models, fresh.versions = dict(self.models), dict(self.versions)
        fresh.logged_models = dict(self.logged_models)
        fresh._no_logged_models = set(self._no_logged_models)  # noqa: SLF001
        if completely:
            fresh._read_all()  # noqa: SLF001
        else:
            fresh._refresh()  # noqa: SLF001
        return fresh

    def _refresh(self) -> None:
        began_ms = self._server_now_ms()
        since_ms = self._read_at_ms - _CLOCK_MARGIN_MS
        touched: dict[str, None] = {}
        for filter_string in ("", PROMPTS):
            search = partial(
                self._gateway.search_registered_models,
                filter_string=filter_string,
                order_by=["last_updated_timestamp DESC"],
                max_results=_MODELS_A_PAGE,
            )
            for count, model in enumerate(pages(search), 1):
                if model != self.models.get(model.name):
                    touched[model.name] = None
                self.models[model.name] = model
                # The whole page, because it was read anyway; and PostgreSQL sorts NULL timestamps
                # first.
                stamp = model.last_updated_timestamp
                if count >= _MODELS_A_PAGE and stamp is not None and stamp < since_ms:
                    break
        if len(touched) > _MANY_MODELS or not all(map(self._replace_versions_of, touched)):
            self._read_all()
            return
        self._index(began_ms)

    def of_model(self, name: str) -> dict[tuple[str, str], ModelVersion]:
        """Return the versions of one model."""
        return {key: self.versions[key] for key in self._by_model.get(name, ())}

    def versions_now(
        self, details: ModelDetails, *, ranked: bool
    ) -> Mapping[tuple[str, str], ModelVersion]:
        """Return the versions of a registered model that may protect one of them.

        This view is some seconds old; ``details`` is current, and names the highest version of each
        stage (2.3.0 to 3.18.0).  A higher version that was deleted meanwhile outranks nothing.

        ``ranked`` tells whether the number of higher versions matters, too.
        """
        model = details.model
        known: Mapping[tuple[str, str], ModelVersion] = self.of_model(model.name)
        if ranked and model != self.models.get(model.name):
            # The number of higher versions depends on which of them still exist.
            read = self.read_versions_of(model)
            known = known if read is None else read
        newest = {version.current_stage: version for version in details.latest_versions}
        if newest:
            known = {
                key: version
                for key, version in known.items()
                if version.current_stage in newest
                and version.number <= newest[version.current_stage].number
            }
        return {**known, **{(v.name, v.version): v for v in newest.values()}}

    def copies_of(self, name: str, version: str) -> dict[tuple[str, str], ModelVersion]:
        """Return the copies of a version."""
        return {key: self.versions[key] for key in self._copies.get((name, version), ())}

    def _server_now_ms(self) -> int:
        return now_ms() + self._gateway.clock_skew_ms()

    def _read_all(self) -> None:
        began_ms = self._server_now_ms()
        self.models, self.versions = {}, {}
        read_registry(self._gateway, self.models, self.versions)
        self._index(began_ms)

    def read_versions_of(
        self, model: RegisteredModel
    ) -> dict[tuple[str, str], ModelVersion] | None:
        """Read the versions of one model; None if the filter grammar cannot name it."""
        # The grammar has no escapes: a name needs a kind of quotes that it does not contain.
        quote = next((q for q in "'\"" if q not in model.name), None)
        if quote is None:
            return None
        versions: dict[tuple[str, str], ModelVersion] = {}
        for prompt in ("", f" AND {PROMPTS}"):
            filter_string = f"name = {quote}{model.name}{quote}{prompt}"
            for version in pages(
                partial(self._gateway.search_model_versions, filter_string=filter_string)
            ):
                versions[version.name, version.version] = version
        read_hidden_versions(self._gateway, model, versions)
        return versions

    def _replace_versions_of(self, name: str) -> bool:
        found = self.read_versions_of(self.models[name])
        if found is None:
            return False
        for key in self.of_model(name):
            del self.versions[key]
        self.versions.update(found)
        return True

    def _index(self, began_ms: int) -> None:
        """Build the indexes, once per read that began at a server time, ms since the epoch."""
        self._read_at_ms = began_ms
        resolve_storage(self._gateway.get_download_uri, self.versions)
        named = [*self.versions.values(), *self.foreign_versions]
        read_logged_models_of(self._gateway, named, self.logged_models, self._no_logged_models)
        # New objects: those of the previous view are still in use.
        self._by_model: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._copies: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for key, version in self.versions.items():
            self._by_model[version.name].append(key)
            if original := copied_from(version):
                self._copies[original].append(key)
