"""Structural schemas of our own kinds, read from the CustomResourceDefinitions of
``api/manifests``.

An object is pruned (unknown fields vanish without a word, as on the server), given its defaults,
and validated. CEL rules are not evaluated: those that matter here have twins in ``admission``.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from drover.api import manifest_files
from drover.api.scheme import PRIORITYCLASS
from drover.api.status import Invalid
from drover.sim.api.store import copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drover.api.scheme import Kind
    from drover.api.wire import Object

Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


@functools.cache
def schema_of(kind: Kind) -> Schema | None:
    """The schema of a kind of ours, or None for kinds without a definition."""
    return _schemas().get((kind.group, kind.version, kind.plural))


@functools.cache
def priority_classes() -> tuple[Object, ...]:
    """Those that every installation has."""
    found = manifest_files.built_in()
    return tuple(obj for obj in found if obj["kind"] == PRIORITYCLASS.kind)


@functools.cache
def _schemas() -> dict[tuple[str, str, str], Schema]:
    return {
        (crd["spec"]["group"], version["name"], crd["spec"]["names"]["plural"]): version["schema"][
            "openAPIV3Schema"
        ]
        for crd in manifest_files.crds()
        for version in crd["spec"]["versions"]
    }


def conform(kind: Kind, obj: Object) -> None:
    """Prune, default and validate spec and status (in place). Raises Invalid."""
    schema = schema_of(kind)
    if schema is None:
        return
    metadata = obj.pop("metadata")
    _prune(schema, obj)
    _default(schema, obj)
    errors = list(_errors(schema, obj, ""))
    obj["metadata"] = metadata
    if errors:
        name = metadata.get("name", "")
        raise Invalid(
            f'{kind.kind}.{kind.group} "{name}" is invalid: {"; ".join(errors)}', "Invalid"
        )


def _children(schema: Schema, value: Any) -> Iterator[tuple[str, Schema, Any]]:
    """Path part, schema and value of everything directly inside that has a schema."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for key, item in value.items():
            inner = known.get(key, others if isinstance(others, dict) else None)
            if inner is not None:
                yield f".{key}", inner, item
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield f"[{index}]", schema["items"], item


def _prune(schema: Schema, value: Any) -> None:
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(value, dict) and not free:
        for key in [key for key in value if key not in schema.get("properties", {})]:
            del value[key]
    for _, inner, item in _children(schema, value):
        _prune(inner, item)


def _default(schema: Schema, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key not in value and "default" in inner:
                value[key] = copied(inner["default"])
    for _, inner, item in _children(schema, value):
        _default(inner, item)


def _errors(schema: Schema, value: Any, path: str) -> Iterator[str]:
    shown = path.removeprefix(".")
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        good = isinstance(value, int | str) and not isinstance(value, bool)
    else:
        boolean = isinstance(value, bool) and wanted != "boolean"
        good = wanted is None or (isinstance(value, _TYPES[wanted]) and not boolean)
    if not good:
        if not (value is None and schema.get("nullable")):
            yield f"{shown}: Invalid type: {value!r}"
        return
    for key in schema.get("required", ()):
        if isinstance(value, dict) and key not in value:
            yield f"{shown}.{key}: Required value".removeprefix(".")
    yield from (f"{shown}: {error}" for error in _bounds(schema, value))
    for part, inner, item in _children(schema, value):
        yield from _errors(inner, item, path + part)


def _bounds(schema: Schema, value: Any) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"Unsupported value: {value!r}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"Invalid value: {value!r}: should match {schema['pattern']}"
    if "minimum" in schema and isinstance(value, int) and value < schema["minimum"]:
        yield f"Invalid value: {value}: should be at least {schema['minimum']}"
    if "maximum" in schema and isinstance(value, int) and value > schema["maximum"]:
        yield f"Invalid value: {value}: should be at most {schema['maximum']}"
    size = len(value) if isinstance(value, str | list | dict) else 0
    for form, noun in ((str, "Length"), (list, "Items"), (dict, "Properties")):
        if isinstance(value, form):
            if size < schema.get(f"min{noun}", 0):
                yield f"Too few: {size}"
            if size > schema.get(f"max{noun}", size):
                yield f"Too many: {size}"
