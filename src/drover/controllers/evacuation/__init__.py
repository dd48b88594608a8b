"""Evictions of VM Pods: a VM that is asked to leave its node moves, and the one who asked waits for that.

Three parts meet at the VM's Pod. The *review* (``review``: words, ``reviewer``: effects) is asked by the API server
before a Pod is evicted: it marks the Pod and holds the answer until that very Pod has ended. The *evacuation
controller* (``view``, ``decide``, ``controller``) sees to it that a marked VM has one operation ``evacuation-*`` at a
time, tries again after failures, and waits while no node can take the VM. The *budgets* (``budgets``) keep evictions of
VM Pods refused while the review is away: then Kubernetes answers "try again" (429) by itself, so a restart of this
process ends no drain.

    eviction -> mark on the Pod -> evacuation-* -> (vmop, migration: the VM moves) -> Pod Succeeded -> eviction allowed

It must never allow the eviction of a Pod whose guest may still run, make two operations for one VM, or forget a failed
one while the mark stands.
"""
