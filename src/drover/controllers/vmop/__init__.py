"""The vmop controller: one VirtualMachineOperation from wish to outcome.

It owns a vmop's status, the three request annotations on the VM (start, stop, restart), and creates one
VirtualMachineMigration per Evict or Migrate. It watches vmops, VMs, VM leases and vmms. An operation whose time has not
come is refused with the reason that users of the reference platform know; a newer operation may supersede an older one
(Stop over Start, forced over patient, power over migration).

It must never touch Pods or leases. Deleting an unfinished migration vmop aborts it: its finalizer stays until the vmm's
outcome stands and VM.status has left Migrating, so that a new Evict is accepted at once.
"""
