"""Everything the decisions about one VM need, as frozen values. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drover.api import names
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds.vm import DeviceRef
from drover.api.meta import is_deleting, uid_of
from drover.api.wire import Object

START_REQUEST = (
    "drover.dev/start-requested"  # on a VM, by the vmop controller: "<vmop>;<time>[;force]"
)
STOP_REQUEST = "drover.dev/stop-requested"
RESTART_REQUEST = "drover.dev/restart-requested"


@dataclass(frozen=True)
class Device:
    """One of ``spec.blockDeviceRefs`` with the object it names, if that exists."""

    ref: DeviceRef
    obj: Object | None


@dataclass(frozen=True)
class Refusal:
    """The API refused a Pod; it is not asked again before ``until_s`` (monotonic)."""

    message: str
    until_s: float


@dataclass(frozen=True)
class VmView:
    """One look at one VM. ``pods`` and ``moves`` (its vmms) are oldest first."""

    vm: Object
    now_s: float
    vmclass: Object | None = None
    class_name: str = ""
    claim: Object | None = None
    claim_name: str = ""
    devices: tuple[Device, ...] = ()
    held_disks: tuple[Object, ...] = ()  # VirtualDisks whose heldBy is this VM
    secret_problem: str = ""  # why the Secret with user data cannot be used; empty: it can
    refusal: str = ""  # why the API refused the Pod when it was asked last
    refusal_wait_s: float = 0.0  # until it may be asked again
    lease: Object | None = None
    pods: tuple[Object, ...] = ()
    moves: tuple[Object, ...] = ()
    holder_dead: bool = False  # a NodeFence proves that its node's life is over
    holder_unknown: bool = (
        False  # its Pod is gone, and its node has no Lease: nobody would release it
    )
    qemu_version: str = ""  # what the guest runs on, as its agent tells it
    wanted_firmware: str = ""  # what it shall run on; empty: whatever its node has
    ahead: str = ""  # another lost VM, whose Pod is made first
    ahead_s: float = 0.0  # for so long at most
    missing_room: str = ""  # what a lost VM's Pod lacks on the roomiest node
    started_s: float | None = None  # status.stats.lastStartTime

    @property
    def uid(self) -> str:
        return uid_of(self.vm)

    @property
    def deleting(self) -> bool:
        return is_deleting(self.vm)

    @property
    def own_lease(self) -> Object | None:
        """The vml if it is of this very VM and not of a former one of the same name."""
        return self.lease if self.lease is not None and self.owns(self.lease) else None

    def owns(self, obj: Object) -> bool:
        references: list[Any] = obj["metadata"].get("ownerReferences") or []
        return any(reference["uid"] == self.uid for reference in references)

    @property
    def holder(self) -> str:
        """Uid of the Pod that may run the VM; empty: nobody, or not known."""
        lease = self.own_lease
        return vmls.holder(lease) if lease is not None else ""

    @property
    def active_pod(self) -> Object | None:
        """The Pod that holds the lease, while the Pod object exists."""
        return self.pod_by_uid(self.holder) if self.holder else None

    def pod_by_uid(self, uid: str) -> Object | None:
        return next((pod for pod in self.pods if uid_of(pod) == uid), None)

    @property
    def move(self) -> Object | None:
        """The migration that goes on, if one does."""
        return next((move for move in self.moves if not vmms.final(move)), None)

    def starters(self) -> list[Object]:
        """Pods that may still start the VM: not ended, not being deleted, not the target of a migration."""
        return [
            pod
            for pod in self.pods
            if not pods.ended(pod) and not pods.deleting(pod) and not pods.migration_name(pod)
        ]

    def request(self, annotation: str) -> str:
        return str((self.vm["metadata"].get("annotations") or {}).get(annotation, ""))


@dataclass(frozen=True)
class Request:
    """A wish of an operation, decoded."""

    text: str
    force: bool

    @property
    def time(self) -> str:
        return self.text.split(";")[1] if ";" in self.text else ""


def requests_of(view: VmView) -> dict[str, Request]:
    """The requests on the VM by annotation; the oldest first."""
    found = {}
    for annotation in (START_REQUEST, STOP_REQUEST, RESTART_REQUEST):
        text = view.request(annotation)
        if text:
            found[annotation] = Request(text, text.endswith(";force"))
    return dict(sorted(found.items(), key=lambda item: item[1].time))


def stop_wish(pod: Object) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(names.STOP_ANNOTATION, ""))


def status_power(vm: Object) -> dict[str, Any]:
    return dict(vms.status(vm).get("power") or {})
