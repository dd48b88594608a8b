"""One node's loss, played on a picture of the cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from drover.api import names
from drover.api.kinds import pod as pod_kind
from drover.api.kinds import vm as vms
from drover.api.wire import Object
from drover.base.words import some_of
from drover.controllers.forecast import forecast_drain
from drover.controllers.vm.power import starts_again
from drover.planner import Cluster

MOST_NODES = 1000  # of a group that are told one by one


@dataclass(frozen=True)
class Standby:
    """Of one node: how many VMs start again when it is lost, and which of them would find no room."""

    node: str
    vms: int
    homeless: tuple[str, ...] = ()
    why: str = ""  # of the first of them, in kube-scheduler's words

    @property
    def message(self) -> str:
        if not self.homeless:
            return ""
        return f"no room elsewhere for {some_of(self.homeless)}: {self.why}"

    def as_status(self) -> Object:
        told: Object = {"node": self.node, "virtualMachines": self.vms}
        told["withoutRoom"] = len(self.homeless)
        return {**told, "message": self.message[:1024]} if self.message else told


def standby(
    cluster: Cluster, node: str, pods: Iterable[Object], all_vms: Mapping[str, Object]
) -> Standby:
    """``pods``: VM Pods of the node; ``all_vms`` by namespace/name."""
    mine = [pod for pod in pods if _starts_again(all_vms.get(pod_kind.vm_key(pod)))]
    found = forecast_drain(cluster, node, mine)
    stuck = found.stuck
    return Standby(
        node, len(found.vms), tuple(one.vm for one in stuck), stuck[0].message if stuck else ""
    )


def _starts_again(vm: Object | None) -> bool:
    return vm is not None and starts_again(vms.run_policy(vm), names.LastReason.NODE_LOST)


def summary(found: Iterable[Standby]) -> str:
    """For the condition; empty: every node may be lost."""
    short = [one for one in found if one.homeless]
    if not short:
        return ""
    first = short[0]
    more = f" (and {len(short) - 1} more nodes like it)" if len(short) > 1 else ""
    return f"when {first.node} is lost there is {first.message}{more}"
