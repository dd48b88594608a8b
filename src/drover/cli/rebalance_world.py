"""What the commands about rebalancing read, from the API or from a snapshot, and the plan that would run on it.

A snapshot is one JSON document: kind Snapshot of ours, or a List as kubectl prints it. It holds what placement and load
depend on and no more: no user data, no Secrets. What the controller would do is computed here by its own functions, so
the plan and its hash are the controller's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import click

from drover.api import names, scheme
from drover.api.kinds import rebalance as kinds
from drover.api.meta import name_of
from drover.api.scheme import Kind, key_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339, rfc3339
from drover.cli import versions
from drover.cli.connect import Api
from drover.cli.versions import SNAPSHOT, SNAPSHOT_VERSION
from drover.controllers.rebalance.guests import Objects
from drover.controllers.rebalance.planobject import spec_of
from drover.controllers.rebalance.policy import Policy, read
from drover.controllers.rebalance.problem import BUDGET, Problem, pose
from drover.planner import state

MOST_BYTES = 512 * 2**20
# In the order in which a snapshot lists them, by the field of ``Objects``; the last ones are settings.
_FIELDS: dict[str, Kind] = {
    "nodes": scheme.NODE,
    "pods": scheme.POD,
    "namespaces": scheme.NAMESPACE,
    "vms": scheme.VM,
    "classes": scheme.VMCLASS,
    "vmops": scheme.VMOP,
    "vmms": scheme.VMM,
    "plans": scheme.REBALANCEPLAN,
}
_SETTINGS = (scheme.MODULECONFIG, scheme.DESCHEDULER, scheme.PRIORITYCLASS)
# Texts of users, which say nothing about placement; and what the API server notes for itself.
_DROPPED = (
    names.MACHINE_ANNOTATION,
    "drover.dev/applied-spec",
    "kubectl.kubernetes.io/last-applied-configuration",
)


@dataclass(frozen=True)
class Picture:
    """One look. ``others``: of the kinds that are settings, by kind."""

    objects: Objects
    others: Mapping[str, list[Object]]
    now_s: float

    @property
    def policy(self) -> Policy:
        return read(
            self._named(scheme.MODULECONFIG, names.REBALANCE_MODULE),
            self.descheduler,
            self.others.get(scheme.PRIORITYCLASS.kind, []),
        )

    @property
    def descheduler(self) -> Object | None:
        return self._named(scheme.DESCHEDULER, names.DESCHEDULER)

    def _named(self, kind: Kind, name: str) -> Object | None:
        return next((o for o in self.others.get(kind.kind, []) if name_of(o) == name), None)

    @property
    def open_plan(self) -> Object | None:
        return next((plan for plan in reversed(self.objects.plans) if kinds.open_(plan)), None)


@dataclass(frozen=True)
class Shown:
    """A plan to be shown: ``spec`` as in a RebalancePlan. ``name``: of the object; empty: it is computed here."""

    spec: Object
    name: str
    phase: str
    before: Mapping[str, Mapping[str, float]]  # percent by node and resource
    after: Mapping[str, Mapping[str, float]]
    ceilings: Mapping[str, float]


async def look(api: Api) -> Picture:
    """With the user's own rights."""
    found = {}
    for field, kind in _FIELDS.items():
        found[field], _ = await api.client.list(kind)
    others = {}
    for kind in _SETTINGS:
        others[kind.kind], _ = await api.client.list(kind)
    return Picture(Objects(**found), others, api.clock.wall())


def shown(picture: Picture, balance: int = 0) -> Shown:
    """The plan that is open, or else the one that would be made now; always a new one with up to ``balance`` more moves
    that only make the nodes alike. Raises ClickException for bad settings."""
    policy = picture.policy
    if policy.problems:
        told = "\n".join(f"  {problem}" for problem in policy.problems)
        raise click.ClickException(f"nothing is moved while the settings are not valid:\n{told}")
    problem = pose(picture.objects, policy, picture.now_s)
    plan = picture.open_plan
    if plan is None or balance:
        made = problem.plan(replace(BUDGET, improve_moves=balance))
        spec = spec_of(made, problem, 1, policy.mode)
        return _shown(problem, spec, "", "")
    return _shown(problem, dict(kinds.spec(plan)), name_of(plan), str(kinds.phase(plan)))


def _shown(problem: Problem, spec: Object, name: str, phase: str) -> Shown:
    """Loads after: as if the moves that are still to be made had been."""
    todo = {
        key_of(problem.guests[vm].pod): str(move["target"])
        for move in spec.get("moves") or []
        if (vm := str(move["virtualMachine"])) in problem.guests
        and move["target"] in problem.cluster.nodes.row_of
    }
    after = state(problem.cluster.moved(todo), problem.vms, problem.goal)
    nodes = [node for node in problem.state.loads if node not in problem.closed]
    return Shown(
        spec,
        name,
        phase,
        {node: problem.state.loads[node] for node in nodes},
        {node: after.loads[node] for node in nodes},
        problem.goal.ceilings,
    )


# --- snapshots ---


def write(picture: Picture) -> str:
    """The snapshot as JSON."""
    items = [
        {**_lean(obj), "apiVersion": kind.api_version, "kind": kind.kind}
        for kind, objects in _all(picture)
        for obj in objects
    ]
    told = {
        "apiVersion": SNAPSHOT_VERSION,
        "kind": SNAPSHOT,
        "takenAt": rfc3339(picture.now_s),
        "items": items,
    }
    return json.dumps(told, indent=1, sort_keys=True)


def _all(picture: Picture) -> Iterable[tuple[Kind, Iterable[Object]]]:
    for field, kind in _FIELDS.items():
        yield kind, getattr(picture.objects, field)
    for kind in _SETTINGS:
        yield kind, picture.others.get(kind.kind, [])


def _lean(obj: Object) -> Object:
    """Without user data, and without what nobody reads here."""
    found = copy.deepcopy(dict(obj))
    meta = found["metadata"]
    meta.pop("managedFields", None)
    notes = meta.get("annotations") or {}
    meta["annotations"] = {key: value for key, value in notes.items() if key not in _DROPPED}
    (found.get("spec") or {}).pop("provisioning", None)
    return found


def load(text: str, now_s: float) -> Picture:
    """A snapshot. Raises ClickException for what is none; ``now_s`` where it does not say when it was taken."""
    try:
        told = json.loads(text)
    except ValueError as error:
        raise _no_snapshot(f"it is no JSON ({error})") from error
    items = told.get("items") if isinstance(told, dict) else None
    if not isinstance(items, list) or told.get("kind") not in (SNAPSHOT, "List"):
        raise _no_snapshot("it is neither of kind Snapshot nor a List with items")
    by_kind: dict[str, list[Object]] = {}
    for item in items:
        if not _is_object(item):
            raise _no_snapshot("an item of it is no object with kind and metadata.name")
        item["metadata"].setdefault("uid", f"{item['kind']}/{key_of(item)}")
        item["metadata"].setdefault("resourceVersion", "0")
        by_kind.setdefault(item["kind"], []).append(item)
    versions.check([told], items)
    if not by_kind.get(scheme.NODE.kind):
        raise _no_snapshot("there is no Node in it")
    found = {field: by_kind.get(kind.kind, []) for field, kind in _FIELDS.items()}
    others = {kind.kind: by_kind.get(kind.kind, []) for kind in _SETTINGS}
    taken = told.get("takenAt")
    return Picture(Objects(**found), others, parse_rfc3339(str(taken)) if taken else now_s)


def plan_of(picture: Picture, balance: int = 0) -> Shown:
    """Of a snapshot, whose objects no API server has checked. Raises ClickException."""
    try:
        return shown(picture, balance)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise _no_snapshot(
            f"an object in it lacks what every object of its kind has ({detail})"
        ) from error


def _is_object(item: Any) -> bool:
    meta = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(meta, dict) and bool(meta.get("name")) and isinstance(item.get("kind"), str)


def _no_snapshot(why: str) -> click.ClickException:
    return click.ClickException(
        f"this is no snapshot of a cluster: {why}. `drover snapshot` writes one, and so does "
        "`kubectl get nodes,pods,namespaces -A -o json`."
    )
