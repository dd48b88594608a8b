"""Keeps this node's VMs alive only while that is proved to be safe: arms the watchdog, puts its deadline off, holds.

    NodeGroup says Watchdog --> the watchdog is told a deadline --> a renewal that says *armed* is acknowledged: armed
    acknowledged renewal, completed hold round --> the watchdog is told a later deadline
    NodeGroup says other times --> it lives by the shorter ones, and is armed all the while, until its new word is
                                   acknowledged
    NodeGroup says no more  --> a renewal that says *not armed* is acknowledged --> the watchdog is let go

The order matters: the watchdog counts before the world is told that it does, and after the world was told that it does
not. Nothing shorter is promised than the deadline that the watchdog has been told, and nothing longer is lived by than
what is promised for sure. Where the group is not fenced nothing dies of an API outage, and nothing is promised.

The rule itself is in ``life``; renewals are ``nodelease``'s. The deadline is kept by the watchdog, not here: this task
may be frozen at any line.
"""

# Long module: what is promised and what is lived by change in one place.

from __future__ import annotations

import asyncio
import contextlib
import json

from drover.agent.life import Life, LifeEnded, Vouching, Word
from drover.agent.nodelease import NodeLease, Words
from drover.agent.ports import HostError, HypervisorError, Journal, MonitorSilent
from drover.agent.remembered import Remembered
from drover.agent.rounds import Holding, Peers
from drover.agent.sight import NO_ROSTER, Sight
from drover.agent.watchdog import Watchdog
from drover.api.fencing import Armed, Evidence, Timing
from drover.api.kinds.nodefence import Roster
from drover.base.clock import Clock
from drover.base.log import Log
from drover.base.tasks import TaskScope

NODE_KEY = "node"  # the journal's entry for the node itself
_PROMISES = "promises"
_REMEMBERED = "armed"
_IDLE_S = 0.5
_ARM_AGAIN_S = 10.0  # a watchdog that refused is asked again


class Survival:
    """One per agent. ``may_launch`` is what others ask."""

    def __init__(
        self,
        sight: Sight,
        lease: NodeLease,
        watchdog: Watchdog,
        peers: Peers,
        journal: Journal,
        clock: Clock,
        log: Log,
    ) -> None:
        self._sight = sight
        self._lease = lease
        self._watchdog = watchdog
        self._journal = journal
        self._clock = clock
        self._log = log
        self._wake = asyncio.Event()
        self._life: Life | None = None
        # By these times it lives, or by shorter ones; whatever it has promised and may hold still, they keep it.
        self._times: Timing | None = None
        self._word = Word()
        self._synced = False  # what the API says is known
        self._remembered: Remembered | None = None  # as the journal has it
        self._let_go = False  # what an earlier agent asked of the watchdog
        self._told_s = 0.0  # the deadline that the watchdog has been told
        self._stands_s = 0.0  # the one that it may have been told: an answer may be lost
        self._arm_again_s = 0.0
        self._refused = ""  # why the watchdog could not be armed
        promises = json.loads(journal.get(NODE_KEY, _PROMISES) or "{}")
        self._vouching = Vouching(clock.monotonic(), promises)
        self._holding = Holding(
            peers,
            clock,
            log,
            sight.node,
            lease.incarnation,
            lambda: self._life,
            self._roster,
            self._wake.set,
        )
        self._usual_period_s = lease.period_s
        lease.words = self._words
        lease.on_acked.append(self._heard)
        sight.on_change(self._wake.set)

    # --- what others ask ---

    @property
    def armed(self) -> bool:
        """Its deadline counts, and the world was told so."""
        return self._word.now is not None and self._word.acked is not None

    @property
    def may_launch(self) -> bool:
        """Whether a QEMU may be started: where the group is fenced, only under the deadline."""
        return self._sight.groups.synced and (
            self.armed or self._sight.wanted(self._watchdog) is None
        )

    @property
    def trouble(self) -> str:
        """Why no watchdog guards this node though its group asks for one; empty: nothing."""
        return self._refused or self._sight.unfit(self._watchdog)

    def asked(self, node: str) -> bool:
        """A peer asks for a voucher for itself (P1). Until the open inquests are read only an agent that has its
        predecessor's promises gives one: this may be a new machine (P3)."""
        if self._sight.fences.synced:
            try:
                self._promise()
            except HostError:
                return False
        elif self._remembered is None:
            return False
        timing = self._life.timing if self._life is not None else self._sight.wanted(self._watchdog)
        acked_s, now_s = self._lease.acked_at, self._clock.monotonic()
        silent = timing is not None and (acked_s is None or now_s - acked_s > timing.ask_s)
        return self._vouching.asked(node, now_s, silent)

    # --- renewals ---

    def _words(self) -> Words:
        now_s = self._clock.monotonic()
        vouching = self._vouching
        return Words(
            armed=self._word.now,
            life_s=vouching.life_s(now_s),
            vouched=vouching.ages_s(now_s),
            promises=vouching.promises,
            roster=self._roster().generation,
        )

    def _heard(self, sent_s: float, evidence: Evidence) -> None:
        self._word.heard(evidence)
        if self._life is not None:
            self._life.acked(sent_s)
        self._wake.set()

    # --- the loop ---

    async def run(self) -> None:
        """For ever. Raises LifeEnded."""
        async with TaskScope("survival") as scope:
            await self._go_on()
            scope.guard(self._keep(), "keep")
            scope.guard(self._holding.run(), "hold")
            scope.spawn(self._sync(), "sync")
            raise await scope.wait_broken()

    async def _sync(self) -> None:
        await self._sight.wait_synced()
        self._synced = True
        self._wake.set()

    async def _go_on(self) -> None:
        """Where the former agent of this life stopped, should the API be away: by the deadline that stands."""
        kept = Remembered.load(self._journal.get(NODE_KEY, _REMEMBERED) or "")
        if kept is None or kept.life != self._lease.incarnation:
            return
        try:
            until_s = await self._watchdog.until(kept.life)
        except MonitorSilent:
            return
        if until_s is not None:
            self._remembered, self._times = kept, kept.timing
            self._told_s = self._stands_s = until_s
            self._life = Life(kept.timing, until_s - kept.timing.age_s)
            self._lease.period_s = min(self._usual_period_s, kept.timing.renew_s)
            if self._may_say(kept.timing):
                self._word.now = Armed.of(kept.timing, self._watchdog.kind)

    def _remember(self) -> None:
        """Before anything is promised by it, and again when the roster has changed."""
        now = None
        if self._times is not None:
            now = Remembered(self._lease.incarnation, self._times, self._roster())
        if now == self._remembered:
            return
        if now is None:
            self._journal.drop(NODE_KEY, _REMEMBERED)
        else:
            self._journal.put(NODE_KEY, _REMEMBERED, now.dump())
        self._remembered = now

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._step()
            except MonitorSilent as silent:
                self._log.warn("the watchdog gives no answer", why=str(silent))
            except HostError as trouble:  # what the disk did not take was not said
                self._log.warn("a promise cannot be kept on disk yet", why=str(trouble))
            except HypervisorError as refused:
                raise LifeEnded(str(refused)) from refused
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    await self._wake.wait()

    async def _step(self) -> None:
        if self._life is not None:
            await self._put_off(self._life)
        if not self._synced:
            return
        self._promise()
        await self._look()
        self._remember()

    async def _put_off(self, life: Life) -> None:
        if self._clock.monotonic() >= max(life.deadline_s, self._told_s):
            raise LifeEnded("its deadline has passed")
        if life.deadline_s > self._told_s:
            deadline_s = self._stands_s = life.deadline_s
            await self._watchdog.live(self._lease.incarnation, deadline_s)
            self._told_s = deadline_s

    async def _look(self) -> None:
        """What the group asks for now."""
        wanted, life = self._sight.wanted(self._watchdog), self._life
        if life is None:
            if wanted is not None:
                await self._arm(wanted)
            elif self._word.acked_seq and not self._let_go:
                # A deadline of an earlier agent of this life may count still, and nobody would put it off.
                await self._watchdog.free(self._lease.incarnation)
                self._let_go = True
            return
        if wanted is not None:
            await self._live_by(life, wanted)
        elif self._word.now is not None:
            self._say(None)
        elif self._word.stands:
            await self._watchdog.free(self._lease.incarnation)
            self._life = self._times = None
            self._lease.period_s = self._usual_period_s
            self._log.mark("fencing.disarmed")

    async def _live_by(self, life: Life, wanted: Timing) -> None:
        """Say that it lives by these times, and do so as soon as nothing that was said before stands in the way."""
        assert self._times is not None
        word = Armed.of(wanted, self._watchdog.kind)
        life.timing = min(wanted, self._times, key=lambda timing: timing.age_s)
        self._lease.period_s = min(self._usual_period_s, life.timing.renew_s)
        if self._word.now != word:
            if not self._may_say(wanted):
                return
            if self._word.now is None and not await self._sight.knows_roster(wanted.renew_s):
                return
            if life.timing == wanted:
                self._settle(life, wanted)
            self._say(word)
        elif self._times != wanted and self._word.stands:
            self._settle(life, wanted)

    def _may_say(self, timing: Timing) -> bool:
        """No deadline stands that is later than these times would have it."""
        return self._stands_s <= self._clock.monotonic() + timing.age_s

    def _settle(self, life: Life, timing: Timing) -> None:
        self._times = life.timing = timing
        self._remember()

    async def _arm(self, timing: Timing) -> None:
        acked_s = self._lease.acked_at
        if acked_s is None:
            return
        life = Life(timing, acked_s)
        if self._clock.monotonic() >= life.deadline_s:
            return  # it does not renew just now: nothing to build on
        if not await self._ready():
            return
        incarnation = self._lease.incarnation
        await self._watchdog.live(incarnation, life.deadline_s)
        # An earlier agent of this life may have told it a later one.
        until_s = await self._watchdog.until(incarnation)
        self._told_s = self._stands_s = max(until_s or life.deadline_s, life.deadline_s)
        self._life, self._times = life, timing
        await self._live_by(life, timing)

    async def _ready(self) -> bool:
        """The watchdog can guard this node. If not, that is told on the Node, and no VM is started here."""
        now_s, before = self._clock.monotonic(), self._refused
        if before and now_s < self._arm_again_s:
            return False
        try:
            await self._watchdog.arm()
            self._refused = ""
        except MonitorSilent:
            raise
        except HypervisorError as refused:
            self._refused, self._arm_again_s = str(refused), now_s + _ARM_AGAIN_S
        if self._refused != before:
            self._log.warn("the watchdog", trouble=self._refused)
            self._lease.hurry()
        return not self._refused

    def _say(self, armed: Armed | None) -> None:
        if armed is not None and self._word.acked is None:
            self._log.mark("fencing.armed", age_s=armed.age_s)
        self._word.say(armed, self._lease.seq)
        self._lease.hurry()

    def _roster(self) -> Roster:
        if not self._synced:
            return self._remembered.roster if self._remembered is not None else NO_ROSTER
        return self._sight.roster()

    def _promise(self) -> None:
        """Promise what open inquests ask for (P3). A promise goes only with its inquest: the cache began with a
        consistent read and heard of every change since, so what it does not show is not there."""
        wanted = self._sight.inquests()
        if wanted != self._vouching.promises:
            self._journal.put(NODE_KEY, _PROMISES, json.dumps(wanted))
            self._vouching.promise(wanted)
            if self._sight.node in self._roster().names:
                self._lease.hurry()  # nobody waits for the promise of another
