"""Structural schemas of our own kinds, read from the CustomResourceDefinitions of
``api/manifests``.

An object is pruned (unknown fields vanish without a word, as on the server), given its defaults,
and validated. CEL rules are not evaluated: those that matter here have twins in ``admission``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from drover.api import manifest_files
from drover.api.scheme import PRIORITYCLASS
from drover.api.status import Invalid
from drover.sim.api.shapes import Shape

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object

Schema = dict[str, Any]


@functools.cache
def schema_of(kind: Kind) -> Schema | None:
    """The schema of a kind of ours, or None for kinds without a definition."""
    return _schemas().get((kind.group, kind.version, kind.plural))


@functools.cache
def _shape_of(kind: Kind) -> Shape | None:
    schema = schema_of(kind)
    return None if schema is None else Shape(schema)


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


def conform(kind: Kind, obj: Object) -> Object:
    """The object pruned, with defaults, validated but for its metadata. Raises Invalid."""
    shape = _shape_of(kind)
    if shape is None:
        return obj
    metadata = obj["metadata"]
    errors: list[str] = []
    rest = {key: item for key, item in obj.items() if key != "metadata"}
    found = shape.conform(rest, "", errors)
    if errors:
        name = metadata.get("name", "")
        raise Invalid(
            f'{kind.kind}.{kind.group} "{name}" is invalid: {"; ".join(errors)}', "Invalid"
        )
    return {**found, "metadata": metadata}
