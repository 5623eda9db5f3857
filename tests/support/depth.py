"""How much the tests try, and the seed of whatever is random.

``make test`` is quick: the same few cases everywhere and every day, so that what was green stays
green.  ``make test-all`` is deep: many cases, other ones each time; it prints the seed, and
``--seed`` repeats it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

_Case = TypeVar("_Case")


@dataclass(frozen=True)
class Depth:
    """How much is tried.

    Attributes:
        examples: of a property test (tests that are cheap or dear take a multiple).
        state_machine: examples of the state machine, each a whole life of a server.
        share: of the moments and requests that are disturbed; 1 is all of them.
        permutations: of the entities of a golden case.
        smoke: take only the smoke tests of the resilience and system tiers.
    """

    examples: int
    state_machine: int
    share: float
    permutations: int
    smoke: bool = False


DEPTHS = {
    "quick": Depth(20, 4, 1 / 200, 2, smoke=True),
    "normal": Depth(60, 30, 1 / 40, 2),
    "deep": Depth(1000, 100, 1 / 5, 7),
    "exhaustive": Depth(10_000, 1_000, 1, 7),
}

_FIRST_SEED = 0
_SEED = "mlflow_gc_seed"

chosen = DEPTHS["normal"]
"""Set before the first test is collected."""
seed = _FIRST_SEED


def some(cases: Sequence[_Case], by_day: int) -> Sequence[_Case]:
    """Return the cases of a parametrized test; the quick tests take only the first of them."""
    return cases[:by_day] if chosen.smoke else cases


def add_options(parser: pytest.Parser) -> None:
    """Add ``--depth`` and ``--seed`` to pytest."""
    group = parser.getgroup("mlflow-gc")
    group.addoption(
        "--depth",
        choices=list(DEPTHS),
        default="normal",
        help="how much is tried: quick also leaves out all but the smoke tests of resilience and "
        "system [normal]",
    )
    group.addoption(
        "--seed",
        type=int,
        help=f"of random choices [{_FIRST_SEED}, with --depth deep another one each time]",
    )


def configure(config: pytest.Config) -> None:
    """Take over the options; the workers of pytest-xdist get the seed of their controller."""
    global chosen, seed  # noqa: PLW0603 - decorators read them while tests are collected
    name = config.option.depth
    chosen = DEPTHS[name]
    if hasattr(config, "workerinput"):
        config.option.seed = config.workerinput[_SEED]
    elif config.option.seed is None and name in {"deep", "exhaustive"}:
        config.option.seed = secrets.randbelow(10**9)
    is_given = config.option.seed is not None
    seed = config.option.seed if is_given else _FIRST_SEED
    settings.register_profile(
        name,
        max_examples=chosen.examples,
        # A machine under load must not fail a test: time is watched by pytest-timeout only.
        deadline=None,
        database=None,
        derandomize=not is_given,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    settings.load_profile(name)
    if is_given:
        config.option.hypothesis_seed = str(seed)


def hand_over(workerinput: dict[str, object], config: pytest.Config) -> None:
    """Give a worker of pytest-xdist the seed: all of them have to collect the same tests."""
    workerinput[_SEED] = config.option.seed


def header(config: pytest.Config) -> str:
    """Say what is tried, at the top of pytest's output."""
    return (
        f"depth: {config.option.depth}, seed: {seed} (--depth {config.option.depth} --seed {seed})"
    )


def examples(factor: float) -> settings:
    """Decorate a property test that takes more or fewer examples than others."""
    return settings(max_examples=max(1, round(chosen.examples * factor)))
