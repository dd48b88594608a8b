"""One node of a structural schema, read once and asked often.

``conform`` prunes unknown fields, fills in defaults, checks and freezes, in one walk. A part that
was found to conform to the same node before (the unchanged rest of an object that is written anew)
is not walked again.
"""

from __future__ import annotations

import re
from typing import Any

from drover.sim.api.frozen import FrozenDict, FrozenList, frozen

Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,),
    "integer": (int,), "number": (int, float),
}  # fmt: skip
_SIZES = ((str, "Length"), (list, "Items"), (dict, "Properties"))


class Shape:
    """A schema and those inside it."""

    def __init__(self, schema: Schema) -> None:
        self._inside = {key: Shape(one) for key, one in schema.get("properties", {}).items()}
        others = schema.get("additionalProperties")
        self._others = Shape(others) if isinstance(others, dict) else None
        self._free = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or others is not None
        self._items = Shape(schema["items"]) if "items" in schema else None
        self._defaults = {
            key: frozen(one["default"])
            for key, one in schema.get("properties", {}).items()
            if "default" in one
        }
        self._required = tuple(schema.get("required", ()))
        self._any = bool(schema.get("x-kubernetes-int-or-string"))
        wanted = schema.get("type")
        self._types = (int, str) if self._any else _TYPES.get(wanted or "", (object,))
        self._boolean = not self._any and wanted in (None, "boolean")
        self._nullable = bool(schema.get("nullable"))
        self._schema = schema
        self._bounded = any(
            key in schema for key in ("enum", "pattern", "minimum", "maximum")
        ) or any(f"{end}{noun}" in schema for end in ("min", "max") for _, noun in _SIZES)

    def conform(self, value: Any, path: str, errors: list[str]) -> Any:
        """What is stored of ``value``, frozen; what is wrong with it is added to ``errors``."""
        if getattr(value, "shape", None) is self:
            return value
        before = len(errors)
        found: Any = value
        if isinstance(value, dict):
            found = self._known(value)
        if self._good(found, path, errors):
            found = self._walk(found, path, errors)
        if isinstance(found, dict | list):
            found = frozen(found) if type(found) in (dict, list) else found
            if len(errors) == before:
                found.shape = self
        return found

    def _known(self, value: dict[str, Any]) -> dict[str, Any]:
        """Without unknown fields, with defaults."""
        inside = self._inside
        kept = {key: item for key, item in value.items() if self._free or key in inside}
        for key, default in self._defaults.items():
            kept.setdefault(key, default)
        return kept

    def _good(self, value: Any, path: str, errors: list[str]) -> bool:
        """Says what is wrong with the value itself; False: what is inside does not matter."""
        shown = path.removeprefix(".")
        if not isinstance(value, self._types) or (isinstance(value, bool) and not self._boolean):
            if not (value is None and self._nullable):
                errors.append(f"{shown}: Invalid type: {value!r}")
            return False
        if self._required and isinstance(value, dict):
            for key in self._required:
                if key not in value:
                    errors.append(f"{shown}.{key}: Required value".removeprefix("."))
        if self._bounded:
            errors += [f"{shown}: {error}" for error in _bounds(self._schema, value)]
        return True

    def _walk(self, value: Any, path: str, errors: list[str]) -> Any:
        """The same with everything inside conforming."""
        if isinstance(value, dict):
            inside, others = self._inside, self._others
            return FrozenDict({
                key: shape.conform(item, f"{path}.{key}", errors)
                if (shape := inside.get(key, others)) is not None
                else frozen(item)
                for key, item in value.items()
            })  # fmt: skip
        if isinstance(value, list):
            items = self._items
            if items is None:
                return frozen(value)
            return FrozenList(
                [items.conform(item, f"{path}[{at}]", errors) for at, item in enumerate(value)]
            )
        return value


def _bounds(schema: Schema, value: Any) -> list[str]:
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"Unsupported value: {value!r}")
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        found.append(f"Invalid value: {value!r}: should match {schema['pattern']}")
    if "minimum" in schema and isinstance(value, int) and value < schema["minimum"]:
        found.append(f"Invalid value: {value}: should be at least {schema['minimum']}")
    if "maximum" in schema and isinstance(value, int) and value > schema["maximum"]:
        found.append(f"Invalid value: {value}: should be at most {schema['maximum']}")
    for form, noun in _SIZES:
        if isinstance(value, form):
            size = len(value)
            if size < schema.get(f"min{noun}", 0):
                found.append(f"Too few: {size}")
            if size > schema.get(f"max{noun}", size):
                found.append(f"Too many: {size}")
    return found
