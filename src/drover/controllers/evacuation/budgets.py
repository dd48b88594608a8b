"""One PodDisruptionBudget that never allows, in each namespace with VMs.

The review of evictions (``reviewer``) lets nothing through but Pods that have ended, and for those Kubernetes asks no
budget. So the budget decides only while the review is away or fails: then the API server answers an eviction with 429
by itself, kubectl asks again, and no drain ends. A number is demanded that no namespace reaches, since percentages and
maxUnavailable need an owner with a scale.
"""

from __future__ import annotations

from drover.api import names
from drover.api.scheme import BUDGET
from drover.api.wire import Object
from drover.controllers import companions
from drover.runtime.manager import Manager

NAME = "drover-vms"
MORE_THAN_THERE_ARE = 1_000_000


def wanted(namespace: str) -> Object:
    selector = {"matchExpressions": [{"key": names.VM_NAME_LABEL, "operator": "Exists"}]}
    return {
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"minAvailable": MORE_THAN_THERE_ARE, "selector": selector},
    }


def wire(manager: Manager) -> None:
    """Register the controller."""
    companions.wire(manager, "budgets", companions.Companion(BUDGET, NAME, "spec", wanted))
