"""The Secret with a VM's user data: the node reads it through the VM's Pod, and nothing else.

A Secret that the user names is taken as it is, of the VM's own namespace. Text in the VM itself goes into a Secret
of ours. Who may make VMs may be no one to write Secrets, so one that is there already is not touched unless it is
the VM's.
"""

from __future__ import annotations

import base64

from drover.api.kinds import vm as vms
from drover.api.meta import name_of, namespace_of, owner_reference
from drover.api.scheme import SECRET, VM
from drover.api.status import AlreadyExists, Forbidden
from drover.api.wire import Object
from drover.runtime.client import Client


async def secret_of(client: Client, vm: Object) -> str:
    """The name of the Secret; empty when there is no user data. Raises Forbidden for one that is somebody else's."""
    text = vms.user_data(vm)
    if text is None:
        return vms.user_data_secret(vm) or ""
    name, namespace = f"d8v-ci-{name_of(vm)}", namespace_of(vm)
    data = {"userData": base64.b64encode(text.encode()).decode()}
    owners = [owner_reference(VM, vm)]
    meta = {"name": name, "namespace": namespace, "ownerReferences": owners}
    try:
        await client.create(SECRET, {"metadata": meta, "type": "Opaque", "data": data})
    except AlreadyExists:
        there = await client.get(SECRET, name, namespace)
        if not _of_the_vm(there, vm):
            raise Forbidden(
                f'Secret "{name}" is where the user data of this VM would go, and it is not the VM\'s; '
                "delete it, or put the user data into a Secret of your own (userDataRef)"
            ) from None
        patch = {"metadata": {"ownerReferences": owners}, "data": data}
        await client.patch(SECRET, name, namespace, patch, version=there)
    return name


def _of_the_vm(secret: Object, vm: Object) -> bool:
    """Also of a VM that had this name before and is being collected."""
    owners = secret["metadata"].get("ownerReferences") or []
    return any(ref["kind"] == VM.kind and ref["name"] == name_of(vm) for ref in owners)
