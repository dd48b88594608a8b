"""What ``drover firmware`` knows: offers of nodes, versions of VMs, the rollout. One look, and how it reads.

Only VMs whose QEMU is told count; one that is being started, or is stopped, runs on nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from drover.api import conditions, firmware, names, scheme
from drover.api import machine as machines
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds.vm import VmPhase
from drover.api.meta import annotations_of, name_of
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.base.words import some_of
from drover.cli.connect import Api

_ALIVE = (VmPhase.RUNNING, VmPhase.MIGRATING)


@dataclass(frozen=True)
class World:
    """``vms``: by namespace/name, the version it runs on. ``machine_types``: of running VMs, by the same."""

    offers: dict[str, tuple[firmware.Offer, ...]]  # by node; VM nodes alone
    vms: dict[str, str]
    machine_types: dict[str, str]
    wanted: str = ""
    state: str = ""  # reason of the condition FirmwareRolledOut
    message: str = ""
    token: str = ""  # of the rollout that the controller has begun

    @property
    def versions(self) -> list[str]:
        """On offer, running or wanted; the newest first."""
        offered = {offer.version for offers in self.offers.values() for offer in offers}
        known = {*offered, *self.vms.values(), *([self.wanted] if self.wanted else [])}
        return sorted(known, key=firmware.Version.of, reverse=True)

    def offering(self, version: str) -> list[str]:
        return sorted(
            node
            for node, offers in self.offers.items()
            if any(offer.version == version for offer in offers)
        )

    def default_on(self, version: str) -> list[str]:
        return sorted(
            node for node, offers in self.offers.items() if offers and offers[0].version == version
        )

    def on(self, version: str) -> list[str]:
        return sorted(vm for vm, runs in self.vms.items() if runs == version)

    @property
    def outdated(self) -> list[str]:
        if not self.wanted:
            return []
        return sorted(vm for vm, runs in self.vms.items() if runs != self.wanted)

    def as_json(self) -> dict[str, Any]:
        return {
            "wanted": self.wanted,
            "versions": [
                {
                    "version": version,
                    "wanted": version == self.wanted,
                    "nodes": self.offering(version),
                    "defaultOn": self.default_on(version),
                    "virtualMachines": self.on(version),
                }
                for version in self.versions
            ],
            "outdated": self.outdated,
            "rollout": {"reason": self.state, "message": self.message},
        }

    def table(self) -> list[str]:
        lines = [f"{'VERSION':<12} {'WANTED':<8} {'VMS':>5}   NODES"]
        for version in self.versions:
            wanted = "yes" if version == self.wanted else "-"
            offering = ", ".join(_marked(self.offering(version), self.default_on(version)))
            lines.append(
                f"{version:<12} {wanted:<8} {len(self.on(version)):>5}   {offering or 'none'}"
            )
        return lines

    def summary(self) -> list[str]:
        if not self.wanted:
            return ["No version is wanted: VMs start on the first one of their node (*)."]
        found = [f"{len(self.outdated)} of {len(self.vms)} running VMs are outdated."]
        if self.outdated:
            found[0] += f" {some_of(self.outdated)}"
        if self.state and self.message and self.state != "UpToDate":
            found.append(f"Rollout: {self.state}: {self.message}")
        return found


def _marked(offering: list[str], default_on: list[str]) -> list[str]:
    return [f"{node}*" if node in default_on else node for node in offering]


async def look(api: Api) -> World:
    """All of it, read now."""
    all_nodes, _ = await api.client.list(scheme.NODE)
    all_vms, _ = await api.client.list(scheme.VM)
    all_pods, _ = await api.client.list(scheme.POD, labels=names.VM_NAME_LABEL)
    try:
        config = await api.client.get(scheme.MODULECONFIG, names.MODULE_CONFIG)
    except NotFound:
        config = {"metadata": {}}
    return world_of(all_nodes, all_vms, all_pods, config)


def world_of(
    all_nodes: Iterable[Object],
    all_vms: Iterable[Object],
    all_pods: Iterable[Object],
    config: Object,
) -> World:
    running = {
        scheme.key_of(vm): str((vms.status(vm).get("versions") or {}).get("qemu", ""))
        for vm in all_vms
        if vms.phase(vm) in _ALIVE
    }
    rolled_out = conditions.get_condition(config, firmware.ROLLED_OUT) or {}
    settings = (config.get("spec") or {}).get("settings") or {}
    return World(
        offers={
            name_of(node): firmware.offers_of(node) for node in all_nodes if nodes.for_vms(node)
        },
        vms={key: version for key, version in running.items() if version},
        machine_types=_machine_types(all_pods),
        wanted=str((settings.get("firmware") or {}).get("version", "")),
        state=str(rolled_out.get("reason", "")),
        message=str(rolled_out.get("message", "")),
        token=str(((config.get("status") or {}).get("firmware") or {}).get("token", "")),
    )


def _machine_types(all_pods: Iterable[Object]) -> dict[str, str]:
    found = {}
    for pod in all_pods:
        if names.MACHINE_ANNOTATION in annotations_of(pod) and not pods.ended(pod):
            machine = machines.decode(pods.machine_json(pod))
            found[str(machine["vm"])] = str(machine["machine_type"])
    return found
