"""Admission of operations: who must wait, who may supersede."""

from __future__ import annotations

from typing import Any

import pytest

from drover.controllers.vmop.review import refusal
from drover.controllers.webhook import Caution, Refusal, answer


def vmop(kind: str, name: str = "old", phase: str = "InProgress", force: bool | None = None) -> Any:
    spec: dict[str, Any] = {"type": kind, "virtualMachineName": "vm"}
    if force is not None:
        spec["force"] = force
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


def create(kind: str, force: bool | None = None) -> Any:
    return {"uid": "1", "operation": "CREATE", "object": vmop(kind, "", "", force)}


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        (vmop("Evict"), create("Evict"), False),
        (vmop("Evict", phase="Terminating"), create("Evict"), False),
        (vmop("Evict", phase="Completed"), create("Evict"), True),
        (vmop("Evict"), create("Stop"), True),
        (vmop("Migrate"), create("Restart"), True),
        (vmop("Start"), create("Stop"), True),
        (vmop("Start"), create("Evict"), False),
        (vmop("Stop"), create("Stop", force=True), True),
        (vmop("Stop", force=True), create("Restart", force=True), False),
        (vmop("Restart"), create("Start"), False),
    ],
)
def test_matrix(old: Any, new: Any, allowed: bool) -> None:
    why = refusal(new, [old])
    assert (why is None) is allowed
    if why is not None:
        assert '"old" should finish first' in why


def test_only_creation_is_reviewed() -> None:
    assert refusal({**create("Evict"), "operation": "UPDATE"}, [vmop("Evict")]) is None


def test_the_answer_names_the_review() -> None:
    review = {"apiVersion": "admission.k8s.io/v1", "request": {"uid": "7"}}
    refused = answer(review, Refusal("no", 429, "TooManyRequests"))
    assert refused["response"]["uid"] == "7"
    assert refused["response"]["allowed"] is False
    assert refused["response"]["status"]["code"] == 429
    assert answer(review, None)["response"] == {"uid": "7", "allowed": True}
    cautioned = answer(review, Caution("well"))["response"]
    assert cautioned == {"uid": "7", "allowed": True, "warnings": ["well"]}
