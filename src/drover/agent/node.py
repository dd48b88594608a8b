"""The Node object: registered, kept Ready, and registered again at once when somebody deletes it (safety rule 13).

Capacity is declared in the agent's configuration. An unfenced agent whose Node vanished has running VMs: Kubernetes
would collect their Pods after 40 to 80 s. One that does not renew registers nothing: it may be fenced already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from drover.agent.nodelease import NodeLease
from drover.api import names, scheme, status
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.base.clock import Clock, rfc3339
from drover.base.log import Log
from drover.runtime.client import Client
from drover.runtime.informer import Informer

_RETRY = Backoff(first_s=0.05, most_s=2.0)
# How often the status is written although nothing changed.
STATUS_PERIOD_S = 60.0


@dataclass(frozen=True)
class NodeFacts:
    """What is declared of this node."""

    name: str
    address: str
    kubelet_port: int
    cpu: str
    memory: str
    pods: int
    version: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    info: dict[str, str] = field(default_factory=dict)
    unconfined: str = ""  # why QEMUs are not confined as they should be


class NodeKeeper:
    """Keeps the Node object, and writes it only while renewals of ``lease`` are acknowledged."""

    def __init__(
        self,
        client: Client,
        informer: Informer,
        lease: NodeLease,
        facts: NodeFacts,
        clock: Clock,
        log: Log,
    ) -> None:
        self._client = client
        self._informer = informer
        self._lease = lease
        self._facts = facts
        self._clock = clock
        self._log = log
        self._wake = asyncio.Event()
        self.armed: Callable[[], bool] = lambda: False
        self.trouble: Callable[[], str] = lambda: ""  # why no watchdog guards this node
        informer.add_handler(lambda _old, _new: self._wake.set())

    def look(self) -> None:
        """Something that the Node shall tell has changed."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        failures = 0
        written = -STATUS_PERIOD_S
        while True:
            self._wake.clear()
            try:
                node = self._informer.get(self._facts.name)
                now = self._clock.monotonic()
                # While its evidence is stale it may have been fenced, and must not come back as it was. An agent that
                # only starts anew must not take its node out of service either: the Lease tells how it is.
                if self._lease.fresh:
                    if node is None:
                        await self._register()
                    elif not self._says_ready(node) or now - written > STATUS_PERIOD_S:
                        await self._write_status(node)
                        written = now
                failures = 0
            except (status.ApiError, status.Unanswered) as error:
                failures += 1
                self._log.warn("the Node was not written", why=str(error))
                await self._clock.sleep(_RETRY.delay_s(failures))
                continue
            try:
                async with asyncio.timeout(STATUS_PERIOD_S if self._settled() else 0.1):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _settled(self) -> bool:
        """Nothing is to be written before the period is over, unless something happens that wakes us."""
        node = self._informer.get(self._facts.name)
        return self._lease.fresh and node is not None and self._says_ready(node)

    def _says_ready(self, node: Object) -> bool:
        conditions = (node.get("status") or {}).get("conditions") or []
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return ready and not self._unmet(node)

    def _unmet(self, node: Object) -> Object:
        """What of its labels and annotations the Node lacks, by field."""
        wanted = {"labels": self._labels(), "annotations": self._annotations()}
        passing = (names.FENCING_ENABLED_LABEL, names.WATCHDOG_TROUBLE_ANNOTATION)
        found: Object = {}
        for field_name, values in wanted.items():
            present = node["metadata"].get(field_name) or {}
            if names.NODE_GROUP_LABEL in present:  # an administrator may have moved it to another
                values = {k: v for k, v in values.items() if k != names.NODE_GROUP_LABEL}
            missing: Object = {k: v for k, v in values.items() if present.get(k) != v}
            missing |= {key: None for key in passing if key in present and key not in values}
            if missing:
                found[field_name] = missing
        return found

    def _labels(self) -> dict[str, str]:
        return {
            names.HOSTNAME_LABEL: self._facts.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            names.SCHEDULABLE_LABEL: "true",
            **self._facts.labels,
            **({names.FENCING_ENABLED_LABEL: ""} if self.armed() else {}),
        }

    def _annotations(self) -> dict[str, str]:
        trouble = self.trouble()
        said = {names.WATCHDOG_TROUBLE_ANNOTATION: trouble} if trouble else {}
        return {**self._facts.annotations, **said}

    async def _register(self) -> None:
        facts = self._facts
        taints = [{"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}]
        if self._lease.after_fencing:  # the fencing controller takes it away after a healthy while
            taints.append({"key": names.REJOINING_TAINT, "effect": "NoSchedule"})
        node: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": facts.name,
                "labels": self._labels(),
                "annotations": self._annotations(),
            },
            "spec": {"taints": taints},
            "status": self._status(),
        }
        try:
            made = await self._client.create(scheme.NODE, node)
        except status.AlreadyExists:
            made = await self._client.get(scheme.NODE, facts.name)
        self._informer.observe(made)
        self._log.mark("node.registered")

    async def _write_status(self, node: Object) -> None:
        name = self._facts.name
        if unmet := self._unmet(node):
            await self._client.patch(scheme.NODE, name, "", {"metadata": unmet})
        patch = {"status": self._status()}
        answer = await self._client.patch(scheme.NODE, name, "", patch, subresource="status")
        self._informer.observe(answer)

    def _status(self) -> Object:
        facts, now = self._facts, rfc3339(self._clock.wall())
        room = {
            "cpu": facts.cpu,
            "memory": facts.memory,
            "pods": str(facts.pods),
            "ephemeral-storage": "100Gi",
        }
        return {
            "capacity": room,
            "allocatable": room,
            "addresses": [
                {"type": "InternalIP", "address": facts.address},
                {"type": "Hostname", "address": facts.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": facts.kubelet_port}},
            "declaredFeatures": ["ExtendWebSocketsToKubelet"],
            "nodeInfo": {
                "kubeletVersion": facts.version,
                "operatingSystem": "linux",
                "architecture": "amd64",
                "containerRuntimeVersion": "qemu://" + facts.info.get("qemu", "unknown"),
                "kernelVersion": facts.info.get("kernel", ""),
                "osImage": facts.info.get("os", ""),
                "machineID": facts.info.get("machine", ""),
                "bootID": facts.info.get("boot", ""),
                "systemUUID": facts.info.get("machine", ""),
                "kubeProxyVersion": "",
            },
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "AgentReady",
                    "message": "the agent renews its Lease and runs VMs",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                },
                {
                    "type": names.SANDBOXED_CONDITION,
                    "status": "False" if facts.unconfined else "True",
                    "reason": "CannotConfine" if facts.unconfined else "Confined",
                    "message": facts.unconfined
                    or "each VM has a user and control groups of its own",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                },
            ],
        }
