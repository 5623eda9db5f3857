"""GitHub's expressions, as far as the action and its recipes use them.

Anything else raises: a workflow that this cannot evaluate is not tested.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>\d+)|(?P<operator>==|!=|&&|\|\||[!()])"
    r"|(?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*))"
)
STATUS_FUNCTIONS = ("always", "success", "failure", "cancelled")


def interpolate(text: object, context: Mapping[str, Any]) -> str:
    """Replace every ``${{ }}`` of a YAML value."""
    written = str(text).lower() if isinstance(text, bool) else str(text)
    return re.sub(
        r"\$\{\{(.*?)\}\}",
        lambda found: shown(evaluate(found[1], context)),
        written,
        flags=re.DOTALL,
    )


def condition(text: object, context: Mapping[str, Any]) -> bool:
    """Evaluate an ``if``; without a status function it asks for success, too."""
    written = str(text).strip()
    if found := re.fullmatch(r"\$\{\{(.*)\}\}", written, re.DOTALL):
        written = found[1]
    if not any(f"{name}()" in written for name in STATUS_FUNCTIONS):
        written = f"success() && ({written})"
    return truthy(evaluate(written, context))


def evaluate(text: str, context: Mapping[str, Any]) -> Any:
    """Evaluate one expression."""
    tokens: list[tuple[str, str]] = []
    position, text = 0, text.strip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found, f"unknown to this evaluator: {text[position:]!r} in {text!r}"
        assert found.lastgroup
        tokens.append((found.lastgroup, found[found.lastgroup]))
        position = found.end()
    parser = _Parser(tokens, context)
    value = parser.either()
    assert not parser.tokens, f"left over in {text!r}: {parser.tokens}"
    return value


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], context: Mapping[str, Any]) -> None:
        self.tokens = tokens
        self._context = context

    def _next_is(self, *operators: str) -> str | None:
        if self.tokens and self.tokens[0][0] == "operator" and self.tokens[0][1] in operators:
            return self.tokens.pop(0)[1]
        return None

    def either(self) -> Any:
        value = self._both()
        while self._next_is("||"):
            other = self._both()
            value = value if truthy(value) else other
        return value

    def _both(self) -> Any:
        value = self._comparison()
        while self._next_is("&&"):
            other = self._comparison()
            value = other if truthy(value) else value
        return value

    def _comparison(self) -> Any:
        value = self._term()
        while operator := self._next_is("==", "!="):
            other = self._term()
            # GitHub ignores case, and takes what is not there for empty.
            same = shown(value).lower() == shown(other).lower()
            value = same if operator == "==" else not same
        return value

    def _term(self) -> Any:
        if self._next_is("!"):
            return not truthy(self._term())
        if self._next_is("("):
            value = self.either()
            assert self._next_is(")")
            return value
        kind, word = self.tokens.pop(0)
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return int(word)
        if word in {"true", "false"}:
            return word == "true"
        if self._next_is("("):
            assert self._next_is(")")
            return self._context["status"][word]
        return self._look_up(word)

    def _look_up(self, path: str) -> Any:
        first, *rest = path.split(".")
        value: Any = self._context[first]
        for part in rest:
            value = value.get(part) if value is not None else None
        return value


def truthy(value: Any) -> bool:
    """As GitHub has it: null, false, 0 and the empty text are false."""
    return value not in (None, False, 0, "")


def shown(value: Any) -> str:
    """A value in a text."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
