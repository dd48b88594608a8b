"""How docs/ownership.md is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drover.api import status

if TYPE_CHECKING:
    from tests.support.cluster import Caller, Cluster

    from drover.api.scheme import Kind
    from drover.api.wire import Object

NAMESPACE = "default"
A, B = "node-a", "node-b"


async def patch(
    who: Caller, kind: Kind, obj: Object, change: Object, subresource: str = ""
) -> Object:
    meta = obj["metadata"]
    return await who.patch(
        kind, meta["name"], meta.get("namespace", ""), change, subresource=subresource
    )


async def refused(
    who: Caller, kind: Kind, obj: Object, change: Object, subresource: str = ""
) -> str:
    """What the control plane says to it."""
    with pytest.raises((status.Forbidden, status.Invalid)) as refusal:
        await patch(who, kind, obj, change, subresource)
    return refusal.value.message


async def only_controllers_write_status(cluster: Cluster, kind: Kind, part: Object) -> None:
    obj = await cluster.a_sample(kind)
    for stranger in (cluster.admin, cluster.editor, cluster.node_a):
        await refused(stranger, kind, obj, {"status": part}, "status")
    said = await refused(cluster.admin, kind, obj, {"status": part}, "status")
    assert f"the status of {kind.plural} belongs to drover:controllers" in said
    after = await patch(cluster.controllers, kind, obj, {"status": part}, "status")
    assert part.items() <= after["status"].items()
