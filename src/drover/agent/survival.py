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
import json
from collections.abc import Mapping
from dataclasses import dataclass

from drover.agent.life import Life, LifeEnded, Round, Vouching
from drover.agent.nodelease import NodeLease, Words
from drover.agent.ports import HypervisorError, Journal, MonitorSilent
from drover.agent.rounds import Peers, ask_all
from drover.agent.watchdog import NONE, Watchdog
from drover.api import names
from drover.api.fencing import Armed, Evidence, Timing
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds.nodefence import Roster
from drover.api.kinds.nodegroup import FencingMode
from drover.base.clock import Clock
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.informer import Informer

NODE_KEY = "node"  # the journal's entry for the node itself
_PROMISES = "promises"
_IDLE_S = 0.5
_ARM_AGAIN_S = 10.0  # a watchdog that refused is asked again
_NO_ROSTER = Roster(0, ())


@dataclass(frozen=True)
class Sight:
    """What it looks at."""

    group: str  # the NodeGroup's name; empty: none
    node: str
    groups: Informer
    nodes: Informer
    fences: Informer
    rosters: Informer
    configs: Informer  # ModuleConfigs: the cluster's switch


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
        self._let_go = False  # what an earlier agent asked of the watchdog
        self._told_s = 0.0
        self._rounds = 0
        self._arm_again_s = 0.0
        self.trouble = ""  # why the watchdog cannot guard this node
        promises = json.loads(journal.get(NODE_KEY, _PROMISES) or "{}")
        self._vouching = Vouching(clock.monotonic(), promises)
        self._usual_period_s = lease.period_s
        lease.words = self._words
        lease.on_acked.append(self._heard)
        for informer in (sight.groups, sight.nodes, sight.fences, sight.rosters, sight.configs):
            informer.add_handler(lambda _old, _new: self._wake.set())

    # --- what others ask ---

    @property
    def armed(self) -> bool:
        """Its deadline counts, and the world was told so."""
        return self._armed is not None and self._armed == self._acked_armed

    @property
    def may_launch(self) -> bool:
        """Whether a QEMU may be started: where the group is fenced, only under the deadline."""
        return self._sight.groups.synced and (self.armed or self._wanted() is None)

    def asked(self, node: str) -> bool:
        """A peer asks for a voucher for itself (P1). Before the open inquests were read once nobody gets one: this may
        be a new machine, without the former one's promises (P3)."""
        if not self._sight.fences.synced:
            return False
        self._promise()
        timing = self._life.timing if self._life is not None else self._wanted()
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
        sight = self._sight
        for informer in (sight.groups, sight.fences, sight.rosters, sight.configs):
            await informer.wait_synced()
        async with TaskScope("survival") as scope:
            scope.guard(self._keep(), "keep")
            scope.guard(self._hold(), "hold")
            raise await scope.wait_broken()

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._step()
            except MonitorSilent as silent:
                self._log.warn("the watchdog gives no answer", why=str(silent))
            except HypervisorError as refused:
                raise LifeEnded(str(refused)) from refused
            try:
                async with asyncio.timeout(_IDLE_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _step(self) -> None:
        self._promise()
        wanted, life = self._wanted(), self._life
        if life is None:
            if wanted is not None:
                await self._arm(wanted)
            elif self._acked_seq and not self._let_go:
                # A deadline of an earlier agent of this life may count still, and nobody would put it off.
                await self._watchdog.free(self._lease.incarnation)
                self._let_go = True
            return
        if self._clock.monotonic() >= life.deadline_s:
            raise LifeEnded("its deadline has passed")
        if life.deadline_s > self._told_s:
            deadline_s = life.deadline_s
            await self._watchdog.live(self._lease.incarnation, deadline_s)
            self._told_s = deadline_s
        if wanted == life.timing:
            if self._armed is None:  # it was to go, and shall stay after all
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
        if not await self._ready():
            return
        await self._watchdog.live(self._lease.incarnation, life.deadline_s)
        self._life, self._told_s = life, life.deadline_s
        self._lease.period_s = min(self._usual_period_s, timing.renew_s)
        self._say(Armed.of(timing, self._watchdog.kind))
        self._log.mark("fencing.armed", timeout_s=timing.timeout_s)

    async def _ready(self) -> bool:
        """The watchdog can guard this node. If not, that is told on the Node, and no VM is started here."""
        now_s, before = self._clock.monotonic(), self.trouble
        if before and now_s < self._arm_again_s:
            return False
        try:
            await self._watchdog.arm()
            self.trouble = ""
        except MonitorSilent:
            raise
        except HypervisorError as refused:
            self.trouble, self._arm_again_s = str(refused), now_s + _ARM_AGAIN_S
        if self.trouble != before:
            self._log.warn("the watchdog", trouble=self.trouble)
            self._lease.hurry()
        return not self.trouble

    def _say(self, armed: Armed | None) -> None:
        self._armed = armed
        self._said_seq = self._lease.seq
        self._lease.hurry()

    def _wanted(self) -> Timing | None:
        """The times that the NodeGroup asks for; None: not fenced, paused, or not to be had here."""
        sight = self._sight
        group = sight.groups.get(sight.group) if sight.group else None
        if group is None or self._watchdog.kind == NONE:
            return None
        if nodegroup.mode(group) is not FencingMode.WATCHDOG:
            return None
        switches = (group, sight.nodes.get(sight.node), sight.configs.get(names.MODULE_CONFIG))
        if any(obj is not None and nodegroup.paused_by(obj) for obj in switches):
            return None
        try:
            timing = Timing(nodegroup.timeout_s(group), self._watchdog.kick_s)
        except ValueError:
            return None  # the fencing controller says so on the group
        return None if timing.problems() else timing

    def _roster(self) -> Roster:
        sight = self._sight
        obj = sight.rosters.get(sight.group) if sight.group else None
        return _NO_ROSTER if obj is None else nodefence.roster(obj)

    def _promise(self) -> None:
        """Promise what open inquests ask for (P3). A promise goes only with its inquest: the cache began with a
        consistent read and heard of every change since, so what it does not show is not there."""
        wanted: Mapping[str, str] = {
            nodefence.node(fence): nodefence.inquest(fence)
            for fence in self._sight.fences.all()
            if nodefence.inquest(fence) and nodefence.node(fence) != self._sight.node
        }
        if wanted != self._vouching.promises:
            self._journal.put(NODE_KEY, _PROMISES, json.dumps(dict(wanted)))
            self._vouching.promise(wanted)
            self._lease.hurry()

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
        roster = self._roster()
        self._rounds += 1
        begun_s = self._clock.monotonic()
        asked = Round(
            f"{self._lease.incarnation}/{self._rounds}", begun_s, self._sight.node, roster
        )
        await ask_all(self._peers, asked, life.timing.renew_s)
        if asked.complete and self._life is life:
            life.held(begun_s)
            self._log.mark("fencing.held", vouchers=sorted(asked.given))
            self._wake.set()
