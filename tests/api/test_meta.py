"""Owner references and finalizers."""

from __future__ import annotations

from typing import Any

from drover.api import meta
from drover.api.scheme import VM


def owned(*references: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "pod", "ownerReferences": list(references)}}


def test_ownership_is_of_an_incarnation_not_of_a_name() -> None:
    first = {"metadata": {"name": "vm", "uid": "1"}}
    again = {"metadata": {"name": "vm", "uid": "2"}}
    pod = owned(meta.owner_reference(VM, again, controller=False), meta.owner_reference(VM, first))
    assert meta.is_controlled_by(pod, first)
    assert not meta.is_controlled_by(pod, again)
    assert not meta.is_controlled_by(owned(), {"metadata": {"name": "vm"}})
    reference = meta.controller_of(pod)
    assert reference is not None
    assert reference["apiVersion"] == "virtualization.deckhouse.io/v1alpha2"


def test_finalizers_are_added_once_and_removed_without_touching_the_object() -> None:
    obj = {"metadata": {"name": "x", "finalizers": ["a"]}}
    assert meta.with_finalizer(obj, "b") == ["a", "b"]
    assert meta.with_finalizer(obj, "a") == ["a"]
    assert meta.without_finalizer(obj, "a") == []
    assert obj["metadata"]["finalizers"] == ["a"]


def test_what_is_absent_reads_as_empty() -> None:
    obj = {"metadata": {"name": "x", "labels": None}}
    assert meta.labels_of(obj) == {}
    assert meta.annotations_of(obj) == {}
    assert meta.version_of(obj) == 0
    assert meta.namespace_of(obj) == ""
    assert not meta.is_deleting(obj)
    assert not meta.has_finalizer(obj, "a")
