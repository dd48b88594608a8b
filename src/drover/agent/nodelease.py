"""The node's evidence of life: ``kube-node-lease/<node>``, renewed by compare-and-swap by this agent alone.

The Lease carries this node's *incarnation* (a random id committed at the join: safety rule 3) and a report of the
copies it runs, from which a lost VM lease can be rebuilt (rule 1). ``fresh`` tells whether a renewal was acknowledged
just now, counted from *before* it was sent.

Not promised here: fencing. Whether a node that cannot renew must kill its VMs is the watchdog's business.
"""

from __future__ import annotations

import json

from drover.api import names, scheme, status
from drover.api.wire import Object
from drover.base.clock import Clock, rfc3339_micro
from drover.base.log import Log
from drover.runtime.client import Client


class NodeLease:
    """Joins, renews, and knows how fresh the last acknowledgement is."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        log: Log,
        node: str,
        incarnation: str,
        period_s: float,
        duration_s: int,
    ) -> None:
        self._client = client
        self._clock = clock
        self._log = log
        self._node = node
        self.incarnation = incarnation
        self._period_s = period_s
        self._duration_s = duration_s
        self._lease: Object | None = None
        self._acked_at: float | None = None
        self._machines: list[dict[str, str]] | None = None

    def report(self, machines: list[dict[str, str]]) -> None:
        """What this node runs, for the next renewal. Before the first call nothing is said: an agent that has not
        looked yet must not tell that nothing runs (safety rule 1)."""
        self._machines = machines

    @property
    def fresh(self) -> bool:
        """A renewal was acknowledged within two periods."""
        if self._acked_at is None:
            return False
        return self._clock.monotonic() - self._acked_at < 2 * self._period_s + 0.5

    async def run(self) -> None:
        """Renew for ever; failures are tried again within the period."""
        while True:
            landed = await self.renew()
            await self._clock.sleep(self._period_s if landed else self._period_s / 4)

    async def renew(self) -> bool:
        """One renewal; True when acknowledged."""
        before = self._clock.monotonic()
        try:
            if self._lease is None:
                self._lease = await self._read_or_create()
            wanted = self._filled(self._lease)
            self._lease = await self._client.replace(scheme.LEASE, wanted)
        except (status.Conflict, status.NotFound):
            self._lease = None  # a conflict is not a death sentence: read again (safety rule 15)
            return False
        except (status.ApiError, status.Unanswered) as error:
            self._log.warn("the node's Lease was not renewed", why=str(error))
            self._lease = None
            return False
        self._acked_at = before
        return True

    async def _read_or_create(self) -> Object:
        try:
            return await self._client.get(scheme.LEASE, self._node, names.NODE_LEASE_NAMESPACE)
        except status.NotFound:
            meta = {"name": self._node, "namespace": names.NODE_LEASE_NAMESPACE}
            empty = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": meta,
                "spec": {},
            }
            return await self._client.create(scheme.LEASE, self._filled(empty))

    def _filled(self, lease: Object) -> Object:
        meta = dict(lease["metadata"])
        annotations = {
            **(meta.get("annotations") or {}),
            names.INCARNATION_ANNOTATION: self.incarnation,
        }
        annotations.pop(names.MACHINES_ANNOTATION, None)
        if self._machines is not None:
            annotations[names.MACHINES_ANNOTATION] = json.dumps(self._machines)
        meta["annotations"] = annotations
        spec = {
            **lease.get("spec", {}),
            "holderIdentity": self._node,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": rfc3339_micro(self._clock.wall()),
        }
        return {**lease, "metadata": meta, "spec": spec}
