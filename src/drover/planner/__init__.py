"""The planner: where a VM may run, answered as kube-scheduler would, by pure functions over plain values.

``Cluster.of(nodes, pods, namespaces)`` is a frozen picture; ``fit(cluster, pod)`` says which nodes take the Pod and
why the others refuse, in kube-scheduler's words; ``cluster.moved(...)`` is the picture after a move, made without
building it anew. ``rebalance(cluster, vms, goal, budget)`` is the plan that mends a cluster with the fewest moves, see
there. ``room.place`` puts a list of Pods one after another, ``room.place_group`` puts all of them or none.
``drover.controllers.planning`` makes these values from API objects.

It promises the verdict of the filters that matter to VM Pods: cordons, taints, selectors and affinity, requests,
spreading. Ports, volumes and devices are not looked at, nothing is preempted, and which of several fitting nodes
kube-scheduler takes is its own business.
"""

from drover.planner.cluster import Cluster
from drover.planner.fit import Fit, fit
from drover.planner.model import (
    Node,
    NodeTerm,
    Operator,
    Pod,
    PodTerm,
    Requirement,
    Selector,
    Spread,
    Taint,
    Toleration,
)
from drover.planner.plan import (
    BadGoal,
    Budget,
    Goal,
    Impossible,
    Load,
    Move,
    Plan,
    Rejected,
    Rule,
    State,
    Vm,
    precopy_seconds,
)
from drover.planner.rebalancing import rebalance, state
from drover.planner.room import Placement, allocation, lacking, place, place_group

__all__ = [
    "BadGoal",
    "Budget",
    "Cluster",
    "Fit",
    "Goal",
    "Impossible",
    "Load",
    "Move",
    "Node",
    "NodeTerm",
    "Operator",
    "Placement",
    "Plan",
    "Pod",
    "PodTerm",
    "Rejected",
    "Requirement",
    "Rule",
    "Selector",
    "Spread",
    "State",
    "Taint",
    "Toleration",
    "Vm",
    "allocation",
    "fit",
    "lacking",
    "place",
    "place_group",
    "precopy_seconds",
    "rebalance",
    "state",
]
