"""A runner, and the API it talks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.github import GitHubApi

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[GitHubApi]:
    """GitHub's REST API for pull request 7."""
    running = GitHubApi()
    yield running
    running.close()
