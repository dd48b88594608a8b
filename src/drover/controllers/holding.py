"""Whether a Pod may be the one that runs its VM: asked before it is taken away on the word of caches alone."""

from __future__ import annotations

from drover.api.kinds import pod as pods
from drover.api.kinds import vml as vmls
from drover.api.meta import namespace_of, uid_of
from drover.api.scheme import VML
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.runtime.client import Client
from drover.runtime.informer import Informer


async def may_run(client: Client, leases: Informer, pod: Object) -> bool:
    """By the VM lease as it is now. Raises ApiError kinds and Unanswered."""
    try:
        present = await client.get(VML, pods.vm_name(pod), namespace_of(pod))
    except NotFound:
        return True  # absent is not released
    leases.observe(present)
    return vmls.holder(present) == uid_of(pod)
