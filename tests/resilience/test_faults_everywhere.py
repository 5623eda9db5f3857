"""Every kind of fault at every single request of ``prune``, ``report`` and ``restore``.

The requests of the undisturbed command are counted; then the command runs again and again, each
time with one fault at exactly one request.  Whatever happens there: nothing goes that is not in
the plan, the journal is true and complete, no delete is sent twice without a look in between, and
a second, undisturbed command ends where an undisturbed first one would have ended.

All pairs of a fault and a request take more than half an hour.  So every run has the faults that
matter most at every write, and of all pairs a share (see ``support/depth.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support import depth
from support import proxy as faults
from support.durability import (
    REFUSED,
    Estate,
    assert_all_is_back,
    assert_journal_is_complete,
    assert_journal_is_true,
    assert_no_blind_repetition,
    assert_only_planned,
    assert_printed,
    rows_of,
    sessions_of,
    settled,
)
from support.oracle import look
from support.plans import Plan
from support.proxy import Fault, Proxy, Seen, deletions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.bench import Bench

    from mlflow_gc.demo.server import LocalServer


@pytest.fixture(scope="module")
def estate(shared_bench: Bench, server: LocalServer) -> Iterator[Estate]:
    """One for the module: every case puts the server back first."""
    with Proxy(server.uri) as proxy, settled(shared_bench, proxy) as made:
        yield made


# The kinds of fault


@dataclass(frozen=True)
class Kind:
    """A kind of trouble, and how to make it happen at one request."""

    name: str
    strike: Callable[[Proxy, int], None]
    env: tuple[tuple[str, str], ...] = ()
    waits: bool = False
    """The program waits for seconds before it gives up: taken at few requests only."""
    passes: bool = False
    """One more attempt gets through, so the command succeeds.

    Not claimed where that takes a clock: a busy machine may be later than the client waits.
    """

    def __str__(self) -> str:
        return self.name


def _once(fault: Fault, env: tuple[tuple[str, str], ...] = (), *, passes: bool = False) -> Kind:
    return Kind(fault.name, lambda proxy, index: proxy.fail_at(index, fault), env, passes=passes)


def _irreversible(fault: Fault) -> Kind:
    def strike(proxy: Proxy, index: int) -> None:
        proxy.fail_at(index, fault, times=float("inf"))

    return Kind(f"{fault} from there on", strike)


def _lost_then(fault: Fault) -> Kind:
    """The request is carried out and its answer lost; then the program is locked out."""

    def strike(proxy: Proxy, index: int) -> None:
        proxy.fail_at(index, faults.RESET_AFTER)
        proxy.fail_at(index + 1, fault, times=float("inf"))

    return Kind(f"reset after, then {fault} from there on", strike)


# The client waits this long; mlflow takes whole seconds.
IMPATIENT = (("MLFLOW_HTTP_REQUEST_TIMEOUT", "1"),)

PASSING = [
    Kind("connection refused", lambda proxy, index: proxy.refuse(index, seconds=0.3)),
    _once(faults.RESET_BEFORE, passes=True),
    _once(faults.RESET_AFTER, passes=True),
    _once(faults.TOO_SLOW, IMPATIENT),
    _once(faults.SLOW, passes=True),
    _once(faults.TOO_MANY_NOW, passes=True),
    _once(faults.TOO_MANY_SILENT, passes=True),
    _once(faults.SERVER_ERROR, passes=True),
    _once(faults.SERVER_ERROR_AFTER, passes=True),
    _once(faults.UNAVAILABLE, passes=True),
    _once(faults.HTML_502, passes=True),
    _once(faults.TORN_JSON, passes=True),
    _once(faults.TORN_BODY, passes=True),
]
STRANGE = [
    _once(faults.HTML_200),
    _once(faults.EMPTY_200),
    # What an ingress answers while its backend restarts.
    _once(faults.HTML_404),
]
LASTING = [
    _irreversible(faults.UNAUTHORIZED),
    _irreversible(faults.FORBIDDEN),
    _lost_then(faults.UNAUTHORIZED),
    _lost_then(faults.FORBIDDEN),
    Kind("connection refused from there on", lambda p, i: p.refuse(i), waits=True),
]
KINDS = [*PASSING, *STRANGE, *LASTING]


def chosen(
    kind: Kind, number: int, requests: list[Seen], *, writes: float, reads: float
) -> list[int]:
    """Return the requests that meet this kind of fault this time.

    Args:
        kind: of the fault.
        number: of the kind.
        requests: of the undisturbed command.
        writes: how dear a case at a write is, compared with others.
        reads: the same for reads.
    """

    def every(seen: Seen) -> int:
        dear = (writes if seen.is_write else reads) * (10 if kind.waits else 1)
        return max(1, round(dear / depth.chosen.share))

    # Neighbours meet different kinds, and from seed to seed each meets every kind.
    return [s.index for s in requests if (s.index + number + depth.seed) % every(s) == 0]


def each(
    kind: Kind, indices: list[int], requests: list[Seen], check: Callable[[int], None]
) -> None:
    """Check each of the cases and tell all that went wrong at once."""
    wrong = []
    for index in indices:
        seen = requests[index]
        try:
            check(index)
        except AssertionError as problem:
            words = str(problem).split("\n--- stdout")[0][:1500]
            wrong.append(f"{kind} at request {index} ({seen.method} {seen.path}): {words}")
    assert not wrong, f"{len(wrong)} of {len(indices)} cases:\n" + "\n".join(wrong)


# The cases


def check_prune(
    estate: Estate,
    strike: Callable[[], None],
    env: tuple[tuple[str, str], ...] = (),
    *,
    passes: bool = False,
    restores: bool = True,
) -> list[Seen]:
    """Nothing too much, a true journal, and a second prune finishes as if nothing had been.

    Args:
        estate: put back first.
        strike: makes the trouble.
        env: of the program in trouble.
        passes: the program gets through.
        restores: look whether a restore brings everything back, too.

    Returns:
        The requests of the prune in trouble.
    """
    estate.before.put_back()
    estate.proxy.forget()
    journal = estate.fresh_journal()
    strike()
    outcome = estate.prune(journal, dict(env))
    disturbed = estate.proxy.seen
    assert_printed(outcome)
    if passes:
        outcome.expect(0)
    gone = assert_only_planned(look(estate.before.database), estate.before.state, estate.plan)
    assert_journal_is_true(journal, estate.plan, gone)
    assert_no_blind_repetition(disturbed)
    if outcome.code == 0:
        output = [r for s in sessions_of(journal) for r in s.records if r["outcome"] != "deleted"]
        left = estate.plan.entities - gone
        assert not left, f"exit 0, and left: {left}, because {output}"
    if outcome.code == REFUSED:
        assert not deletions(disturbed), "refused, but not before the first delete"

    if outcome.code:
        estate.proxy.forget()
        estate.prune(journal).expect(0)
        assert not gone & set(deletions(estate.proxy.seen)), "deleted a second time"
    assert look(estate.before.database).active == estate.after.state.active, "not finished"
    assert rows_of(estate.before.database) == estate.after.rows, "another end"
    assert_journal_is_complete(journal, estate.plan)
    if restores:
        estate.restore(journal).expect(0)
        assert_all_is_back(estate.before, estate.plan)
    return disturbed


@pytest.mark.smoke
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(len(KINDS)), ids=lambda n: str(KINDS[n]))
def test_prune_survives_a_fault_at_any_request(estate: Estate, number: int) -> None:
    """Of each kind, at a share of the requests."""
    kind = KINDS[number]

    def check(index: int) -> None:
        restores = depth.chosen.share == 1 or (index + number) % 3 == 0
        strike = partial(kind.strike, estate.proxy, index)
        check_prune(estate, strike, kind.env, passes=kind.passes, restores=restores)

    each(kind, chosen(kind, number, estate.requests, writes=1, reads=8), estate.requests, check)


AT_EACH_WRITE = [
    faults.RESET_BEFORE,
    faults.RESET_AFTER,
    faults.SERVER_ERROR_AFTER,
    faults.HTML_200,
]
"""What most resembles a success that was none, or a failure that was a success."""


def _met(requests: list[Seen]) -> int:
    """How many writes came at least once."""
    return len({(s.path, s.body) for s in requests if s.is_write})


@pytest.mark.smoke
@pytest.mark.parametrize("fault", depth.some(AT_EACH_WRITE, 3), ids=str)
def test_prune_survives_a_fault_at_each_of_its_writes(estate: Estate, fault: Fault) -> None:
    """The first attempt of every delete fails; one look and one more attempt do it."""
    seen = check_prune(estate, partial(estate.proxy.fail_each_write, fault), passes=True)
    assert _met(seen) == _met(estate.requests), "not every write has met the fault"


@pytest.mark.timeout(1200)
def test_prune_locked_out_from_any_of_its_writes_on(estate: Estate) -> None:
    """A token that ends in the midst: what was done is told, what was not is left."""
    kind = _irreversible(faults.UNAUTHORIZED)
    writes = [seen.index for seen in estate.requests if seen.is_write]

    def check(index: int) -> None:
        strike = partial(kind.strike, estate.proxy, index)
        check_prune(estate, strike, restores=index == writes[-1])

    each(kind, writes, estate.requests, check)


def _differing(document: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [key for key in document if document[key] != other[key]]


def _same(document: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two plans say the same; what the server calls its version decides nothing."""

    def decisive(plan: dict[str, Any]) -> dict[str, Any]:
        server = {**plan["server"], "mlflow_version": None}
        return {**plan, "created_at": None, "plan_id": None, "server": server}

    return decisive(document) == decisive(other)


def _is_hidden_from(rough: Plan, calm: Plan) -> bool:
    """Whether it retains something because this account may not see what it holds (403)."""
    fewer = calm.entities - rough.entities
    reasons = {reason for entity in fewer for reason in rough.protection(entity)}
    return bool(fewer) and reasons <= {"has_contents", "traces_unread", "live_run"}


@pytest.fixture(scope="module")
def undisturbed(estate: Estate) -> tuple[list[Seen], dict[str, Any]]:
    """The requests and the plan of a report without any fault."""
    estate.before.put_back()
    estate.proxy.forget()
    path = estate.bench.dir / "calm.json"
    estate.report(path).expect(0)
    plan = Plan.load(path)
    # Through the proxy the server has another address.
    assert plan.entities == estate.plan.entities
    return estate.proxy.seen, plan.document


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(len(KINDS)), ids=lambda n: str(KINDS[n]))
def test_report_under_a_fault_at_any_request_is_the_same_or_none(
    estate: Estate, undisturbed: tuple[list[Seen], dict[str, Any]], number: int
) -> None:
    """The plan of an undisturbed report, or one that cannot be applied, or none; never more."""
    kind = KINDS[number]
    estate.before.put_back()
    path = estate.bench.dir / "disturbed.json"
    requests, calm = undisturbed

    def check(index: int) -> None:
        estate.proxy.forget()
        path.unlink(missing_ok=True)
        kind.strike(estate.proxy, index)
        outcome = estate.report(path, dict(kind.env))
        assert_printed(outcome)
        if kind.passes:
            outcome.expect(0)
        if not path.exists():
            assert outcome.code, "exit 0 without a plan"
            return
        rough = Plan.load(path)
        if outcome.code == 0 or rough.document["applyable"]:
            more = rough.entities - estate.plan.entities
            assert not more, f"it deletes more: {sorted(more)}"
            assert outcome.code == 0, "an applyable plan of a failed report"
            if _is_hidden_from(rough, estate.plan):
                return
            assert _same(rough.document, calm), f"another plan: {_differing(rough.document, calm)}"
        else:
            assert rough.document["complete"] is False
            assert rough.document["diagnostics"]

    each(kind, chosen(kind, number, requests, writes=1, reads=2), requests, check)
    assert look(estate.before.database) == estate.before.state, "a report changed something"


RESTORE_KINDS = [
    _once(faults.RESET_BEFORE),
    _once(faults.RESET_AFTER),
    _once(faults.TOO_SLOW, IMPATIENT),
    _once(faults.TOO_MANY_NOW),
    _once(faults.SERVER_ERROR),
    _once(faults.SERVER_ERROR_AFTER),
    _once(faults.TORN_JSON),
    _once(faults.HTML_200),
    _once(faults.EMPTY_200),
    _once(faults.HTML_404),
    _irreversible(faults.UNAUTHORIZED),
    _lost_then(faults.FORBIDDEN),
]


def check_restore(
    estate: Estate, strike: Callable[[], None], env: tuple[tuple[str, str], ...] = ()
) -> list[Seen]:
    """Nothing is lost, its journal is true, and a second restore brings back everything.

    Returns:
        The requests of the restore in trouble.
    """
    own = estate.journal.with_name(f"{estate.journal.name}.restore.jsonl")
    estate.after.put_back()
    estate.proxy.forget()
    own.unlink(missing_ok=True)
    strike()
    outcome = estate.restore(estate.journal, dict(env))
    disturbed = estate.proxy.seen
    assert_printed(outcome)
    state = look(estate.before.database)
    assert estate.after.state.active <= state.active, "restore deleted something"
    reported = {e for s in sessions_of(own) for e in s.with_outcome("restored")}
    assert reported <= state.active, f"in the journal as restored, and not there: {reported}"
    if outcome.code == 0:
        assert_all_is_back(estate.before, estate.plan)

    estate.proxy.forget()
    estate.restore(estate.journal).expect(0)
    assert_all_is_back(estate.before, estate.plan)
    return disturbed


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(len(RESTORE_KINDS)), ids=lambda n: str(RESTORE_KINDS[n]))
def test_restore_survives_a_fault_at_any_request(estate: Estate, number: int) -> None:
    """Of each kind, at a share of the requests."""
    kind = RESTORE_KINDS[number]

    def check(index: int) -> None:
        check_restore(estate, partial(kind.strike, estate.proxy, index), kind.env)

    requests = estate.restoring
    each(kind, chosen(kind, number, requests, writes=0.5, reads=1.5), requests, check)


@pytest.mark.smoke
@pytest.mark.parametrize("fault", depth.some(AT_EACH_WRITE, 3), ids=str)
def test_restore_survives_a_fault_at_each_of_its_writes(estate: Estate, fault: Fault) -> None:
    """The first attempt to bring back each of them fails."""
    seen = check_restore(estate, partial(estate.proxy.fail_each_write, fault))
    assert _met(seen) == _met(estate.restoring), "not every write has met the fault"


@pytest.mark.timeout(1200)
def test_restore_locked_out_from_any_of_its_writes_on(estate: Estate) -> None:
    """A token that ends in the midst."""
    kind = _irreversible(faults.UNAUTHORIZED)
    writes = [seen.index for seen in estate.restoring if seen.is_write]

    def check(index: int) -> None:
        check_restore(estate, partial(kind.strike, estate.proxy, index))

    each(kind, writes, estate.restoring, check)
