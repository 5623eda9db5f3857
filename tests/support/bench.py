"""A workbench: data in a server, the program, a directory for its files, and the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from support import oracle
from support.plans import Journal, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.cli import Cli, Outcome
    from support.world import World


@dataclass(frozen=True)
class Bench:
    """What most tests need.

    Attributes:
        world: the data.
        cli: the program; talks to ``world`` unless told otherwise.
        dir: for plans and journals.
    """

    world: World
    cli: Cli
    dir: Path

    def report(
        self,
        *args: object,
        name: str = "plan.json",
        env: Mapping[str, str | None] | None = None,
        codes: tuple[int, ...] = (0,),
    ) -> Plan:
        """Run ``report`` as of the world's clock and read the plan it wrote."""
        path = self.dir / name
        self.cli("report", "-o", path, "--as-of", self.world.as_of, *args, env=env).expect(*codes)
        return Plan.load(path)

    def prune(
        self,
        plan: Plan,
        *args: object,
        env: Mapping[str, str | None] | None = None,
        codes: tuple[int, ...] = (0,),
        torn: bool = False,
    ) -> tuple[Outcome, Journal]:
        """Run ``prune PLAN`` and read its journal."""
        outcome = self.cli("prune", plan.path, "--journal", self.journal_path(plan), *args, env=env)
        outcome.expect(*codes)
        path = self.journal_path(plan)
        return outcome, Journal.load(path, torn=torn) if path.exists() else Journal()

    def journal_path(self, plan: Plan) -> Path:
        """Where :meth:`prune` puts the journal."""
        return plan.path.with_suffix(".journal.jsonl")

    def state(self) -> oracle.State:
        """What is in the server now."""
        return oracle.look(self.world.database)
