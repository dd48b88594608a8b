"""What a decision about one operation needs. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.vm import LiveMigrationPolicy, RunPolicy
from drover.api.kinds.vmop import VmopPhase, VmopType


@dataclass(frozen=True)
class Other:
    """An older operation on the same VM that is not finished."""

    name: str
    type: VmopType
    force: bool


@dataclass(frozen=True)
class VmView:
    uid: str
    phase: str
    run_policy: RunPolicy
    live_migration_policy: LiveMigrationPolicy
    node: str
    deleting: bool
    holder: str  # Pod uid that the VM lease names
    holder_pod: str  # its name; empty: no such Pod
    handled: tuple[str, ...] = ()  # request texts that the vm controller has taken in
    requests: tuple[str, ...] = ()  # request texts that stand on the VM
    restarting: bool = False
    wanted: bool = True  # by its runPolicy, and what was asked and has happened since
    last_reason: str = ""  # why its guest ended when it last did
    migratable: bool = True


@dataclass(frozen=True)
class VmmView:
    """The migration of this operation."""

    phase: str
    deleting: bool
    reason: str = ""
    message: str = ""
    target_node: str = ""
    source_pod: str = ""
    target_pod: str = ""
    source_said: str = ""
    target_said: str = ""
    total_bytes: int = 0
    transferred_bytes: int = 0
    remaining_bytes: int = 0
    iteration: int = 0
    throttle_percent: int = 0
    auto_converge: bool = False
    stalled_s: int = 0  # without progress
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class VmopView:
    name: str
    namespace: str
    type: VmopType
    vm_name: str
    phase: VmopPhase | None
    deleting: bool
    has_finalizer: bool
    force: bool | None
    signal: str  # the request text this operation has sent; empty: none yet
    signalled_pod: str  # who held the lease then
    progress_percent: int
    vm: VmView | None
    vmm: VmmView | None
    older: tuple[Other, ...] = ()
    superseded_by: Other | None = None  # a newer operation that may take this one's place
    system_policy: LiveMigrationPolicy | None = None  # replaces the VM's, and force
    foreign_migration: bool = False  # an open vmm of this VM that is not ours

    @property
    def is_migration(self) -> bool:
        return self.type in (VmopType.EVICT, VmopType.MIGRATE)

    @property
    def finished(self) -> bool:
        return self.phase in (VmopPhase.COMPLETED, VmopPhase.FAILED, VmopPhase.SUPERSEDED)
