"""Keeps this node's VMs alive only while that is proved to be safe: arms the watchdog, puts its deadline off, holds.

    NodeGroup says Watchdog --> the watchdog is told a deadline --> a renewal that says *armed* is acknowledged: armed
    acknowledged renewal, completed hold round --> the watchdog is told a later deadline
    NodeGroup says no more  --> a renewal that says *not armed* is acknowledged --> the watchdog is let go

The order matters: the watchdog counts before the world is told that it does, and after the world was told that it does
not. Where the group is not fenced nothing dies of an API outage, and nothing is promised.

The rule itself is in ``life``; renewals are ``nodelease``'s. The deadline is kept by the watchdog, not here: this task
may be frozen at any line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

from drover.agent.life import Life, LifeEnded, Round, Vouching
from drover.agent.nodelease import NodeLease, Words
from drover.agent.ports import HypervisorError, Journal, MonitorSilent
from drover.agent.remembered import Remembered
from drover.agent.rounds import Peers, ask_all
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
        self._peers = peers
        self._journal = journal
        self._clock = clock
        self._log = log
        self._wake = asyncio.Event()
        self._life: Life | None = None
        self._armed: Armed | None = None  # what the next renewal says
        self._acked_armed: Armed | None = None  # what the newest acknowledged one said
        self._acked_seq = self._said_seq = 0
        self._synced = False  # what the API says is known
        self._remembered: Remembered | None = None  # as the journal has it
        self._let_go = False  # what an earlier agent asked of the watchdog
        self._told_s = 0.0
        self._rounds = 0
        self._arm_again_s = 0.0
        self._refused = ""  # why the watchdog could not be armed
        promises = json.loads(journal.get(NODE_KEY, _PROMISES) or "{}")
        self._vouching = Vouching(clock.monotonic(), promises)
        self._usual_period_s = lease.period_s
        lease.words = self._words
        lease.on_acked.append(self._heard)
        sight.on_change(self._wake.set)

    # --- what others ask ---

    @property
    def armed(self) -> bool:
        """Its deadline counts, and the world was told so."""
        return self._armed is not None and self._armed == self._acked_armed

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
            self._promise()
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
            armed=self._armed,
            life_s=vouching.life_s(now_s),
            vouched=vouching.ages_s(now_s),
            promises=vouching.promises,
            roster=self._roster().generation,
        )

    def _heard(self, sent_s: float, evidence: Evidence) -> None:
        self._acked_armed, self._acked_seq = evidence.armed, evidence.seq
        if self._life is not None:
            self._life.acked(sent_s)
        self._wake.set()

    # --- the loop ---

    async def run(self) -> None:
        """For ever. Raises LifeEnded."""
        async with TaskScope("survival") as scope:
            await self._go_on()
            scope.guard(self._keep(), "keep")
            scope.guard(self._hold(), "hold")
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
            self._remembered, self._told_s = kept, until_s
            self._life = Life(kept.timing, until_s - kept.timing.age_s)
            self._lease.period_s = min(self._usual_period_s, kept.timing.renew_s)
            self._armed = Armed.of(kept.timing, self._watchdog.kind)

    def _remember(self) -> None:
        """Before anything is promised by it, and again when the roster has changed."""
        life, now = self._life, None
        if life is not None:
            now = Remembered(self._lease.incarnation, life.timing, self._roster())
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
        if self._clock.monotonic() >= life.deadline_s:
            raise LifeEnded("its deadline has passed")
        if life.deadline_s > self._told_s:
            deadline_s = life.deadline_s
            await self._watchdog.live(self._lease.incarnation, deadline_s)
            self._told_s = deadline_s

    async def _look(self) -> None:
        """What the group asks for now."""
        wanted, life = self._sight.wanted(self._watchdog), self._life
        if life is None:
            if wanted is not None:
                await self._arm(wanted)
            elif self._acked_seq and not self._let_go:
                # A deadline of an earlier agent of this life may count still, and nobody would put it off.
                await self._watchdog.free(self._lease.incarnation)
                self._let_go = True
            return
        if wanted == life.timing:
            # It was to go, and shall stay after all.
            if self._armed is None and await self._sight.knows_roster(wanted.renew_s):
                self._say(Armed.of(life.timing, self._watchdog.kind))
        elif self._armed is not None:
            self._say(None)
        elif self._acked_armed is None and self._acked_seq > self._said_seq:
            # Acknowledged, and sent since: no earlier one that says *armed* can be committed any more.
            await self._watchdog.free(self._lease.incarnation)
            self._life = None
            self._lease.period_s = self._usual_period_s
            self._log.mark("fencing.disarmed")

    async def _arm(self, timing: Timing) -> None:
        acked_s = self._lease.acked_at
        if acked_s is None:
            return
        life = Life(timing, acked_s)
        if self._clock.monotonic() >= life.deadline_s:
            return  # it does not renew just now: nothing to build on
        if not await self._ready() or not await self._sight.knows_roster(timing.renew_s):
            return
        await self._watchdog.live(self._lease.incarnation, life.deadline_s)
        self._life, self._told_s = life, life.deadline_s
        self._lease.period_s = min(self._usual_period_s, timing.renew_s)
        self._say(Armed.of(timing, self._watchdog.kind))
        self._log.mark("fencing.armed", timeout_s=timing.timeout_s)

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
        self._armed = armed
        self._said_seq = self._lease.seq
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

    # --- holding ---

    async def _hold(self) -> None:
        """While our renewals fail: one round after the other (A4)."""
        while True:
            life = self._life
            if life is None or not life.must_ask(self._clock.monotonic()):
                await self._clock.sleep(_IDLE_S if life is None else life.timing.pause_s)
                continue
            await self._round(life)
            await self._clock.sleep(life.timing.pause_s)

    async def _round(self, life: Life) -> None:
        self._rounds += 1
        roster, begun_s = self._roster(), self._clock.monotonic()
        nonce = f"{self._lease.incarnation}/{self._rounds}"
        asked = Round(nonce, begun_s, self._sight.node, roster)
        await ask_all(self._peers, asked, life.timing.renew_s)
        if asked.complete and self._life is life:
            life.held(begun_s)
            self._log.mark("fencing.held", vouchers=sorted(asked.given))
            self._wake.set()
