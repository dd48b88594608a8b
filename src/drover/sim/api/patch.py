"""JSON merge patch (RFC 7396) and JSON patch (RFC 6902) on decoded JSON; inputs are not changed,
and what stays the same is shared with them."""

from __future__ import annotations

from typing import Any

from drover.api.status import BadRequest, Invalid
from drover.sim.api.frozen import copied


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, lists are replaced whole."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises Invalid when an operation does not apply, BadRequest when it is none."""
    if not isinstance(operations, list):
        raise BadRequest("a JSON patch is a list of operations", "BadRequest")
    document = {"": copied(target)}  # a holder, so that the root can be replaced too
    for operation in operations:
        _apply(document, operation)
    return document[""]


def _apply(document: dict[str, Any], operation: Any) -> None:
    verb = operation.get("op")
    path = _tokens(operation.get("path", ""))
    if verb == "add":
        _add(document, path, copied(operation.get("value")))
    elif verb == "remove":
        _remove(document, path)
    elif verb == "replace":
        _remove(document, path)
        _add(document, path, copied(operation.get("value")))
    elif verb == "test":
        if _get(document, path) != operation.get("value"):
            raise Invalid(f"test failed at {operation.get('path')}", "Invalid")
    elif verb == "copy":
        _add(document, path, copied(_get(document, _tokens(operation.get("from", "")))))
    elif verb == "move":
        _add(document, path, _remove(document, _tokens(operation.get("from", ""))))
    else:
        raise BadRequest(f"unknown operation {verb!r}", "BadRequest")


def _tokens(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]


def _get(document: Any, path: list[str]) -> Any:
    node = document
    for token in path:
        try:
            node = node[int(token)] if isinstance(node, list) else node[token]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Invalid(f"no such path: {'/'.join(path)}", "Invalid") from None
    return node


def _add(document: Any, path: list[str], value: Any) -> None:
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        at = len(parent) if last == "-" else _index(last, len(parent) + 1)
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise Invalid(f"no such path: {'/'.join(path)}", "Invalid")


def _remove(document: Any, path: list[str]) -> Any:
    value = _get(document, path)
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        return parent.pop(_index(path[-1], len(parent)))
    del parent[path[-1]]
    return value


def _index(token: str, limit: int) -> int:
    if not token.isdigit() or int(token) >= limit:
        raise Invalid(f"no such index: {token}", "Invalid")
    return int(token)
