"""Get, list, and the selection of a watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.scheme import POD
from drover.api.status import Forbidden
from drover.sim.api.rules import rules_of
from drover.sim.api.select import field_matcher, label_matcher
from drover.sim.api.watch import Selection

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.api.model import ApiModel
    from drover.sim.api.routes import Call


def get(api: ApiModel, call: Call) -> Object:
    found = api.store.get(call.kind, call.namespace, call.name)
    if found is None:
        raise call.missing()
    return found


def selection(call: Call) -> Selection:
    """Raises BadRequest for selectors that the server does not know."""
    fields = call.query.get("fieldSelector", "")
    # A node's agent may only look at the Pods bound to it (Node authorizer).
    node, terms = call.caller.node, fields.replace("==", "=").split(",")
    if call.kind == POD and node and f"spec.nodeName={node}" not in terms:
        raise Forbidden(f"node {node} cannot list or watch all pods", "Forbidden")
    return Selection(
        call.kind,
        call.namespace,
        label_matcher(call.query.get("labelSelector", "")),
        field_matcher(call.kind, fields),
    )


def list_all(api: ApiModel, call: Call) -> Object:
    """A list as on the wire: items of built-in kinds do not name their kind."""
    chosen = selection(call)
    items = [obj for obj in api.store.all(call.kind) if chosen.has(obj)]
    if not rules_of(call.kind).custom:
        items = [
            {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
            for obj in items
        ]
    return {
        "kind": f"{call.kind.kind}List",
        "apiVersion": call.kind.api_version,
        "metadata": {"resourceVersion": str(api.store.revision)},
        "items": items,
    }
