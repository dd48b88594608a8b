"""One PodDisruptionBudget that never allows, in each namespace with VMs.

The review of evictions (``reviewer``) lets nothing through but Pods that have ended, and for those Kubernetes asks no
budget. So the budget decides only while the review is away or fails: then the API server answers an eviction with 429
by itself, kubectl asks again, and no drain ends. A number is demanded that no namespace reaches, since percentages and
maxUnavailable need an owner with a scale.
"""

from __future__ import annotations

from drover.api import names
from drover.api.meta import is_deleting, namespace_of, uid_of
from drover.api.scheme import BUDGET, VM
from drover.api.status import AlreadyExists, Conflict, NotFound
from drover.api.wire import Object
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager

NAME = "drover-vms"
MORE_THAN_THERE_ARE = 1_000_000


def wanted(namespace: str) -> Object:
    selector = {"matchExpressions": [{"key": names.VM_NAME_LABEL, "operator": "Exists"}]}
    return {
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"minAvailable": MORE_THAN_THERE_ARE, "selector": selector},
    }


class Budgets:
    """One pass over one namespace."""

    def __init__(self, manager: Manager) -> None:
        self._client = manager.client
        self.vms = manager.informer(VM)
        self.budgets = manager.informer(BUDGET, fields=f"metadata.name={NAME}")
        self.vms.add_index("namespace", lambda vm: [namespace_of(vm)])

    async def reconcile(self, namespace: str) -> Outcome:
        vms = self.vms.by_index("namespace", namespace)
        present = self.budgets.get(f"{namespace}/{NAME}")
        if present is None and not all(is_deleting(vm) for vm in vms):
            await self._create(namespace)
        elif present is not None and not vms:
            await self._delete(present)
        elif present is not None and present["spec"] != (spec := wanted(namespace)["spec"]):
            answer = await self._client.replace(BUDGET, {**present, "spec": spec})
            self.budgets.observe(answer)
        return Done()

    async def _create(self, namespace: str) -> None:
        try:
            self.budgets.observe(await self._client.create(BUDGET, wanted(namespace)))
        except AlreadyExists:
            return  # the watch will tell

    async def _delete(self, budget: Object) -> None:
        try:
            await self._client.delete(BUDGET, NAME, namespace_of(budget), uid=uid_of(budget))
        except (NotFound, Conflict):
            return


def wire(manager: Manager) -> None:
    """Register the controller."""
    made = Budgets(manager)
    controller = Controller("budgets", made.reconcile)
    controller.watch(made.vms, lambda vm: [namespace_of(vm)])
    controller.watch(made.budgets, lambda budget: [namespace_of(budget)])
    manager.add(controller)
