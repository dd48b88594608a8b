"""Pods in the modelled API: defaults, what may change, graceful deletion, binding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.scheme import PRIORITYCLASS
from drover.api.status import Conflict, Forbidden, Invalid
from drover.sim.api.frozen import copied

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.api.store import Store

DEFAULT_GRACE_S = 30
_ENDED = ("Succeeded", "Failed")
_EVICTING_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def default_pod(store: Store, pod: Object) -> None:
    """Fill in what the server and its admission plugins fill in (in place)."""
    spec = pod.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
    spec.setdefault("schedulerName", "default-scheduler")
    tolerations = spec.setdefault("tolerations", [])
    for key in _EVICTING_TAINTS:
        if not any(_tolerates_eviction(toleration, key) for toleration in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            )
    wanted = spec.get("priorityClassName", "")
    priority = store.get(PRIORITYCLASS, "", wanted)
    if wanted and priority is None:
        raise Forbidden(f"no PriorityClass with name {wanted} was found", "Forbidden")
    spec["priority"] = priority["value"] if priority else 0
    spec["preemptionPolicy"] = (priority or {}).get("preemptionPolicy", "PreemptLowerPriority")
    pod["status"] = {"phase": "Pending", "qosClass": "Burstable"}


def _tolerates_eviction(toleration: Object, key: str) -> bool:
    everything = not toleration.get("key") and toleration.get("operator") == "Exists"
    effect = toleration.get("effect") in (None, "", "NoExecute")
    return effect and (everything or toleration.get("key") == key)


def check_pod_update(old: Object, new: Object) -> None:
    """A Pod's spec is fixed but for images and added tolerations. Raises Invalid."""
    if _fixed(old) != _fixed(new):
        raise Invalid(
            "spec: Forbidden: pod updates may not change fields other than containers[*].image, "
            "activeDeadlineSeconds and additions to tolerations",
            "Invalid",
        )
    kept = new["spec"].get("tolerations", [])
    if any(toleration not in kept for toleration in old["spec"].get("tolerations", [])):
        raise Invalid("spec.tolerations: existing tolerations cannot be removed", "Invalid")


def _fixed(pod: Object) -> Object:
    spec = {
        key: value
        for key, value in pod["spec"].items()
        if key not in ("tolerations", "activeDeadlineSeconds")
    }
    spec["containers"] = [{**item, "image": ""} for item in spec.get("containers", ())]
    return spec


def grace_of(pod: Object, asked_s: int | None) -> int:
    """Seconds a deletion grants. Nobody waits for a Pod that is on no node or has ended."""
    if not pod["spec"].get("nodeName") or pod.get("status", {}).get("phase") in _ENDED:
        return 0
    grace = pod["spec"]["terminationGracePeriodSeconds"] if asked_s is None else asked_s
    return max(0, int(grace))


def bound(pod: Object, binding: Object, now: str) -> Object:
    """The Pod after a binding. Raises Conflict when it is bound, deleted or another."""
    meta, name = pod["metadata"], pod["metadata"]["name"]
    wanted = binding.get("metadata", {}).get("uid")
    if wanted and wanted != meta["uid"]:
        raise Conflict(f"pod {name} has uid {meta['uid']}, not {wanted}", "Conflict")
    if meta.get("deletionTimestamp"):
        raise Conflict(f"pod {name} is being deleted, cannot be assigned to a host", "Conflict")
    if pod["spec"].get("nodeName"):
        raise Conflict(
            f"pod {name} is already assigned to node {pod['spec']['nodeName']!r}", "Conflict"
        )
    result: Object = copied(pod)
    result["spec"]["nodeName"] = binding["target"]["name"]
    conditions = [
        condition
        for condition in result["status"].get("conditions", [])
        if condition["type"] != "PodScheduled"
    ]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    result["status"]["conditions"] = [*conditions, scheduled]
    return result
