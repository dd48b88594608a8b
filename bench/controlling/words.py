"""One simulated node: who it is to the API server, and what it says in which words."""

from __future__ import annotations

import json
import ssl
import time
import uuid

from drover.api import names
from drover.api.fencing import Evidence
from drover.api.wire import Object
from drover.base.clock import rfc3339, rfc3339_micro
from drover.runtime.client import Client
from drover.runtime.http_transport import HttpTransport

MEMORY_BYTES = 512 * 2**20
ROOM = {"cpu": "64", "memory": "256Gi", "pods": "250", "ephemeral-storage": "100Gi"}


class NodesTransport(HttpTransport):
    """As one node: one connection of its own, as each agent has."""

    def __init__(self, server: str, tls: ssl.SSLContext | None, node: str) -> None:
        super().__init__(server, tls)
        self._session.headers["Impersonate-User"] = names.NODE_USER_PREFIX + node
        self._session.headers["Impersonate-Group"] = names.NODES_GROUP


class SimulatedNode:
    """One agent's doings."""

    def __init__(self, name: str, life: str, transport: HttpTransport) -> None:
        self.name = name
        self.life = life
        self.transport = transport
        self.client = Client(transport)
        self.seq = 0

    def renewal(self, lease: Object, running: list[Object]) -> Object:
        """Its Lease as it is to be next."""
        self.seq += 1
        evidence = Evidence(str(uuid.uuid4()), "boot", f"machine-{self.name}", self.seq)
        annotations = {
            **(lease["metadata"].get("annotations") or {}),
            names.INCARNATION_ANNOTATION: self.life,
            names.EVIDENCE_ANNOTATION: evidence.dump(),
            names.MACHINES_ANNOTATION: json.dumps(running),
        }
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": 6,
            "renewTime": rfc3339_micro(time.time()),
        }
        meta = {**lease["metadata"], "annotations": annotations}
        if "managedFields" in meta:
            meta["managedFields"] = [{}]
        return {**lease, "metadata": meta, "spec": spec}


def counters(node: SimulatedNode, share: float) -> Object:
    sent = int(share * MEMORY_BYTES)
    return {
        "phase": "Copying",
        "incarnation": node.life,
        "stalledSeconds": 0,
        "ramTotalBytes": MEMORY_BYTES,
        "ramTransferredBytes": sent,
        "ramRemainingBytes": MEMORY_BYTES - sent,
        "dirtyBytesPerSecond": 0,
        "iteration": 1,
        "mbps": 4000,
        "throttlePercent": 0,
        "downtimeMs": 20,
    }


def status(name: str) -> Object:
    """As ``agent.node`` writes it."""
    now = rfc3339(time.time())
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "AgentReady",
        "message": "the agent renews its Lease and runs VMs",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    info = {
        "kubeletVersion": "v1.36.3",
        "operatingSystem": "linux",
        "architecture": "amd64",
        "containerRuntimeVersion": "qemu://7.2.22",
        "kernelVersion": "6.1.0",
        "osImage": "Debian",
        "machineID": name,
        "bootID": name,
        "systemUUID": name,
        "kubeProxyVersion": "",
    }
    return {
        "capacity": ROOM,
        "allocatable": ROOM,
        "addresses": [
            {"type": "InternalIP", "address": "10.67.0.1"},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": info,
        "conditions": [ready],
    }
