"""The effects of the fencing controller: one method per intent. Each is repeatable, and each write that matters is a
compare-and-swap on the version that the decision looked at."""

from __future__ import annotations

from drover.api import names
from drover.api.kinds import nodefence
from drover.api.kinds.nodefence import FenceEvidence, FencePhase, FenceReason, Member, Roster
from drover.api.meta import has_finalizer, name_of, namespace_of, uid_of, without_finalizer
from drover.api.scheme import LEASE, NODE, NODEFENCE, NODEROSTER, POD
from drover.api.status import AlreadyExists, ApiError, Conflict, NotFound
from drover.api.wire import Object
from drover.base.checks import require
from drover.base.clock import rfc3339
from drover.controllers.fencing import intents, saved
from drover.controllers.fencing.view import GroupView, NodeView
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager

MOST_VMS = 1024  # of one node's timeline
# Their messages differ at every look; they are written once.
_COUNTDOWNS = (FenceReason.WAITING, FenceReason.PEERS_NEEDED)
_MOMENTS = {
    FencePhase.SUSPECT: "suspect",
    FencePhase.CONDEMNED: "condemned",
    FencePhase.FENCED: "fenced",
    FencePhase.RELEASED: "released",
    FencePhase.REJOINED: "rejoined",
}


class Actor:
    """Carries intents out."""

    def __init__(self, manager: Manager, fences: Informer, rosters: Informer) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._recorder = manager.recorder
        self._log = manager.log.bind(controller="fencing")
        self._fences = fences
        self._rosters = rosters

    async def carry_out(self, view: GroupView, intent: intents.Intent) -> None:
        match intent:
            case intents.KeepRoster(roster):
                await self._keep_roster(view.name, roster)
            case intents.Suspect(node):
                await self._suspect(view, node)
            case intents.OpenInquest(fence, inquest):
                await self._write(fence, {"inquest": {"id": inquest, "by": view.process}})
            case intents.Drop(fence):
                await self._drop(fence)
            case intents.Condemn(node):
                await self._condemn(node, _vms_of(view, node))
            case intents.Record(fence, vms):
                now = {"restarted": rfc3339(view.now_wall_s)}
                told: list[Object] = [{**now, **vm} if "node" in vm else vm for vm in vms]
                await self._write(fence, {"virtualMachines": told})
            case intents.Cordon(node_object):
                await self._cordon(node_object)
            case intents.Advance(fence, phase, evidence):
                await self._advance(fence, phase, evidence)
            case intents.Release(node):
                await self._release(node)
            case intents.Restore(node, fence):
                await self._restore(node, fence)
            case intents.Welcome(there):
                await self._client.patch(
                    NODE, name_of(there), "", saved.welcomed(there), version=there
                )
            case intents.Tell(fence, reason, message):
                await self._tell(fence, reason, message)
            case _:
                require(False, f"no such intent: {intent}")

    async def _keep_roster(self, group: str, roster: Roster) -> None:
        spec = {
            "generation": roster.generation,
            "members": _members(roster.members),
            "previous": _members(roster.previous),
        }
        present = self._rosters.get(group)
        if present is None:
            answer = await self._client.create(
                NODEROSTER, {"metadata": {"name": group}, "spec": spec}
            )
        else:
            answer = await self._client.replace(NODEROSTER, {**present, "spec": spec})
        self._log.mark("fencing.roster", group=group, generation=roster.generation)
        self._rosters.observe(answer)

    async def _suspect(self, view: GroupView, node: NodeView) -> None:
        assert node.seen is not None
        name = nodefence.name_for(node.name, node.seen.incarnation)
        spec = {"node": node.name, "incarnation": node.seen.incarnation, "group": view.name}
        try:
            made = await self._client.create(NODEFENCE, {"metadata": {"name": name}, "spec": spec})
        except AlreadyExists:
            return  # the cache is behind
        self._fences.observe(made)
        status = {
            "phase": FencePhase.SUSPECT,
            "inquest": {"id": view.inquest(node, made), "by": view.process},
            "timeline": {
                "lastSeen": rfc3339(node.seen.since_wall_s),
                "suspect": rfc3339(view.now_wall_s),
            },
        }
        await self._write(made, status)
        self._log.mark("fencing.suspect", on=node.name)
        self._event(node, "Warning", "NodeSuspect", f"{node.name} has given no sign of life")

    async def _drop(self, fence: Object) -> None:
        if has_finalizer(fence, names.FENCE_FINALIZER):
            patch = {"metadata": {"finalizers": without_finalizer(fence, names.FENCE_FINALIZER)}}
            fence = await self._client.patch(NODEFENCE, name_of(fence), "", patch, version=fence)
            self._fences.observe(fence)
        try:
            # Bound to the version: what was advanced meanwhile stays.
            await self._client.delete(
                NODEFENCE,
                name_of(fence),
                uid=uid_of(fence),
                resource_version=fence["metadata"]["resourceVersion"],
            )
        except NotFound:
            return

    async def _condemn(self, node: NodeView, vms: list[Object]) -> None:
        """The compare-and-swap of the proof: it succeeds on exactly the version seen, or not at all (C3)."""
        assert node.seen is not None
        assert node.fence is not None
        fence = node.fence
        if not has_finalizer(fence, names.FENCE_FINALIZER):
            finalizers = [*(fence["metadata"].get("finalizers") or []), names.FENCE_FINALIZER]
            fence = await self._client.patch(
                NODEFENCE,
                name_of(fence),
                "",
                {"metadata": {"finalizers": finalizers}},
                version=fence,
            )
            self._fences.observe(fence)
        if "virtualMachines" not in (fence.get("status") or {}):
            kept = {} if node.node is None else {"saved": saved.saved_of(node.node)}
            fence = await self._write(fence, {"virtualMachines": vms, **kept})
        lease = node.seen.lease
        meta = lease["metadata"]
        annotations = meta.get("annotations") or {}
        epoch = int(annotations.get(names.EPOCH_ANNOTATION, "0")) + 1
        marks = {
            names.EPOCH_ANNOTATION: str(epoch),
            names.CONDEMNED_ANNOTATION: node.seen.incarnation,
        }
        wanted = {**lease, "metadata": {**meta, "annotations": {**annotations, **marks}}}
        await self._client.replace(LEASE, wanted)
        self._log.mark("fencing.condemned", on=node.name, epoch=epoch)
        await self._advance(fence, FencePhase.CONDEMNED, None, epoch)
        self._event(node, "Warning", "NodeCondemned", f"{node.name} may not come back as it was")

    async def _cordon(self, node: Object) -> None:
        """As it was seen: it may be back by now."""
        patch = {"spec": {"unschedulable": True}}
        await self._client.patch(NODE, name_of(node), "", patch, version=node)

    async def _advance(
        self,
        fence: Object,
        phase: FencePhase,
        evidence: FenceEvidence | None = None,
        epoch: int | None = None,
    ) -> None:
        status: Object = {
            "phase": phase,
            "reason": None,
            "message": None,
            "timeline": {_MOMENTS[phase]: rfc3339(self._clock.wall())},
        }
        if evidence is not None:
            status["evidence"] = evidence
        if epoch is not None:
            status["epoch"] = epoch
        await self._write(fence, status)
        self._log.mark(f"fencing.{_MOMENTS[phase]}", on=nodefence.node(fence))

    async def _release(self, node: NodeView) -> None:
        """Nothing of this life runs: its Pods and its Node object say otherwise and go. Pods that were there before the
        fence was read anew are of this life: as long as it is not released, the node takes no others."""
        assert node.fence is not None
        pods, _ = await self._client.list(POD, fields=f"spec.nodeName={node.name}")
        now = await self._client.get(NODEFENCE, name_of(node.fence))
        if nodefence.phase(now) is not FencePhase.FENCED:
            raise Conflict(f"NodeFence {name_of(now)} is {nodefence.phase(now)} by now")
        refused: list[ApiError] = []
        for pod in pods:
            try:
                await self._client.delete(
                    POD, name_of(pod), namespace_of(pod), uid=uid_of(pod), grace_s=0
                )
            except (NotFound, Conflict):
                continue
            except ApiError as error:
                refused.append(error)
        if refused:
            raise refused[0]
        if node.node is not None:
            try:
                await self._client.delete(NODE, node.name, uid=uid_of(node.node))
            except (NotFound, Conflict):
                return  # another one by now: look again
        await self._advance(node.fence, FencePhase.RELEASED)

    async def _restore(self, node: NodeView, fence: Object) -> None:
        assert node.node is not None
        patch = saved.restored(node.node, fence)
        await self._client.patch(NODE, node.name, "", patch, version=node.node)
        await self._advance(fence, FencePhase.REJOINED)
        self._event(node, "Normal", "NodeRejoined", f"{node.name} takes VMs again")

    async def _tell(self, fence: Object, reason: FenceReason, message: str) -> None:
        status = fence.get("status") or {}
        if status.get("reason") == reason and reason in _COUNTDOWNS:
            return
        if (status.get("reason"), status.get("message")) != (reason, message):
            await self._write(fence, {"reason": reason, "message": message})
            self._recorder.event(fence, "Warning", reason, message)

    async def _write(self, fence: Object, status: Object) -> Object:
        answer = await self._client.patch(
            NODEFENCE, name_of(fence), "", {"status": status}, subresource="status", version=fence
        )
        self._fences.observe(answer)
        return answer

    def _event(self, node: NodeView, kind: str, reason: str, message: str) -> None:
        if node.node is not None:
            self._recorder.event(
                node.node, "Warning" if kind == "Warning" else "Normal", reason, message
            )


def _vms_of(view: GroupView, node: NodeView) -> list[Object]:
    """What its present life runs, for the timeline."""
    assert node.seen is not None
    life = node.seen.incarnation
    found = sorted(key for key, holder in view.holders.items() if holder.life == life)
    keys = [key.split("/") for key in found[:MOST_VMS]]
    return [{"namespace": namespace, "name": name} for namespace, name in keys]


def _members(members: tuple[Member, ...]) -> list[Object]:
    return [
        {"node": member.node, "address": member.address, "port": member.port} for member in members
    ]
