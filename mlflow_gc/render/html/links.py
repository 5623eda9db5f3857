"""Links to a part of the page, and to MLflow's own web UI, if the server of the plan has one.

The routes are those of ``mlflow/server/js`` (``experiment-tracking/route-defs.ts`` and
``model-registry/routes.ts``): the same from 2.3 to 3.17, behind a ``#``.  From 3.10 on
``?workspace=`` at the end selects a workspace; without it such a server shows its list of
workspaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow_gc.domain.kinds import PURGE, action_of
from mlflow_gc.render.common.escape import plain

_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

_ROUTES = {
    "experiment": "experiments/{place}",
    "run": "experiments/{place}/runs/{own}",
    "registered_model": "models/{place}",
    "model_version": "models/{place}/versions/{own}",
    "prompt": "prompts/{place}",
    "logged_model": "experiments/{place}/models/{own}",
}


_WITHOUT_PAGE = {
    # The row that MLflow keeps of a deleted version, and a deleted logged model, are not found by the
    # endpoints that their pages call (docs/explanation/mlflow-facts.md#deleted-entities-without-pages).
    PURGE: frozenset({"model_version", "logged_model"}),
}


@dataclass(frozen=True)
class Links:
    """The base URLs of the web UI of a server.

    Attributes:
        tracking: prefix of the route of an experiment or run; empty for no links.
        registry: prefix of the route of a model; empty for no links.
        suffix: suffix of a route.
        without: kinds that have no page.
    """

    tracking: str
    registry: str
    suffix: str = ""
    without: frozenset[str] = frozenset()

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> Links:
        """Return the links for a plan."""
        server = plan["server"]
        workspace, tracking, registry = (
            server[key] for key in ("workspace", "tracking_uri", "registry_uri")
        )
        # The UI is where ``/version`` is: not at the root of a server with a static prefix (up to
        # 3.10), and not on Databricks.
        has_pages = server["mlflow_version"] is not None
        return cls(
            _pages(tracking) if has_pages else "",
            _pages(registry) if has_pages or registry != tracking else "",
            f"?workspace={_quoted(workspace)}" if workspace else "",
            _WITHOUT_PAGE.get(action_of(plan), frozenset()),
        )

    def address(self, kind: str, place: str, own: str = "") -> str:
        """Return the URL of an entity, or empty.

        Args:
            kind: of the entity; ``prompt`` for a registered model or version that is one.
            place: id of an experiment, or name of a registered model.
            own: id of a run in the experiment, or version of the model.
        """
        if kind not in _ROUTES or kind in self.without:
            return ""
        base = self.tracking if _ROUTES[kind].startswith("experiments/") else self.registry
        route = _ROUTES[kind].format(place=encode(place), own=encode(own))
        return f"{base}{route}{self.suffix}" if base else ""


def filter_link(**state: str) -> str:
    """Return the fragment that selects entities in the table of the page.

    ``table.js`` keeps the same state in the URL.
    """
    return "#" + "&".join(f"{key}={quote(plain(value), safe='')}" for key, value in state.items())


def encode(name: str) -> str:
    """Percent-encode a name for a route: everything but letters, digits and ``-._~``.

    The UI of MLflow 3.17 decodes a route twice, so a percent sign is encoded twice.  MLflow's own
    links to such names are broken.
    """
    return _quoted(name).replace("%25", "%2525")


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _pages(uri: str) -> str:
    """Return the base URL of the routes of a server; empty unless it certainly is a web URL."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    # A link must not contain a login or a query, and a strange host may look like another.
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.netloc):
        return ""
    path = quote(parts.path.rstrip("/"), safe="/%-._~!$()*+,;=:@", errors="replace")
    return f"{parts.scheme}://{parts.netloc}{path}/#/"
