"""Whether the account of this program sees everything on a server."""

from __future__ import annotations

from mlflow_gc.backend.interface import Failure, Json, ServerError
from mlflow_gc.backend.rest.mlflow_api import V2, MlflowApi


class Account:
    """The account of this program on one server."""

    def __init__(self, api: MlflowApi) -> None:
        self._api = api
        self._has_users = True
        self._has_current_user = True
        self._known: tuple[Json | None] | None = None

    def partial_view(self) -> str | None:
        """Return why it may not see everything, or None if it does.

        MLflow's basic-auth app tells whether the account is an administrator.  A server without
        that app lacks the endpoints and hides nothing.  Anything else in doubt is a partial view.
        """
        user = self._user()
        self._known = (user,)
        if user is None or user.get("is_admin") is True:
            return None
        client = self._api.client
        name = user.get("username") or client.account
        account = (
            f"The account {name!r} is not an administrator of {client.address}"
            if name
            else f"{client.address} does not tell whether this account is an administrator"
        )
        return (
            f"{account}: the server hides from other accounts what they may not read, and "
            "that may be what protects something."
        )

    def exists(self) -> bool:
        """Tell whether the server has accounts; when in doubt, it does.

        By the same response as :meth:`partial_view`, if there was one.
        """
        (user,) = self._known or (self._user(),)
        return user is not None

    def _user(self) -> Json | None:
        """Return the server's record of this account; empty if it is of no use.

        None means that the server has no accounts.
        """
        if not self._has_users:
            return None
        try:
            if self._has_current_user:
                # 3.13 and newer.
                found = self._api.optional("GET", f"{V2}/users/current")
                if found is not None:
                    # mlflow-oidc-auth responds without the wrapper "user".
                    user = found.get("user", found)
                    return user if isinstance(user, dict) else {}
                self._has_current_user = False
            return self._user_by_name()
        except ServerError as error:
            if error.failure in {Failure.FORBIDDEN, Failure.NOT_FOUND, Failure.REJECTED}:
                return {}
            raise

    def _user_by_name(self) -> Json | None:
        # 2.5 and newer.  Without a name the response is 400 if the auth app runs and 404 if not
        # (2.14 to 3.18).  The name comes from the credentials.
        name = self._api.client.account
        params = {"username": name} if name else {}
        found = self._api.optional("GET", f"{V2}/users/get", by_server=True, params=params)
        if found is None:
            self._has_users = False
            return None
        user = found.get("user")
        # A response about another account, or about none, is of no use.
        is_this_account = isinstance(user, dict) and bool(name) and user.get("username") == name
        return user if is_this_account else {}
