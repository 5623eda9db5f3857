"""The canonical form of a JSON document (RFC 8785) and the digest over it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

# UTF-8 lead bytes of characters beyond U+FFFF.
_ASTRAL = re.compile(rb"[\xf0-\xf4]")


def canonical(document: Any) -> bytes:
    """Return the RFC 8785 form: sorted keys, no white space, UTF-8.

    Only for documents without floating-point numbers; plans and journals have none.
    """
    fast = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    # RFC 8785 sorts keys by UTF-16 code units, orjson by code points.  The orders differ only
    # where a key has a character beyond U+FFFF; such keys can only be tags set by users.
    if fast.isascii() or not _ASTRAL.search(fast):
        return fast
    return orjson.dumps(_sorted(document))


def digest(document: Any) -> str:
    """Return ``sha256:<hex>`` over the canonical form."""
    return f"sha256:{hashlib.sha256(canonical(document)).hexdigest()}"


def short_digest(document: Any) -> str:
    """Return ``sha256:<hex>`` with the first half of the digest; a plan has several per run."""
    return digest(document)[: len("sha256:") + 32]


def key_order(key: str) -> bytes:
    """Return the sort key of RFC 8785 for a key of an object."""
    return key.encode("utf-16-be")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=key_order)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
