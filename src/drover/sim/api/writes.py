"""Create, replace, patch, delete, bind and evict. Every function is atomic: it never awaits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drover.api import scheme
from drover.api.status import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
)
from drover.api.wire import JSON_PATCH, MERGE_PATCH
from drover.base.clock import rfc3339
from drover.sim.api import pods
from drover.sim.api.admission import Review
from drover.sim.api.frozen import copied
from drover.sim.api.patch import json_patch, merge
from drover.sim.api.rules import check_update, prepare_create, prepare_update, rules_of
from drover.sim.api.schema import conform

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.api.model import ApiModel
    from drover.sim.api.routes import Call

NOT_READY_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_ADDED_BY_SERVER = ("uid", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds")


def create(api: ApiModel, call: Call, body: Object) -> Object:
    meta = body.setdefault("metadata", {})
    if meta.get("resourceVersion"):
        raise BadRequest("resourceVersion should not be set on objects to be created", "BadRequest")
    if meta.setdefault("namespace", call.namespace) != call.namespace:
        raise BadRequest("the namespace of the object does not match the request", "BadRequest")
    if not call.namespace:
        del meta["namespace"]
    elif api.store.get(scheme.NAMESPACE, "", call.namespace) is None:
        raise NotFound(f'namespaces "{call.namespace}" not found', "NotFound")
    obj = _born(api, call, body)
    name = obj["metadata"]["name"]
    if api.store.get(call.kind, call.namespace, name) is not None:
        raise AlreadyExists(f'{call.kind.plural} "{name}" already exists', "AlreadyExists")
    obj = conform(call.kind, obj)
    api.admit(Review("CREATE", call.caller, call.kind, None, obj))
    return obj if call.dry else api.store.put(call.kind, obj)


def _born(api: ApiModel, call: Call, body: Object) -> Object:
    meta = {key: value for key, value in body["metadata"].items() if key not in _ADDED_BY_SERVER}
    if not meta.get("name"):
        if not meta.get("generateName"):
            raise Invalid(
                "metadata.name: Required value: name or generateName is required", "Invalid"
            )
        meta["name"] = meta["generateName"] + api.ids.suffix(5)
    meta["uid"] = api.ids.uid()
    meta["creationTimestamp"] = rfc3339(api.clock.wall())
    obj = {**body, "apiVersion": call.kind.api_version, "kind": call.kind.kind, "metadata": meta}
    prepare_create(call.kind, obj)
    if call.kind == scheme.POD:
        pods.default_pod(api.store, obj)
    if call.kind == scheme.NODE:
        taints = obj.setdefault("spec", {}).setdefault("taints", [])
        if all(taint["key"] != NOT_READY_TAINT["key"] for taint in taints):
            taints.append(dict(NOT_READY_TAINT))
    return obj


def replace(api: ApiModel, call: Call, body: Any) -> tuple[int, Object]:
    """PUT. Without resourceVersion it overwrites where the kind allows that."""
    if not isinstance(body, dict):
        raise BadRequest("the body is no object", "BadRequest")
    meta = dict(body.get("metadata") or {})
    body = {**body, "metadata": meta}
    if meta.setdefault("name", call.name) != call.name:
        raise BadRequest("the name of the object does not match the name on the URL", "BadRequest")
    old = api.store.get(call.kind, call.namespace, call.name)
    rules = rules_of(call.kind)
    if old is None:
        if not rules.born_by_put or call.subresource:
            raise call.missing()
        if meta.get("uid"):  # without it, the deleted object comes back
            raise _uid_conflict(meta["uid"], "")
        meta.pop("resourceVersion", None)
        return 201, create(api, call, copied(body))
    if meta.get("uid") and meta["uid"] != old["metadata"]["uid"]:
        raise _uid_conflict(meta["uid"], old["metadata"]["uid"])
    if call.namespace:
        meta.setdefault("namespace", call.namespace)
    return 200, _update(api, call, old, body)


def patch(api: ApiModel, call: Call, body: Any) -> Object:
    """Merge patch or JSON patch; uid and resourceVersion inside are conditions."""
    old = api.store.get(call.kind, call.namespace, call.name)
    if old is None:
        raise call.missing()
    if call.content_type == MERGE_PATCH:
        new = merge(old, body)
    elif call.content_type == JSON_PATCH:
        new = json_patch(old, body)
    else:
        raise ApiError(f"unsupported patch {call.content_type}", "UnsupportedMediaType", 415)
    return _update(api, call, old, new)


def _update(api: ApiModel, call: Call, old: Object, new: Object) -> Object:
    asked = new["metadata"].get("resourceVersion")
    if not asked and not rules_of(call.kind).blind_put:
        raise Invalid("metadata.resourceVersion: must be specified for an update", "Invalid")
    if asked and asked != old["metadata"]["resourceVersion"]:
        raise _stale(call)
    uid = new["metadata"].get("uid")
    if uid and uid != old["metadata"]["uid"]:
        raise Invalid(f"metadata.uid: Invalid value: {uid}: field is immutable", "Invalid")
    new = {**new, "apiVersion": old["apiVersion"], "kind": old["kind"]}
    result = prepare_update(call.kind, old, new, call.subresource)
    check_update(call.kind, old, result)
    if call.kind == scheme.POD and not call.subresource:
        pods.check_pod_update(old, result)
    result = conform(call.kind, result)
    api.admit(Review("UPDATE", call.caller, call.kind, old, result, call.subresource))
    if call.dry:
        return result
    meta = result["metadata"]
    last_word = not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds")
    if meta.get("deletionTimestamp") and last_word:
        return api.store.remove(call.kind, result)
    return api.store.put(call.kind, result)


def delete(api: ApiModel, call: Call, options: Object) -> Object:
    """DELETE with preconditions; Pods on a node get their grace, finalizers hold."""
    old = api.store.get(call.kind, call.namespace, call.name)
    if old is None:
        raise call.missing()
    meta = old["metadata"]
    for field, wanted in (options.get("preconditions") or {}).items():
        if wanted != meta[field]:
            raise Conflict(
                f"the {field} in the precondition ({wanted}) does not match the {field} in record "
                f"({meta[field]}). The object might have been deleted and then recreated",
                "Conflict",
            )
    api.admit(Review("DELETE", call.caller, call.kind, old, None))
    if call.dry or options.get("dryRun") == ["All"]:
        return old
    grace_s = _grace(call, old, options)
    if not grace_s and not meta.get("finalizers"):
        api.store.remove(call.kind, old)
        return _success()
    if meta.get("deletionTimestamp") and grace_s >= meta.get("deletionGracePeriodSeconds", 0):
        return old
    doomed = {
        **meta,
        "deletionTimestamp": rfc3339(api.clock.wall() + grace_s),
        "deletionGracePeriodSeconds": grace_s,
    }
    if rules_of(call.kind).generation:
        doomed["generation"] = meta.get("generation", 0) + 1
    return api.store.put(call.kind, {**old, "metadata": doomed})


def _grace(call: Call, old: Object, options: Object) -> int:
    if call.kind != scheme.POD:
        return 0
    asked = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    return pods.grace_of(old, None if asked is None else int(asked))


def bind(api: ApiModel, call: Call, binding: Object) -> Object:
    """POST pods/NAME/binding: the scheduler's word."""
    old = api.store.get(call.kind, call.namespace, call.name)
    if old is None:
        raise call.missing()
    if call.caller.node:
        raise Forbidden("a node may not bind pods", "Forbidden")
    new = pods.bound(old, binding, rfc3339(api.clock.wall()))
    if not call.dry:
        api.store.put(call.kind, new)
    return _success(201)


def evict(api: ApiModel, call: Call, eviction: Object) -> Object:
    """POST pods/NAME/eviction. ``ApiModel.eviction_review`` has been asked."""
    options = eviction.get("deleteOptions") or {}
    delete(api, call, options)
    return _success(201)


def _success(code: int = 200) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


def _stale(call: Call) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on {call.kind.plural} "{call.name}": the object has been '
        f"modified; please apply your changes to the latest version and try again",
        "Conflict",
    )


def _uid_conflict(wanted: str, found: str) -> Conflict:
    return Conflict(
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
        "Conflict",
    )
