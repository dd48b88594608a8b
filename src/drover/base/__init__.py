"""The ground floor: clock, ids, tasks, back-off, quantities, log, checks. Knows nothing of VMs."""
