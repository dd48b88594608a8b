"""What ``drover fence`` and ``drover status`` know: groups, nodes' Leases, NodeFences. One look, and how it reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

from drover.api import conditions, names, profiles, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds.nodefence import FencePhase
from drover.api.kinds.nodegroup import NodeGroupCondition
from drover.api.meta import name_of
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.session import PROGRAM


@dataclass(frozen=True)
class World:
    """``leases`` by node; ``fences`` oldest first; ``trouble``: why no watchdog guards a node, as it says itself."""

    groups: dict[str, Object]
    leases: dict[str, Object]
    group_of: dict[str, str]
    fences: tuple[Object, ...]
    trouble: dict[str, str]

    @property
    def nodes(self) -> list[str]:
        return sorted({*self.leases, *(nodefence.node(one) for one in self.fences)})

    def require(self, node: str) -> None:
        if node not in self.nodes:
            known = ", ".join(self.nodes) or "none"
            raise click.ClickException(f"no node {node!r} has ever joined; there are: {known}")

    def fences_of(self, node: str) -> list[Object]:
        return [one for one in self.fences if nodefence.node(one) == node]

    def open_fence(self, node: str) -> Object | None:
        """Of the life that did not come back yet."""
        found = [f for f in self.fences_of(node) if nodefence.phase(f) is not FencePhase.REJOINED]
        return found[-1] if found else None

    def state(self, node: str) -> str:
        """One word or two."""
        fence = self.open_fence(node)
        if fence is not None:
            return str(nodefence.phase(fence))
        evidence = nodes.evidence(self.leases[node]) if node in self.leases else None
        if evidence is None or evidence.armed is None:
            return "not armed"
        return f"armed, {evidence.armed.age_s:g} s"

    def why(self, node: str) -> str:
        status = (self.open_fence(node) or {}).get("status") or {}
        said = [str(status.get(key) or "") for key in ("reason", "message")]
        return ": ".join(word for word in said if word) or self.trouble.get(node, "")

    def table(self) -> list[str]:
        lines = [f"{'NODE':<20} {'GROUP':<14} {'STATE':<14} {'EVIDENCE':<13} WHY NOT MORE"]
        for node in self.nodes:
            status = (self.open_fence(node) or {}).get("status") or {}
            evidence = str(status.get("evidence") or "-")
            group = self.group_of.get(node, "-")
            why = self.why(node) or "-"
            lines.append(f"{node:<20} {group:<14} {self.state(node):<14} {evidence:<13} {why}")
        return lines

    def summary(self) -> list[str]:
        """One line per group."""
        lines = []
        for name, group in sorted(self.groups.items()):
            held = _held(group)
            words = _by(group) + (f"; {held}" if held else "")
            lines.append(f"Fencing of group {name}: {words}.")
        return lines or ["There is no NodeGroup, so nothing is fenced."]

    def troubles(self) -> list[str]:
        """For `status`: what keeps a group from being fenced though it should be. Lost nodes it tells of itself."""
        return [
            f"fencing of group {name}: {held}"
            for name, group in sorted(self.groups.items())
            if (held := _held(group))
        ]

    def timeline(self, fence: Object) -> list[str]:
        status = fence.get("status") or {}
        told = status.get("timeline") or {}
        head = f"{nodefence.node(fence)}, life {nodefence.incarnation(fence)[:8]}"
        evidence = f", {status['evidence']}" if status.get("evidence") else ""
        lines = [f"{head}: {nodefence.phase(fence)}{evidence}"]
        happened = [(told[name], words) for name, words in MOMENT_WORDS.items() if name in told]
        for vm in nodefence.lost_vms(fence):
            if "restarted" in vm:
                name = f"{vm['namespace']}/{vm['name']}"
                happened.append((vm["restarted"], f"{name} starts on {vm['node']}"))
        lines += [f"  {at}  {what}" for at, what in sorted(happened, key=lambda pair: pair[0])]
        waiting = [vm for vm in nodefence.lost_vms(fence) if "restarted" not in vm]
        lines += [f"  {'not started again':<20}  {vm['namespace']}/{vm['name']}" for vm in waiting]
        if status.get("reason"):
            lines.append(f"  {status['reason']}: {status.get('message', '')}")
        return lines

    def as_json(self) -> dict[str, Any]:
        return {
            "groups": [
                {
                    "name": name,
                    "mode": nodegroup.mode(group),
                    "fencing": group["spec"].get("fencing"),
                    "condition": conditions.get_condition(group, NodeGroupCondition.FENCING_ACTIVE),
                }
                for name, group in sorted(self.groups.items())
            ],
            "nodes": [
                {
                    "name": node,
                    "group": self.group_of.get(node, ""),
                    "state": self.state(node),
                    "why": self.why(node),
                }
                for node in self.nodes
            ],
        }


def _by(group: Object) -> str:
    """Its mode and its times."""
    mode, asked = nodegroup.mode(group), group["spec"].get("fencing") or {}
    if mode is None:
        return "off"
    own = (asked.get("watchdog") or {}).get("timeout")
    return f"{mode}, profile {asked.get('profile') or profiles.DEFAULT.name}" + (
        f", timeout {own}" if own else ""
    )


def _held(group: Object) -> str:
    """What keeps a group from being fenced though it should be; empty: nothing does, or nobody asks for it."""
    said = conditions.get_condition(group, NodeGroupCondition.FENCING_ACTIVE) or {}
    if nodegroup.mode(group) is None or said.get("reason") in (None, *nodefence.QUIET):
        return ""
    return f"{said['reason']}: {said.get('message', '')}"


MOMENT_WORDS = {
    "lastSeen": "last sign of life",
    "suspect": "Suspect: its peers are asked to vouch for it no more",
    "condemned": "Condemned: it may not come back as it was",
    "fenced": "Fenced: nothing of it runs",
    "released": "Released: its Pods and its Node object are gone",
    "rejoined": "Rejoined: it takes VMs again",
}


async def look(api: Api) -> World:
    """All of it, read now."""
    groups, _ = await api.client.list(scheme.NODEGROUP)
    leases, _ = await api.client.list(scheme.LEASE, namespace=names.NODE_LEASE_NAMESPACE)
    known, _ = await api.client.list(scheme.NODE)
    fences, _ = await api.client.list(scheme.NODEFENCE)
    return world_of(groups, leases, known, fences)


def world_of(
    groups: Iterable[Object],
    leases: Iterable[Object],
    known: Iterable[Object],
    fences: Iterable[Object],
) -> World:
    ordered = sorted(fences, key=lambda f: str(f["metadata"].get("creationTimestamp", "")))
    by_fence = {nodefence.node(fence): str(fence["spec"].get("group", "")) for fence in ordered}
    there = list(known)
    by_node = {name_of(node): nodegroup.group_of(node) for node in there}
    marks = {name_of(node): node["metadata"].get("annotations") or {} for node in there}
    return World(
        groups={name_of(group): group for group in groups},
        leases={name_of(lease): lease for lease in leases if nodes.incarnation(lease)},
        group_of={**by_fence, **by_node},
        fences=tuple(ordered),
        trouble={
            node: said[names.WATCHDOG_TROUBLE_ANNOTATION]
            for node, said in marks.items()
            if names.WATCHDOG_TROUBLE_ANNOTATION in said
        },
    )


async def switch(api: Api, node: str, group: str, paused: bool) -> None:
    """Write or take away the annotation that pauses. Raises ClickException when there is no such object."""
    patch: Object = {
        "metadata": {"annotations": {names.FENCING_DISABLE_ANNOTATION: "" if paused else None}}
    }
    kind, name = (scheme.NODE, node) if node else (scheme.NODEGROUP, group)
    if not name:
        kind, name = scheme.MODULECONFIG, names.MODULE_CONFIG
    try:
        await api.client.patch(kind, name, "", patch)
    except NotFound as missing:
        raise click.ClickException(
            f'there is no {kind.kind} "{name}"; `{PROGRAM} fence list` shows nodes and groups'
        ) from missing
