"""Asks the real kube-scheduler what it thinks of a Pod, without letting it place one.

An etcd, an API server and a scheduler of the engine, and nothing else: no controller changes nodes or Pods, so a
population stands still. The scheduler is given an extender, to which it shows every node that passed its filters; ours
notes them and takes none, so that the Pod stays pending with a message that counts all refusals. Together these are
the whole verdict. Nodes and Pods of a population carry its number, and a first Pod that only wants this number tells
when the scheduler has seen them all.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.support.engine import ADMIN, START_S, Engine

from drover.api import scheme
from drover.api.status import NotFound
from drover.api.wire import Object, Request
from drover.base.clock import RealClock
from drover.base.tasks import all_of
from drover.runtime.client import Client
from drover.runtime.transport import Transport
from drover.server.bootstrap import wait_api

NAMESPACES: dict[str, dict[str, str]] = {
    "red": {"team": "sea", "env": "prod"},
    "green": {"team": "wood", "env": "prod"},
    "blue": {"team": "sea"},
}
POPULATION = "population"  # label of nodes
ROLE = "role"  # label of the Pods that come
TAKEN = "taken by nobody"  # the extender's word on a node that passed
PRIORITY = "asking"
VERDICT_S = 60.0
AT_ONCE = 12


@dataclass(frozen=True)
class Population:
    """Nodes, Pods that are there (each names its node), as objects for the API."""

    nodes: list[Object]
    pods: list[Object]


@dataclass(frozen=True)
class Answer:
    """What the scheduler said of one Pod, and the Pod as the API server stored it."""

    pod: Object
    nodes: frozenset[str]
    message: str


@dataclass(frozen=True)
class Answers:
    """On one population, whose objects are as the API server stored them."""

    nodes: list[Object]
    pods: list[Object]
    answers: list[Answer]


class ProbeEngine(Engine):
    """Starts neither the controller manager nor our manifests."""

    def __init__(self, binary: Path, directory: Path, extender_port: int) -> None:
        super().__init__(binary, directory)
        self._extender_port = extender_port

    async def _wait_ready(self) -> None:
        transport = await self.access(*ADMIN).transport(RealClock())
        try:
            await wait_api(transport, RealClock(), START_S, self._check_children)
            await _prepare(Client(transport))
        finally:
            await transport.aclose()
        self._spawn("scheduler", [f"--config={self._config()}", "--secure-port=0"])

    def _apiserver_flags(self) -> list[str]:
        unwanted = "ServiceAccount,TaintNodesByCondition"
        return [*super()._apiserver_flags(), f"--disable-admission-plugins={unwanted}"]

    def _config(self) -> Path:
        extender = {
            "urlPrefix": f"http://127.0.0.1:{self._extender_port}",
            "filterVerb": "filter",
            "nodeCacheCapable": True,
            "httpTimeout": "30s",
        }
        config = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {
                "kubeconfig": str(self.directory / "pki" / "scheduler.kubeconfig"),
                "qps": 2000,
                "burst": 4000,
            },
            "extenders": [extender],
        }
        path = self.directory / "scheduler.yaml"
        path.write_text(json.dumps(config))
        return path


async def _prepare(client: Client) -> None:
    for name, labels in NAMESPACES.items():
        await client.create(scheme.NAMESPACE, {"metadata": {"name": name, "labels": labels}})
    quiet = {"metadata": {"name": PRIORITY}, "value": 10, "preemptionPolicy": "Never"}
    await client.create(scheme.PRIORITYCLASS, quiet)


class Extender:
    """The scheduler's extender: which nodes it was shown, by name of the Pod."""

    def __init__(self, port: int) -> None:
        self.shown: dict[str, frozenset[str]] = {}
        self._port = port
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/filter", self._filter)
        self._runner = web.AppRunner(application)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _filter(self, request: web.Request) -> web.Response:
        asked = await request.json()
        names = asked["NodeNames"] or []
        self.shown[asked["Pod"]["metadata"]["name"]] = frozenset(names)
        refused = dict.fromkeys(names, TAKEN)
        return web.json_response({"NodeNames": [], "FailedNodes": refused, "Error": ""})


class Probe:
    """One scheduler to ask, population after population."""

    def __init__(self, transport: Transport, extender: Extender) -> None:
        self._transport = transport
        self._client = Client(transport)
        self._extender = extender
        self._number = 0

    async def ask(self, population: Population, coming: list[Object]) -> Answers:
        """What the scheduler thinks of each of ``coming``, none of which it may place."""
        self._number += 1
        here = f"p{self._number}"
        try:
            nodes = await self._create(scheme.NODE, [_labelled(n, here) for n in population.nodes])
            pods = await self._create(scheme.POD, population.pods)
            pods = await self._age(pods)
            await self._until_seen(here, len(nodes))
            named = [_coming(pod, f"{here}-{number}") for number, pod in enumerate(coming)]
            sent = await self._create(scheme.POD, named)
            return Answers(nodes, pods, await self._answers(sent))
        finally:
            await self._clear()

    async def _create(self, kind: scheme.Kind, objects: list[Object]) -> list[Object]:
        made: dict[int, Object] = {}

        async def create(number: int) -> None:
            made[number] = await self._client.create(kind, objects[number])

        for start in range(0, len(objects), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(objects)))
            await all_of(*(create(number) for number in numbers))
        return [made[number] for number in range(len(objects))]

    async def _age(self, pods: list[Object]) -> list[Object]:
        """Some Pods have ended, some are being deleted: an annotation says which."""
        aged = []
        for pod in pods:
            meta = pod["metadata"]
            fate = (meta.get("annotations") or {}).get("fate")
            if fate == "ended":
                ended = {"status": {"phase": "Succeeded"}}
                pod = await self._client.patch(
                    scheme.POD, meta["name"], meta["namespace"], ended, subresource="status"
                )
            elif fate == "leaving":
                await self._client.delete(scheme.POD, meta["name"], meta["namespace"], grace_s=600)
                pod = await self._client.get(scheme.POD, meta["name"], meta["namespace"])
            aged.append(pod)
        return aged

    async def _until_seen(self, here: str, nodes: int) -> None:
        """Ask for this population's number until no other node, and each of its own, is known."""
        for attempt in range(200):
            spec = {"nodeSelector": {POPULATION: here}, "tolerations": [{"operator": "Exists"}]}
            barrier = {"metadata": {"namespace": "red"}, "spec": spec}
            sent = await self._create(scheme.POD, [_coming(barrier, f"{here}-seen-{attempt}")])
            answer = (await self._answers(sent))[0]
            if answer.message.startswith(f"0/{nodes} ") and "node affinity" not in answer.message:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the scheduler does not see population {here}: {answer.message}")

    async def _answers(self, sent: list[Object]) -> list[Answer]:
        waiting = {pod["metadata"]["name"]: pod for pod in sent}
        found: dict[str, Answer] = {}
        async with asyncio.timeout(VERDICT_S):
            while waiting:
                await asyncio.sleep(0.02 if len(waiting) < 10 else 0.2)
                pods, _ = await self._client.list(scheme.POD, labels=ROLE)
                for pod in pods:
                    name, message = pod["metadata"]["name"], _message(pod)
                    if name in waiting and message is not None:
                        nodes = self._extender.shown.get(name, frozenset())
                        found[name] = Answer(waiting.pop(name), nodes, message)
        return [found[pod["metadata"]["name"]] for pod in sent]

    async def _clear(self) -> None:
        """Remove every Pod and node, at once."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        for namespace in NAMESPACES:
            await self._raw("DELETE", scheme.POD.path(namespace), options)
        left, _ = await self._client.list(scheme.POD)
        for pod in left:
            with suppress(NotFound):
                free = {"metadata": {"finalizers": None}}
                meta = pod["metadata"]
                await self._client.patch(scheme.POD, meta["name"], meta["namespace"], free)
        await self._raw("DELETE", scheme.NODE.path(), options)

    async def _raw(self, method: str, path: str, body: Any) -> None:
        answer = await self._transport.send(Request(method, path, body=body, timeout_s=30.0))
        assert answer.status < 300, answer.body


def _labelled(node: Object, here: str) -> Object:
    meta = node["metadata"]
    return {**node, "metadata": {**meta, "labels": {**meta["labels"], POPULATION: here}}}


def _coming(pod: Object, name: str) -> Object:
    meta = pod["metadata"]
    labels = {**(meta.get("labels") or {}), ROLE: "coming"}
    spec = {"containers": [{"name": "c", "image": "none"}], **pod["spec"]}
    return {
        **pod,
        "metadata": {**meta, "name": name, "labels": labels},
        "spec": {**spec, "priorityClassName": PRIORITY},
    }


def _message(pod: Object) -> str | None:
    """What the scheduler wrote of the nodes; None: nothing yet."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            # Then it tells what might be gained by preemption, in sentences of their own.
            return condition["message"].split(". ")[0].rstrip(".") + "."
    assert not pod["spec"].get("nodeName"), "the scheduler placed a Pod although none was offered"
    return None
