"""A real API server decides: a viewer's token sees and cannot act, a link has the rights of its kubeconfig."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.web.rig import browsing, everything, until, vm

from drover.api import scheme
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.runtime.client import Client
from drover.web.server import Options, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.engine import Engine

pytestmark = [pytest.mark.engine]


async def viewer_token(client: Client) -> str:
    """Of an account that has Kubernetes' own role `view`."""
    meta = {"name": "web-viewer", "namespace": "default"}
    await client.create(scheme.SERVICEACCOUNT, {"metadata": meta})
    await client.create(
        scheme.CLUSTERROLEBINDING,
        {
            "metadata": {"name": "web-viewer"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "view",
            },
            "subjects": [{"kind": "ServiceAccount", **meta}],
        },
    )
    await rights_hold(client)
    path = scheme.SERVICEACCOUNT.path("default", "web-viewer", "token")
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return str((await client.post(path, asked))["status"]["token"])


async def rights_hold(client: Client) -> None:
    """A binding holds a moment after it was made, and our kinds are in `view` a moment after they are there; a page
    asks once, when somebody logs in."""
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    listing = {"verb": "list", "group": scheme.VM.group, "resource": scheme.VM.plural}
    groups = ["system:serviceaccounts", "system:authenticated"]
    who = {"user": "system:serviceaccount:default:web-viewer", "groups": groups}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {**who, "resourceAttributes": listing},
    }
    async with asyncio.timeout(30):
        while not (await client.post(path, review))["status"]["allowed"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_rights_are_those_of_whoever_logs_in(engine: Engine) -> None:
    clock = RealClock()
    access = engine.access("drover-admin", ["system:masters"])
    transport = await access.transport(clock)
    client = Client(transport)
    codes: list[str] = []
    server = Server(Options(access), clock, RealIds(), Log(clock, lambda entry: None))
    server.invite(access, codes.append)
    try:
        token = await viewer_token(client)
        await client.create(scheme.VM, vm("web-one"))
        async with asyncio.timeout(60), server.running() as port:
            base = f"http://127.0.0.1:{port}"
            await _viewer(base, token)
            await _linked(base, codes[0])
    finally:
        await client.delete(scheme.VM, "web-one", "default")
        await client.delete(scheme.CLUSTERROLEBINDING, "web-viewer")
        await client.delete(scheme.SERVICEACCOUNT, "web-viewer", "default")
        await transport.aclose()


async def _viewer(base: str, token: str) -> None:
    async with browsing(base) as browser:
        assert (await browser.login(token=token[:-4] + "AAAA"))[0] == 401
        status, told = await browser.login(token=token)
        assert (status, told["user"]) == (200, "system:serviceaccount:default:web-viewer")
        assert set(told["may"].values()) == {False}
        async with browser.live() as events:
            assert "Node" in (await until(events, "state"))["missing"]
            assert (scheme.VM.kind, "default/web-one") in await _filled(events)
        status, told = await browser.act(act="stop", namespace="default", name="web-one")
        assert status == 403
        assert "web-viewer" in told["error"]
        assert "virtualmachineoperations" in told["error"]


async def _filled(events: AsyncIterator[tuple[str, Any]]) -> dict[tuple[str, str], Any]:
    """All rows, once something is there: the first telling may come before the first list."""
    rows = await everything(events)
    while (scheme.VM.kind, "default/web-one") not in rows:
        changes = await until(events, "changes")
        rows.update({(kind, key): row for kind, key, row in changes})
    return rows


async def _linked(base: str, code: str) -> None:
    async with browsing(base) as browser:
        status, told = await browser.login(code=code)
        assert (status, told["user"]) == (200, "drover-admin")
        assert set(told["may"].values()) == {True}
        status, told = await browser.act(act="start", namespace="default", name="web-one")
        assert status == 200, told
        name = told["said"].rpartition(" ")[2]
        assert (await browser.act(act="abort", namespace="default", name=name))[0] == 200
