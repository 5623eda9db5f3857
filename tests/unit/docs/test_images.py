"""Each container image that a recipe runs is named so that it cannot be replaced."""

from __future__ import annotations

import re

import pytest
from support.pages import PAGES, blocks

IMAGES = [
    pytest.param(found[1], id=str(block))
    for page in PAGES
    for block in blocks(page)
    if (found := re.search(r"^\s*(?:- )?image: *(\S+)", block.text, re.MULTILINE))
]


@pytest.mark.parametrize("image", IMAGES)
def test_images_of_others_are_pinned_by_digest(image: str) -> None:
    """A tag can be moved to another image; only the reader's own registry is theirs to trust."""
    assert re.search(r"@sha256:[0-9a-f]{64}$", image) or image.startswith("registry.example.com/")
