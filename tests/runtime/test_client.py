"""Verbs: what they send, and what they refuse to send."""

from __future__ import annotations

import pytest
from tests.runtime.fake_api import FakeApi, pod

from drover.api.scheme import CONFIGMAP, NODE, POD
from drover.api.status import (
    ApiError,
    Conflict,
    Gone,
    TooManyRequests,
)
from drover.api.wire import Object, Response
from drover.base.checks import InvariantBroken
from drover.base.ids import SeededIds
from drover.runtime.client import PAGE_ITEMS, Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run


def new_client() -> Client:
    return Client(ApiModel(SimClock(), SeededIds(0)).transport())


def config(name: str, **data: str) -> Object:
    return {"metadata": {"namespace": "default", "name": name}, "data": data}


def test_writes_carry_the_version_read() -> None:
    async def main() -> None:
        client = new_client()
        first = await client.create(CONFIGMAP, config("a", n="1"))
        second = await client.patch(CONFIGMAP, "a", "default", {"data": {"n": "2"}}, version=first)
        with pytest.raises(Conflict):
            await client.patch(CONFIGMAP, "a", "default", {"data": {"n": "3"}}, version=first)
        with pytest.raises(Conflict):
            await client.replace(CONFIGMAP, first)
        await client.delete(CONFIGMAP, "a", "default", uid=second["metadata"]["uid"])
        await client.create(CONFIGMAP, config("a", n="new"))
        for write in (client.replace, lambda kind, obj: client.patch(
            kind, "a", "default", {"data": {"n": "4"}}, version=obj)):  # fmt: skip
            with pytest.raises(ApiError):
                await write(CONFIGMAP, second)
        assert (await client.get(CONFIGMAP, "a", "default"))["data"] == {"n": "new"}
        with pytest.raises(InvariantBroken):
            await client.replace(CONFIGMAP, config("a"))

    run(main())


async def test_lists_page_by_page_and_names_the_kind_of_each_item() -> None:
    api = FakeApi()
    pages = [
        {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [pod("a", 1)]},
        {"metadata": {"resourceVersion": "7"}, "items": [pod("b", 2)]},
    ]
    api.answers = [Response(200, page) for page in pages]
    items, version = await Client(api).list(POD, "a", labels="x=y", fields="spec.nodeName=n")
    assert version == "7"
    assert [(item["kind"], item["metadata"]["name"]) for item in items] == [
        ("Pod", "a"),
        ("Pod", "b"),
    ]
    first, second = api.requests
    assert first.path == "/api/v1/namespaces/a/pods"
    assert first.query == {
        "labelSelector": "x=y", "fieldSelector": "spec.nodeName=n", "limit": str(PAGE_ITEMS)
    }  # fmt: skip
    assert second.query == {**first.query, "continue": "next"}


async def test_a_list_that_outlives_its_version_is_gone() -> None:
    api = FakeApi()
    page = {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": []}
    api.answers = [Response(200, page), Response(410, {"reason": "Expired"})]
    with pytest.raises(Gone):
        await Client(api).list(NODE)


async def test_delete_states_its_preconditions() -> None:
    api = FakeApi()
    await Client(api).delete(
        POD, "a", "ns", uid="u", resource_version="5", grace_s=0, propagation="Background"
    )
    assert api.requests[0].path == "/api/v1/namespaces/ns/pods/a"
    assert api.requests[0].body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "u", "resourceVersion": "5"},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }


async def test_post_reaches_any_path() -> None:
    api = FakeApi()
    api.answers = [Response(429, {"reason": "TooManyRequests", "message": "wait"})]
    with pytest.raises(TooManyRequests, match="wait"):
        await Client(api).post("/api/v1/namespaces/a/pods/p/eviction", {"kind": "Eviction"})
    assert (api.requests[0].method, api.requests[0].body) == ("POST", {"kind": "Eviction"})
