"""Feeds every checker and keeps the first verdict."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.sim.checkers.base import Checker
from drover.sim.checkers.evacuations import OneEvacuation
from drover.sim.checkers.liveness import FirmwareRolledOut, NothingOpen, QueuesEmpty, VmsRun
from drover.sim.checkers.rebalance import Balanced, Cooldown, NoNodeOver, OnePlan, OnlyPlanned
from drover.sim.checkers.s1_one_copy import LocksNotNeeded, NoWayBack, OneCopy
from drover.sim.checkers.s2_lease import LeaseNamesTheRunning
from drover.sim.checkers.s3_fenced import FencedIsDead
from drover.sim.checkers.s4_watch import WatchOrder
from drover.sim.checkers.s5_terminal import TerminalStays
from drover.sim.checkers.s6_limits import LimitsHold
from drover.sim.checkers.s7_cordon import NothingLands
from drover.sim.checkers.s8_address import OneHolder
from drover.sim.checkers.s9_abort import AbortKeepsTheVm

if TYPE_CHECKING:
    from drover.sim.scenario import Scenario

ALL: tuple[type[Checker], ...] = (
    OneCopy, LocksNotNeeded, NoWayBack, LeaseNamesTheRunning, FencedIsDead, WatchOrder, TerminalStays,
    LimitsHold, NothingLands, OneHolder, AbortKeepsTheVm, VmsRun, NothingOpen, QueuesEmpty,
    FirmwareRolledOut, OneEvacuation, OnePlan, OnlyPlanned, Cooldown, NoNodeOver, Balanced,
)  # fmt: skip
REST_POLL_S = 1.0


class Broken(Exception):
    """A checker's verdict."""

    def __init__(self, checker: str, what: str, at_s: float) -> None:
        super().__init__(f"{checker}: {what} (virtual second {at_s:.4f})")
        self.checker = checker


class Judge:
    """Looks at each write and each start of a guest, from when it is made."""

    def __init__(self, scenario: Scenario) -> None:
        world = scenario.world
        self._world = world
        self._checkers = [made(scenario) for made in ALL]
        # Many look only at changes, at steps or at the end; there are thousands of changes in a run.
        self._of_changes = [c for c in self._checkers if type(c).on_change is not Checker.on_change]
        self._of_steps = [c for c in self._checkers if type(c).on_step is not Checker.on_step]
        self._seen = world.api.store.revision
        self.first: Broken | None = None
        self._verdict = asyncio.Event()
        told = world.site.ledger.on_run

        def on_run(copy: str, vm: str) -> None:
            told(copy, vm)
            self._step()

        world.site.ledger.on_run = on_run
        with world.loop.process("judge"):
            world.scope.guard(self._follow(), "judge")

    async def _follow(self) -> None:
        store = self._world.api.store
        while True:
            changes, self._seen = store.since(self._seen), store.revision
            for change in changes:
                for checker in self._of_changes:
                    self._keep(checker, checker.on_change(change))
            self._step()
            if store.revision == self._seen:
                await store.wait_changed()

    def _step(self) -> None:
        for checker in self._of_steps:
            self._keep(checker, checker.on_step())
        if self._world.broken:
            self._keep_words("a process broke", self._world.broken[0])

    def _keep(self, checker: Checker, what: str) -> None:
        if what:
            self._keep_words(checker.name, what)

    def _keep_words(self, checker: str, what: str) -> None:
        if self.first is None:
            self.first = Broken(checker, what, self._world.loop.time())
            self._world.note(f"BROKEN {self.first}")
            self._verdict.set()

    async def patience(self, limit_s: float) -> None:
        """Let the world go on for so long. Raises Broken at once when a checker says so."""
        try:
            async with asyncio.timeout(limit_s):
                await self._verdict.wait()
        except TimeoutError:
            pass
        self.check()

    async def rest(self, limit_s: float) -> float:
        """Wait until every checker is satisfied; how long it took. Raises Broken."""
        began_s = self._world.loop.time()
        while True:
            await self.patience(REST_POLL_S)
            waiting = [(checker, checker.at_rest()) for checker in self._checkers]
            unmet = [(checker, what) for checker, what in waiting if what]
            now_s = self._world.loop.time()
            if not unmet:
                return now_s - began_s
            if now_s - began_s > limit_s:
                checker, what = unmet[0]
                self._keep_words(checker.name, f"{limit_s:g} s after healing, {what}")
                self.check()

    def check(self) -> None:
        """Raises Broken when any checker has spoken."""
        if self.first is not None:
            raise self.first
