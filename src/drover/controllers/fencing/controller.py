"""Wiring of the fencing controller: one pass over a NodeGroup, woken by its objects and by time."""

from __future__ import annotations

from drover.api import conditions as cond
from drover.api import names, profiles
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds import vml as vmls
from drover.api.kinds.nodefence import FencePhase
from drover.api.kinds.nodegroup import NodeGroupCondition
from drover.api.meta import generation_of, name_of
from drover.api.scheme import (
    LEASE,
    MODULECONFIG,
    NODE,
    NODEFENCE,
    NODEGROUP,
    NODEROSTER,
    VML,
    key_of,
)
from drover.api.status import ApiError, Conflict, NotFound
from drover.api.wire import Object
from drover.base.backoff import Backoff
from drover.controllers.fencing.act import Actor
from drover.controllers.fencing.decide import decide
from drover.controllers.fencing.intents import Decision, Intent
from drover.controllers.fencing.renewal import Seen
from drover.controllers.fencing.sight import Sight, Storm
from drover.controllers.fencing.view import GroupView, Holder, NodeView
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

LOOK_S = 0.25  # between two looks at a group that is fenced
REFUSED = Backoff(first_s=LOOK_S, most_s=10.0)  # until what was refused is tried again
_REFUSED_KEPT_S = 60.0  # then it begins anew


class FencingReconciler:
    """One pass over one NodeGroup."""

    def __init__(self, manager: Manager) -> None:
        self._clock = manager.clock
        self._recorder = manager.recorder
        self._log = manager.log.bind(controller="fencing")
        # By intent and what it is about: how often in a row, and until when.
        self._refused: dict[str, tuple[int, float]] = {}
        self.process = manager.ids.suffix(8)
        self.groups = manager.informer(NODEGROUP)
        self.nodes = manager.informer(NODE)
        self.fences = manager.informer(NODEFENCE)
        self.rosters = manager.informer(NODEROSTER)
        self.leases = manager.informer(LEASE, namespace=names.NODE_LEASE_NAMESPACE)
        self.vmls = manager.informer(VML)
        self.configs = manager.informer(MODULECONFIG)
        self.sight = Sight(manager.clock)
        self.leases.add_handler(self.sight.changed)
        self._holders: dict[str, Holder] = {}  # kept in step: there are as many as VMs
        self.vmls.add_handler(self._lease_changed)
        self._actor = Actor(manager, self.fences, self.rosters)
        self._writer = Writer(manager.client, manager.clock, self.groups)
        self._ready_since: dict[str, tuple[str, float]] = {}  # node -> (life, since when Ready)
        self._storms: dict[str, Storm] = {}
        self._gathering: dict[
            str, float
        ] = {}  # group -> since when a node is armed without a roster

    async def reconcile(self, key: str) -> Outcome:
        group = self.groups.get(key)
        if group is None:
            return Done()
        view = self._gather(group)
        decision = decide(view)
        if decision.storm:
            self._storm(view)
        for intent in decision.intents:
            await self._try(view, intent)
        await self._say(group, decision)
        return After(LOOK_S) if self.busy(group) else Done()

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and vmls.holder(new):
            self._holders[key_of(new)] = Holder(vmls.node(new), vmls.incarnation(new))
        elif old is not None:
            self._holders.pop(key_of(old), None)

    def busy(self, group: Object) -> bool:
        """Fenced, or a node of it is being dealt with all the same: a person's word, or what began before."""
        if nodegroup.mode(group) is not None:
            return True
        name = name_of(group)
        return any(
            fence["spec"].get("group") == name and nodefence.phase(fence) is not FencePhase.REJOINED
            for fence in self.fences.all()
        ) or any(
            ((seen := self.sight.seen.get(node)) is not None and seen.confirmed_off)
            or nodes.rejoining(self.nodes.get(node) or {})
            for node in self._members(name)
        )

    def _storm(self, view: GroupView) -> None:
        now_s = self._clock.monotonic()
        if view.storm_s <= 0:
            self._storms[view.name] = Storm(now_s, now_s)
        self._storms[view.name].last_s = now_s

    async def _try(self, view: GroupView, intent: Intent) -> None:
        """An intent whose ground has moved is decided anew at the next look. One that is refused (a webhook of others
        fails) is tried again after a while. The others do not wait for it."""
        what, now_s = _words(intent), self._clock.monotonic()
        refusals, again_s = self._refused.get(what, (0, now_s))
        if now_s < again_s:
            return
        try:
            await self._actor.carry_out(view, intent)
        except (Conflict, NotFound):
            return
        except ApiError as error:
            old_s = now_s - _REFUSED_KEPT_S  # of what is no longer intended
            self._refused = {key: it for key, it in self._refused.items() if it[1] > old_s}
            self._refused[what] = refusals + 1, now_s + REFUSED.delay_s(refusals + 1)
            self._log.warn("refused, and tried again", intent=what, why=str(error))
        else:
            self._refused.pop(what, None)

    async def _say(self, group: Object, decision: Decision) -> None:
        wanted = cond.condition(
            NodeGroupCondition.FENCING_ACTIVE,
            decision.active,
            decision.reason,
            decision.message[:4000],
            generation_of(group),
        )
        before = cond.get_condition(group, NodeGroupCondition.FENCING_ACTIVE) or {}
        if before.get("reason") != wanted["reason"] and decision.reason not in nodefence.QUIET:
            self._recorder.event(group, "Warning", decision.reason, decision.message)
        await self._writer.status(group, {}, [wanted])

    # --- one look ---

    def _gather(self, group: Object) -> GroupView:
        name, now_s = name_of(group), self._clock.monotonic()
        problems: tuple[str, ...] = ()
        timing = profiles.DEFAULT.timing()
        try:
            timing = nodegroup.timing(group)
            problems = tuple(timing.problems())
        except ValueError as bad:
            problems = (f"spec.fencing: {bad}",)
        obj = self.rosters.get(name)
        roster = nodefence.roster(obj) if obj is not None else None
        fences: dict[str, list[Object]] = {}
        for fence in self.fences.all():
            fences.setdefault(nodefence.node(fence), []).append(fence)
        members = tuple(
            self._node(node, now_s, fences.get(node, [])) for node in self._members(name)
        )
        generation = roster.generation if roster is not None else 0
        return GroupView(
            name=name,
            process=self.process,
            now_wall_s=self._clock.wall(),
            mode=nodegroup.mode(group),
            timing=timing,
            nodes=members,
            problems=problems,
            paused=self._paused(group),
            max_unhealthy=nodegroup.max_unhealthy(group),
            roster=roster,
            settled=all(
                self.sight.goes_by(node.name, generation)
                for node in members
                if node.armed is not None and not node.proved_dead
            ),
            gathering_s=self._gathering_s(name, roster is None and any(n.armed for n in members)),
            holders=self._holders,
            storm_s=self._storms[name].left_s(now_s, timing.suspect_s)
            if name in self._storms
            else 0,
        )

    def _gathering_s(self, group: str, gathers: bool) -> float:
        if not gathers:
            self._gathering.pop(group, None)
            return 0.0
        now_s = self._clock.monotonic()
        return now_s - self._gathering.setdefault(group, now_s)

    def _paused(self, group: Object) -> str:
        """What pauses the whole group; empty: nothing."""
        if mark := nodegroup.paused_by(group):
            return f"the NodeGroup carries the annotation {mark}"
        config = self.configs.get(names.MODULE_CONFIG)
        mark = nodegroup.paused_by(config) if config is not None else ""
        return f"ModuleConfig {names.MODULE_CONFIG} carries the annotation {mark}" if mark else ""

    def _members(self, group: str) -> list[str]:
        """By label, by the roster, and by a fence that is not closed: objects of a dead node may be gone."""
        found = {name_of(node) for node in self.nodes.all() if nodegroup.group_of(node) == group}
        obj = self.rosters.get(group)
        if obj is not None:
            roster = nodefence.roster(obj)
            found |= {*roster.names, *roster.former}
        found |= {
            nodefence.node(fence)
            for fence in self.fences.all()
            if fence["spec"].get("group") == group
        }
        if group == min(name_of(one) for one in self.groups.all()):
            found |= {node for node, seen in self.sight.seen.items() if self._stray(node, seen)}
        return sorted(found)

    def _stray(self, node: str, seen: Seen) -> bool:
        """Confirmed to be off, and in no group: its Node object may be gone. Any group may deal with it."""
        if not seen.confirmed_off:
            return False
        present = self.nodes.get(node)
        known = {nodefence.node(fence) for fence in self.fences.all()}
        for obj in self.rosters.all():
            known |= {*nodefence.roster(obj).names}
        return (present is None or not nodegroup.group_of(present)) and node not in known

    def _node(self, name: str, now_s: float, fences: list[Object]) -> NodeView:
        seen = self.sight.seen.get(name)
        node = self.nodes.get(name)
        life = seen.incarnation if seen is not None else ""
        fences.sort(key=lambda fence: str(fence["metadata"].get("creationTimestamp", "")))
        return NodeView(
            name=name,
            seen=seen,
            still_s=now_s - seen.since_s if seen is not None else 0.0,
            node=node,
            fence=next((f for f in fences if nodefence.incarnation(f) == life), None),
            former=tuple(f for f in fences if nodefence.incarnation(f) != life),
            ready_s=self._ready_s(name, life, node, now_s),
            paused=nodegroup.paused_by(node) if node is not None else "",
            address=nodes.internal_ip(node) if node is not None else "",
        )

    def _ready_s(self, name: str, life: str, node: Object | None, now_s: float) -> float | None:
        if node is None or not nodes.ready(node):
            self._ready_since.pop(name, None)
            return None
        known = self._ready_since.get(name)
        if known is None or known[0] != life:
            self._ready_since[name] = (life, now_s)
            return 0.0
        return now_s - known[1]


def _words(intent: Intent) -> str:
    """The intent, and what it is about."""
    about = getattr(intent, "fence", None) or getattr(intent, "node", None)
    name = about.name if isinstance(about, NodeView) else name_of(about) if about else ""
    return f"{type(intent).__name__} {name}"


def wire(manager: Manager) -> None:
    """Register the fencing controller."""
    made = FencingReconciler(manager)
    controller = Controller("fencing", made.reconcile)
    controller.watch(made.groups, lambda group: [name_of(group)])

    def every(_: Object) -> list[str]:
        return [name_of(group) for group in made.groups.all() if made.busy(group)]

    def confirmed(lease: Object) -> list[str]:
        return every(lease) if nodes.confirmed_off(lease) else []

    controller.watch(made.fences, every)
    controller.watch(made.nodes, every)
    controller.watch(made.leases, confirmed)
    manager.add(controller)
