"""The migration controller: one VirtualMachineMigration from its slot to its outcome.

It owns ``status.phase``, ``targetNode`` and ``targetPod`` of a vmm, creates the target Pod (the scheduler finds its
node), lets copying start only after VM.status says Migrating (so that nobody who watches misses it), and derives the
outcome from the VM lease. It watches vmms, VM leases, VMs, VM Pods and Nodes.

    Pending --slot--> Scheduling --bound--> Preparing --listening--> Ready --VM says Migrating--> Copying --> Succeeded
       \\_____________\\___________________\\______________________\\__________________\\--> Failed, Aborted

It must never: move a VM lease, decide that a copy runs, or call an outcome while the lease is with the target and the
target has not spoken. A vmm keeps its finalizer until its outcome stands.
"""
