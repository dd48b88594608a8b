"""The VMs of a soak: small, and from their first boot on each keeps a ledger on its disk."""

from __future__ import annotations

from drover.api.wire import Object

NAMESPACE = "default"
LEDGER_MS = 100
USER_DATA = f"""#!/bin/sh
echo '::respawn:guest-tool ledger /var/ledger {LEDGER_MS}' >>/etc/inittab
sync
kill -HUP 1
"""


def disk(name: str) -> Object:
    image = {"kind": "ClusterVirtualImage", "name": "drover-linux"}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"metadata": meta, "spec": {"dataSource": {"type": "ObjectRef", "objectRef": image}}}


def vm(name: str, policy: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "runPolicy": policy,
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "50%"},
            "memory": {"size": "128Mi"},
            "provisioning": {"type": "UserData", "userData": USER_DATA},
            "terminationGracePeriodSeconds": 10,
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        },
    }
