"""Wiring of the forecast: every few seconds one look at a fenced group.

A look plays the loss of every node, which takes seconds for hundreds of them. So one is taken only when something has
changed that it depends on, and not more often than leaves nineteen twentieths of the time to others.
"""

from __future__ import annotations

import asyncio

from drover.api import conditions as cond
from drover.api.kinds import nodegroup
from drover.api.kinds import vm as vms
from drover.api.kinds.nodefence import FenceReason
from drover.api.kinds.nodegroup import NodeGroupCondition
from drover.api.meta import generation_of, name_of
from drover.api.names import VM_NAME_LABEL
from drover.api.scheme import NODEGROUP, POD, VM, key_of
from drover.api.wire import Object
from drover.controllers.pictures import ClusterPicture
from drover.controllers.standby.decide import MOST_NODES, Standby, standby, summary
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

PERIOD_S = 10.0
_SHARE = 20


class StandbyReconciler:
    """One pass over one NodeGroup."""

    def __init__(self, manager: Manager, picture: ClusterPicture) -> None:
        self._recorder = manager.recorder
        self._picture = picture
        self.groups = manager.informer(NODEGROUP)
        self._vms = manager.informer(VM)
        self._pods = manager.informer(POD, labels=VM_NAME_LABEL)
        self._pods.add_index("node", lambda pod: [str(pod["spec"].get("nodeName") or "")])
        self._writer = Writer(manager.client, manager.clock, self.groups)
        self._clock = manager.clock
        self._policies = 0  # how often a VM's runPolicy has changed, or a VM come or gone
        self._vms.add_handler(self._vm_changed)
        self._looked: dict[
            str, tuple[object, list[Standby]]
        ] = {}  # by group: at what, and what was found

    def _vm_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or vms.run_policy(old) is not vms.run_policy(new):
            self._policies += 1

    async def reconcile(self, key: str) -> Outcome:
        group = self.groups.get(key)
        if group is None:
            return Done()
        if nodegroup.mode(group) is None:
            if (group.get("status") or {}).get("standby"):
                off = cond.condition(
                    NodeGroupCondition.COLD_STANDBY_READY,
                    False,
                    FenceReason.OFF,
                    "spec.fencing is not set",
                )
                await self._writer.status(group, {"standby": []}, [off])
            return Done()
        began_s = self._clock.monotonic()
        found = await self._forecast(key)
        took_s = self._clock.monotonic() - began_s
        short = summary(found)
        reason = "NoRoom" if short else "RoomForEveryNode"
        wanted = cond.condition(
            NodeGroupCondition.COLD_STANDBY_READY,
            not short,
            reason,
            short[:4000],
            generation_of(group),
        )
        before = cond.get_condition(group, NodeGroupCondition.COLD_STANDBY_READY) or {}
        if short and before.get("reason") != reason:
            self._recorder.event(group, "Warning", reason, short[:1000])
        told = [one.as_status() for one in found[:MOST_NODES]]
        await self._writer.status(group, {"standby": told}, [wanted])
        return After(max(PERIOD_S, _SHARE * took_s))

    async def _forecast(self, group: str) -> list[Standby]:
        """Of a picture that was looked at before: what was found then."""
        members = tuple(
            name_of(node) for node in self._picture.nodes.all() if nodegroup.group_of(node) == group
        )
        at, found = self._looked.get(group, (None, []))
        now = (self._picture.now(), self._policies, members)
        same = isinstance(at, tuple) and at[0] is now[0] and at[1:] == now[1:]
        if not same:
            found = await self._look(group)
            self._looked[group] = (now, found)
        return found

    async def _look(self, group: str) -> list[Standby]:
        """All nodes on one picture, others being served between them."""
        cluster = self._picture.now()
        nodes = sorted(
            name_of(node)
            for node in self._picture.nodes.all()
            if nodegroup.group_of(node) == group and name_of(node) in cluster.nodes.row_of
        )
        all_vms = {key_of(vm): vm for vm in self._vms.all()}
        found = []
        for node in nodes:
            pods = [
                pod
                for pod in self._pods.by_index("node", node)
                if key_of(pod) in cluster.pods.row_of
            ]
            found.append(standby(cluster, node, pods, all_vms))
            await asyncio.sleep(0)
        return found


def wire(manager: Manager, picture: ClusterPicture) -> None:
    """Register the controller of the forecast."""
    made = StandbyReconciler(manager, picture)
    controller = Controller("standby", made.reconcile)
    controller.watch(made.groups, lambda group: [name_of(group)])
    manager.add(controller)
