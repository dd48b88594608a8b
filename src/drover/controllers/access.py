"""Nodes may read the Pods of namespaces with VMs, and of no others.

A source looks at its target's Pod right before it hands the VM over, and the Node authorizer shows a node only its own.
RBAC knows no prefix of names, so the namespace is the least that can be given.
"""

from __future__ import annotations

from drover.api import names
from drover.api.scheme import ROLEBINDING
from drover.api.wire import Object
from drover.controllers import companions
from drover.runtime.manager import Manager

NAME = "drover-node-pods"  # also of the ClusterRole
_GROUP = "rbac.authorization.k8s.io"


def wanted(namespace: str) -> Object:
    return {
        "metadata": {"name": NAME, "namespace": namespace},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": NAME},
        "subjects": [{"apiGroup": _GROUP, "kind": "Group", "name": names.NODES_GROUP}],
    }


def wire(manager: Manager) -> None:
    """Register the controller."""
    companions.wire(manager, "access", companions.Companion(ROLEBINDING, NAME, "subjects", wanted))
