"""The vm controller: makes a VirtualMachine run, stop and start again as its owner wishes.

It owns ``VirtualMachine.status`` and reads everything else: class, disks, images, address, the VM's Pods, its lease
(vml) and its migrations (vmm). It creates the vml, the Pod of a start, and the Secret with inline user data.

    dependencies ready -> wanted on? -> vml exists -> disks claimed -> Pod created -> (scheduler binds it)
      -> Acquire: the vml names Pod, node and node incarnation -> (the node's agent starts QEMU) -> Running
    (agent releases the vml, with a reason) -> runPolicy x reason: start again, after a back-off, or Stopped

What it must never do: acquire a lease that is not released, or take an absent lease for a released one. A vml is
acquired only after its uid stands in ``status.power``, so that a VM whose lease was ever acquired is known as such;
when such a lease is missing it is rebuilt from what *all* nodes report (safety rule 1).

Reading order: ``view`` what a decision needs; ``power`` should it run (one table); ``needs`` can it start; ``decide``
the next acts; ``status`` what users see; ``lease`` and ``act`` the effects; ``controller`` the wiring.
"""
