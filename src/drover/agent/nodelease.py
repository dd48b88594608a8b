"""The node's evidence of life: ``kube-node-lease/<node>``, renewed by compare-and-swap by this agent alone.

The Lease carries this node's *incarnation* (a random id committed at the join: safety rule 3), a report of the copies
it runs, from which a lost VM lease can be rebuilt (rule 1), and the *evidence* that the hold rule speaks of. What was
acknowledged counts from the instant before the version that is *committed* was sent; an acknowledgement that was lost
is found by reading again (rule 15). Only two things end this life: the fencing controller's mark, and another life of
the same node in this place. ``renew`` then raises ``LifeEnded``.

A new life follows another one only when that is dead for sure (rule 9): the same machine says so, or its fencing.

Not promised here: that the VMs are dead when renewals fail. That is ``survival`` and the watchdog.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.agent.acknowledged import Acknowledged
from drover.agent.life import LifeEnded
from drover.agent.ports import HostError
from drover.api import names, scheme, status
from drover.api.fencing import Armed, Evidence
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.wire import Object
from drover.base.clock import Clock, rfc3339_micro
from drover.base.ids import Ids
from drover.base.log import Log
from drover.runtime.client import Client


@dataclass(frozen=True)
class Identity:
    """Which life of which node. ``machine`` lasts across boots and goes with the node's state directory."""

    node: str
    incarnation: str
    boot: str
    machine: str


@dataclass(frozen=True)
class Words:
    """What the next renewal says beside that we live. Taken together with its time (rule A1)."""

    armed: Armed | None = None
    life_s: float = 0.0
    vouched: Mapping[str, float] = field(default_factory=dict)
    promises: Mapping[str, str] = field(default_factory=dict)
    roster: int = 0


@dataclass(frozen=True)
class _Attempt:
    sent_s: float
    evidence: Evidence


Heard = Callable[[float, Evidence], None]
# A copy: ``vm``, ``pod``, and the ``epoch`` at which it held the lease last.
Report = dict[str, str | int]


class NodeLease:
    """Joins, renews, and knows how fresh the last acknowledgement is."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        ids: Ids,
        log: Log,
        identity: Identity,
        period_s: float,
        duration_s: int,
    ) -> None:
        self._client = client
        self._clock = clock
        self._ids = ids
        self._log = log
        self._identity = identity
        self.period_s = period_s
        self._duration_s = duration_s
        self._lease: Object | None = None  # as committed, while that is certain
        self._attempt: _Attempt | None = None
        self.seq = 0  # of the newest attempt
        self._epoch: int | None = None  # at the join; None: not joined
        # What this node runs, asked for each renewal as it is sent. None: the agent has not looked yet, and must not
        # tell that nothing runs (safety rule 1).
        self.machines: Callable[[], list[Report]] | None = None
        self._reported: list[Report] | None = None
        self._followed: dict[str, None] = {}  # former lives whose place this one took
        self._wake = asyncio.Event()
        self.acked_at: float | None = None
        self.after_fencing = False  # a former life of this node was condemned
        self.words: Callable[[], Words] = Words
        self.on_acked: list[Heard] = []
        self._acknowledged = Acknowledged()
        # Called when the API has forgotten an acknowledged renewal.
        self.on_rewound: list[Callable[[], None]] = []

    @property
    def incarnation(self) -> str:
        return self._identity.incarnation

    @property
    def fresh(self) -> bool:
        """A renewal was acknowledged within two periods."""
        if self.acked_at is None:
            return False
        return self._clock.monotonic() - self.acked_at < 2 * self.period_s + 0.5

    @property
    def _door(self) -> Client:
        """A renewal that gets no answer within a period is given up: the group's times count on it."""
        return self._client.within(self.period_s)

    def hurry(self) -> None:
        """Renew at once: there is something to say."""
        self._wake.set()

    async def run(self) -> None:
        """Renew for ever; failures are tried again within the period. Raises LifeEnded."""
        while True:
            self._wake.clear()
            landed = await self.renew()
            try:
                async with asyncio.timeout(self.period_s if landed else self.period_s / 4):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def renew(self) -> bool:
        """One renewal; True when acknowledged. Raises LifeEnded."""
        lease, self._lease = self._lease, None
        try:
            if lease is None:
                lease = await self._find()
            if lease is None:
                return False
            answer = await self._write(lease)
        except (status.Conflict, status.NotFound, status.AlreadyExists):
            return False  # a conflict is not a death sentence: read again (safety rule 15)
        except (status.ApiError, status.Unanswered) as error:
            self._log.warn("the node's Lease was not renewed", why=str(error))
            return False
        self._lease = answer
        self._epoch = nodes.epoch(answer)
        self._acked(answer)
        return True

    async def _write(self, lease: Object) -> Object:
        words, sent_s = self.words(), self._clock.monotonic()
        identity = self._identity
        self.seq += 1
        evidence = Evidence(
            attempt=self._ids.uid(),
            boot=identity.boot,
            machine=identity.machine,
            seq=self.seq,
            armed=words.armed,
            life_s=words.life_s,
            vouched=words.vouched,
            promises=words.promises,
            roster=words.roster,
        )
        self._attempt = _Attempt(sent_s, evidence)
        wanted = self._filled(lease, evidence)
        if "resourceVersion" in lease["metadata"]:
            return await self._door.replace(scheme.LEASE, wanted)
        return await self._door.create(scheme.LEASE, wanted)

    def sent_since(self, version: int) -> int:
        """See ``Acknowledged``."""
        return self._acknowledged.sent_since(version, self.seq)

    def _acked(self, lease: Object) -> None:
        """The newest attempt is what is committed."""
        attempt = self._attempt
        if attempt is None:
            return
        self._acknowledged.note(attempt.evidence, lease)
        self.acked_at = max(attempt.sent_s, self.acked_at or attempt.sent_s)
        for hear in self.on_acked:
            hear(attempt.sent_s, attempt.evidence)

    async def _find(self) -> Object | None:
        """What is committed now, as the ground of the next attempt; None: we may not write there yet."""
        identity = self._identity
        try:
            lease = await self._door.get(scheme.LEASE, identity.node, names.NODE_LEASE_NAMESPACE)
        except status.NotFound:
            await self._check_absence()
            meta = {"name": identity.node, "namespace": names.NODE_LEASE_NAMESPACE}
            return {"metadata": meta, "spec": {}}
        there = nodes.incarnation(lease)
        if nodes.condemned(lease) == identity.incarnation:
            raise LifeEnded("this life of the node was condemned")
        if not there:
            # It names no life: a hand took the name away, or made the Lease. As good as none.
            await self._check_absence()
            return lease
        if there == identity.incarnation:
            self._own(lease)
            return lease
        if self._epoch is not None and there in self._followed:
            # We had taken its place, and it is dead for sure: a backup was restored.
            self._rewound(0)
            return lease
        if self._epoch is not None:
            raise LifeEnded(f"another life of this node, {there}, has taken its place")
        self.after_fencing = nodes.condemned(lease) == there
        if not await self._may_follow(lease, there):
            return None
        self._followed[there] = None
        return lease

    def _own(self, lease: Object) -> None:
        """It names our life: whether that is over, and which of our renewals is committed."""
        if self._epoch is not None and nodes.epoch(lease) > self._epoch:
            raise LifeEnded("the epoch of the node's Lease was raised")
        committed = nodes.evidence(lease)
        attempt = self._attempt
        if committed is not None:
            under_way = attempt.evidence if attempt is not None else None
            if self._acknowledged.forgotten(committed, under_way):
                self._rewound(committed.seq)
            self.seq = max(self.seq, committed.seq)
            if attempt is not None and committed.attempt == attempt.evidence.attempt:
                self._acked(lease)  # its acknowledgement was lost

    def _rewound(self, seq: int) -> None:
        """A backup was restored, declared or not (safety rule 10)."""
        self._log.warn(
            "the API has forgotten renewals that it had acknowledged: was a backup restored? VMs run on, and none is "
            "started until that is declared"
        )
        self._acknowledged.rewind(seq)
        for tell in self.on_rewound:
            tell()

    async def _check_absence(self) -> None:
        """Somebody removed the Lease, and with it a mark that may have been there. A life that is under suspicion ends
        then; a condemnation needs the suspicion to be written first."""
        name = nodefence.name_for(self._identity.node, self.incarnation)
        try:
            await self._door.get(scheme.NODEFENCE, name)
        except status.NotFound:
            return
        raise LifeEnded("the node's Lease is gone while it was suspected")

    async def _may_follow(self, lease: Object, there: str) -> bool:
        """Whether the life that stands there is dead for sure (safety rule 9)."""
        former = nodes.evidence(lease)
        if former is None or former.machine == self._identity.machine:
            return True  # our own state says that all of it was reaped, or that the node booted
        try:
            name = nodefence.name_for(self._identity.node, there)
            fence = await self._door.get(scheme.NODEFENCE, name)
            if nodefence.incarnation(fence) == there and nodefence.proves_dead(fence):
                return True
        except status.NotFound:
            pass
        self._log.warn(
            "another machine joined under this node's name and may still run VMs: have it fenced, or delete its Lease "
            "in kube-node-lease when you know that it is off",
            incarnation=there,
        )
        return False

    def _report(self) -> list[Report] | None:
        if self.machines is not None:
            try:
                self._reported = self.machines()
            except HostError as error:  # what was reported last stands
                self._log.warn("what runs here cannot be told", why=str(error))
        return self._reported

    def _filled(self, lease: Object, evidence: Evidence) -> Object:
        meta = dict(lease["metadata"])
        annotations = dict(meta.get("annotations") or {})
        annotations[names.INCARNATION_ANNOTATION] = self.incarnation
        annotations[names.EVIDENCE_ANNOTATION] = evidence.dump()
        annotations.pop(names.MACHINES_ANNOTATION, None)
        if (reported := self._report()) is not None:
            annotations[names.MACHINES_ANNOTATION] = json.dumps(reported)
        meta["annotations"] = annotations
        if (
            "managedFields" in meta
        ):  # to note them is a fifth of what a renewal costs the API server
            meta["managedFields"] = [{}]
        spec = dict(lease.get("spec", {}))
        spec["holderIdentity"] = self._identity.node
        spec["leaseDurationSeconds"] = self._duration_s
        spec["renewTime"] = rfc3339_micro(self._clock.wall())
        return {**lease, "metadata": meta, "spec": spec}
