"""``kubectl explain`` has words for every field of every kind, in every version that is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drover.api import manifest_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drover.api.wire import Object

# The API server describes these by itself.
STANDARD = ("apiVersion", "kind", "metadata")
VERSIONS = {
    f"{crd['spec']['names']['kind']} {version['name']}": version["schema"]["openAPIV3Schema"]
    for crd in manifest_files.crds()
    for version in crd["spec"]["versions"]
}


def fields(schema: Object, at: str = "") -> Iterator[tuple[str, Object]]:
    """Every field below a schema, through lists and maps, with its path."""
    for name, inner in (schema.get("properties") or {}).items():
        if at or name not in STANDARD:
            yield f"{at}.{name}", inner
            yield from fields(inner, f"{at}.{name}")
    for through in ("items", "additionalProperties"):
        inner = schema.get(through)
        if isinstance(inner, dict):
            yield from fields(inner, f"{at}[]")


@pytest.mark.parametrize("kind", VERSIONS)
def test_every_field_has_a_description(kind: str) -> None:
    assert VERSIONS[kind].get("description"), "the kind itself"
    bare = [path for path, schema in fields(VERSIONS[kind]) if not schema.get("description")]
    assert bare == []


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_field_that_is_refused_says_so(kind: str) -> None:
    """Whoever reads about it learns it before the API server refuses it."""
    for path, schema in fields(VERSIONS[kind]):
        rules = schema.get("x-kubernetes-validations") or []
        if any(rule["rule"] == "false" for rule in rules):
            assert schema["description"].startswith("Not supported"), path


def test_the_walk_reaches_fields_within_lists_and_maps() -> None:
    found = {path for path, _ in fields(VERSIONS["VirtualMachine v1alpha2"])}
    assert ".spec.blockDeviceRefs[].name" in found
    assert ".spec.tolerations[].effect" in found
    found = {path for path, _ in fields(VERSIONS["Descheduler v1alpha2"])}
    assert ".spec.strategies[].enabled" in found
