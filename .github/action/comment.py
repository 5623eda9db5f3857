"""Keep one comment on a pull request up to date: find it by its first line, else make it.

Without a pull request, or where the token may not comment, it says so and is content: a comment is
a service to readers, the plan is in the run's summary and artifact, too.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT_S = 30
_PER_PAGE = 100


@dataclass(frozen=True)
class Thread:
    """The comments of one pull request, through GitHub's REST API.

    Attributes:
        api: base address, ``https://api.github.com`` or that of an Enterprise server.
        repository: ``owner/name``.
        number: of the pull request.
        token: sent to ``api`` alone; redirects do not get it.
    """

    api: str
    repository: str
    number: int
    token: str

    def find(self, marker: str, author: str) -> int | None:
        """Return the id of the oldest comment that ``author`` began with ``marker``.

        Of this author only: whoever wrote the comment can change its text after this program did.

        Raises:
            OSError: the API did not answer as it should (:class:`urllib.error.URLError` is one).
        """
        page = 1
        while True:
            path = f"issues/{self.number}/comments?per_page={_PER_PAGE}&page={page}"
            comments, more = self._call("GET", path)
            for comment in comments:
                # Both can be null: the author's account was deleted, the text was never there.
                login = (comment["user"] or {}).get("login")
                if login == author and (comment["body"] or "").startswith(marker):
                    return int(comment["id"])
            if not more:
                return None
            page += 1

    def write(self, comment_id: int | None, body: str) -> None:
        """Change the comment, or make a new one.

        Raises:
            OSError: the API did not answer as it should.
        """
        if comment_id is None:
            self._call("POST", f"issues/{self.number}/comments", {"body": body})
        else:
            self._call("PATCH", f"issues/comments/{comment_id}", {"body": body})

    def _call(self, method: str, path: str, body: dict[str, str] | None = None) -> tuple[Any, bool]:
        """Return the answer, and whether there is a next page."""
        request = urllib.request.Request(  # noqa: S310 - the address is the runner's own setting
            f"{self.api}/repos/{self.repository}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Accept": "application/vnd.github+json",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": "mlflow-gc",
            },
        )
        request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            more = 'rel="next"' in answer.headers.get("Link", "")
            return json.load(answer), more


def main(text: Path) -> None:
    """Write the comment that ``text`` holds, as the environment of a runner says."""
    env = os.environ
    number = pull_request(Path(env["GITHUB_EVENT_PATH"]))
    if number is None:
        _say("notice", "There is no pull request to comment on.")
        return
    thread = Thread(env["GITHUB_API_URL"], env["GITHUB_REPOSITORY"], number, env["TOKEN"])
    marker = f"<!-- mlflow-gc: {env['NAME']} -->"
    link = ""
    if url := env.get("ARTIFACT_URL"):
        link = f"\n[Plan and HTML report]({url})\n"
    body = f"{marker}\n{text.read_text(encoding='utf-8')}{link}"
    try:
        thread.write(thread.find(marker, env["COMMENT_AUTHOR"]), body)
    except urllib.error.HTTPError as error:
        if error.code in {401, 403, 404}:
            _say(
                "notice",
                "No comment: the token may not write one. The job needs pull-requests: write; "
                "pull requests from forks never have it.",
            )
        else:
            _say("warning", f"No comment: GitHub answered {error.code}.")
    except (OSError, ValueError, LookupError, TypeError):
        _say("warning", "No comment: GitHub could not be reached, or not be understood.")


def pull_request(event_file: Path) -> int | None:
    """Return the number of the pull request that the event is about, if it is about one."""
    event = json.loads(event_file.read_bytes())
    number = (event.get("pull_request") or {}).get("number")
    return number if isinstance(number, int) else None


def _say(kind: str, sentence: str) -> None:
    """Annotate the run; fixed sentences only, the runner acts on what is printed."""
    sys.stdout.write(f"::{kind} title=mlflow-gc::{sentence}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
