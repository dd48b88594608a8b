"""VMs of the end-to-end tests: made and asked through kubectl, as a user would."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.support.guest import Guest, Ledger
from tests.support.lab import RunningLab, eventually

LIMIT_S = 150.0  # a busy machine boots a guest under TCG in half a minute
SOURCE_ENDS_S = 10.0  # after a move
GROUP = "virtualization.deckhouse.io/v1alpha2"


@dataclass(frozen=True)
class Vm:
    """One VM in the namespace ``default``."""

    lab: RunningLab
    name: str

    def get(self) -> dict[str, Any]:
        found = self.lab.get("vm", self.name)
        assert found is not None, f"there is no VM {self.name}"
        return dict(found)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.get().get("status") or {})

    @property
    def guest(self) -> Guest:
        return Guest(self.lab.lab, f"default/{self.name}")

    def shell(self, command: str, limit_s: float = 60.0) -> str:
        return asyncio.run(self.guest.shell(command, limit_s)).strip()

    def boot_id(self) -> str:
        return self.shell("cat /proc/sys/kernel/random/boot_id", LIMIT_S)

    def begin_ledger(self, anew: bool = True) -> str:
        return asyncio.run(self.guest.begin_ledger(anew))

    def ledger(self) -> Ledger:
        return asyncio.run(self.guest.ledger())

    def wait(self, phase: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Until the VM is in ``phase``; its status."""

        def there() -> dict[str, Any] | None:
            status = self.status
            return status if status.get("phase") == phase else None

        try:
            return dict(eventually(there, limit_s))
        except AssertionError:
            raise AssertionError(f"{self.name} is not {phase}: {self.status}") from None

    def wait_booted(self) -> dict[str, Any]:
        status = self.wait("Running")
        asyncio.run(self.guest.wait_booted(LIMIT_S))
        return status

    def wait_new_boot(self, before: str) -> None:
        """Until the guest runs in another boot."""
        eventually(
            lambda: self.status.get("phase") == "Running" and self._booted_since(before), 240
        )

    def _booted_since(self, before: str) -> bool:
        try:
            return self.shell("cat /proc/sys/kernel/random/boot_id", 10) != before
        except AssertionError:
            return False

    def condition(self, kind: str) -> dict[str, str]:
        for entry in self.status.get("conditions", []):
            if entry["type"] == kind:
                return dict(entry)
        return {}

    def lease(self) -> dict[str, Any]:
        return dict(self.lab.get("vml", self.name)["spec"])

    def pods(self) -> list[dict[str, Any]]:
        label = f"vm.kubevirt.internal.virtualization.deckhouse.io/name={self.name}"
        return list(self.lab.get("pods", "-l", label)["items"])

    def living_pods(self) -> list[str]:
        """Names of the Pods that are not final."""
        ended = ("Succeeded", "Failed")
        return [p["metadata"]["name"] for p in self.pods() if p["status"].get("phase") not in ended]

    def assert_runs_once(self) -> None:
        """One QEMU, and it is the one that the lease names.

        A move is complete when the guest runs on the target. The source's QEMU, whose guest stands still since before
        the hand-over (the ledger of tests/faults is the judge of that), ends at the same time: on a busy machine later.
        """
        holder = self.lease()["holder"]
        found = self.guest.copies()
        assert holder in [c.copy for c in found], (found, self.lease())
        eventually(lambda: [c.copy for c in self.guest.copies()] == [holder], SOURCE_ENDS_S)
        assert self.lease()["holder"] == holder

    def pings(self) -> bool:
        command = ["ping", "-c", "1", "-W", "2", self.status["ipAddress"]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def delete(self, wait: bool = False) -> None:
        self.lab.k("delete", "vm", self.name, f"--wait={str(wait).lower()}", "--ignore-not-found")
        self.lab.k("delete", "vd", self.name, "--wait=false", "--ignore-not-found")


def manifest(name: str, run_policy: str = "AlwaysOn", **spec: Any) -> str:
    """A VM and its disk from the built-in image."""
    image = {"kind": "ClusterVirtualImage", "name": "drover-linux"}
    disk = {
        "apiVersion": GROUP,
        "kind": "VirtualDisk",
        "metadata": {"name": name},
        "spec": {"dataSource": {"type": "ObjectRef", "objectRef": image}},
    }
    vm = {
        "apiVersion": GROUP,
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {
            "runPolicy": run_policy,
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "10%"},
            "memory": {"size": "128Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
            **spec,
        },
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [disk, vm]})


def make(lab: RunningLab, name: str, run_policy: str = "AlwaysOn", **spec: Any) -> Vm:
    lab.apply(manifest(name, run_policy, **spec))
    return Vm(lab, name)


def operation(name: str, vm: str, kind: str, **spec: Any) -> str:
    return json.dumps(
        {
            "apiVersion": GROUP,
            "kind": "VirtualMachineOperation",
            "metadata": {"name": name},
            "spec": {"virtualMachineName": vm, "type": kind, **spec},
        }
    )


def operate(lab: RunningLab, name: str, vm: str, kind: str, **spec: Any) -> dict[str, Any]:
    """Make an operation and wait for its end; its status."""
    lab.apply(operation(name, vm, kind, **spec))
    return finished(lab, name)


def finished(lab: RunningLab, name: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        status = (lab.get("vmop", name) or {}).get("status") or {}
        return status if status.get("phase") in ("Completed", "Failed", "Superseded") else None

    return dict(eventually(ended, limit_s))


def said(status: dict[str, Any], kind: str = "Completed") -> tuple[str, str]:
    """Reason and message of a condition."""
    for entry in status.get("conditions", []):
        if entry["type"] == kind:
            return entry.get("reason", ""), entry.get("message", "")
    return "", ""
