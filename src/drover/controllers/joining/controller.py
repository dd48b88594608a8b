"""Wiring of the joining controller."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import urllib.parse
from dataclasses import replace

from drover.api import names, scheme
from drover.api.meta import annotations_of, name_of
from drover.api.status import AlreadyExists, Conflict, NotFound
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.controllers.config import ControllersConfig
from drover.controllers.joining import decide
from drover.controllers.joining.decide import BOOTSTRAP_USER, View, Wish
from drover.runtime import csr, pki
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager

TOKEN_PREFIX = "bootstrap-token-"
CLUSTER = "drover-cluster"  # the ConfigMap that tells a new host what it has to know
SPACE = "drover-system"
_REASON = "DroverJoining"


class Joining:
    """One pass over one request."""

    def __init__(self, manager: Manager, authority: pki.Authority, api_server: str) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._log = manager.log.bind(controller="joining")
        self._authority = authority
        self._api_server = urllib.parse.urlsplit(api_server).hostname or ""
        self.requests = manager.informer(scheme.CSR)
        self.nodes = manager.informer(scheme.NODE)

    async def reconcile(self, key: str) -> Outcome:
        request = self.requests.get(key)
        if request is None:
            return Done()
        wish = wish_of(request)
        token = await self._token(wish)
        match decide.decide(self._view(request, wish, token)):
            case decide.Deny(message):
                await self._answer(request, "Denied", message)
            case decide.Claim(used_by) if token is not None:
                await self._claim(token, used_by)
                await self._answer(request, "Approved", f"the token serves {used_by}")
            case decide.Approve():
                await self._answer(request, "Approved", "it asks for what is its own")
            case decide.Sign():
                await self._sign(request)
        return Done()

    def _view(self, request: Object, wish: Wish, token: Object | None) -> View:
        status = request.get("status") or {}
        said = {condition["type"] for condition in status.get("conditions") or []}
        own = wish.user.removeprefix(names.NODE_USER_PREFIX)
        taken = {
            address["address"]
            for node in self.nodes.all()
            if name_of(node) != own
            for address in (node.get("status") or {}).get("addresses") or []
        }
        return View(
            wish,
            approved="Approved" in said,
            denied=bool(said & {"Denied", "Failed"}),
            issued=bool(status.get("certificate")),
            nodes=frozenset(name_of(node) for node in self.nodes.all()),
            taken=frozenset(taken | {self._api_server}),
            used_by=None
            if token is None
            else annotations_of(token).get(names.TOKEN_USED_ANNOTATION, ""),
        )

    async def _token(self, wish: Wish) -> Object | None:
        if not wish.user.startswith(BOOTSTRAP_USER):
            return None
        name = TOKEN_PREFIX + wish.user.removeprefix(BOOTSTRAP_USER)
        try:
            return await self._client.get(scheme.SECRET, name, "kube-system")
        except NotFound:
            return None

    async def _claim(self, token: Object, used_by: str) -> None:
        """As it was read: of two hosts with one token the second meets a Conflict, and is denied at the next look."""
        patch = {"metadata": {"annotations": {names.TOKEN_USED_ANNOTATION: used_by}}}
        await self._client.patch(scheme.SECRET, name_of(token), "kube-system", patch, version=token)

    async def _answer(self, request: Object, kind: str, message: str) -> None:
        now = rfc3339(self._clock.wall())
        condition = {"type": kind, "status": "True", "reason": _REASON, "message": message}
        condition |= {"lastUpdateTime": now, "lastTransitionTime": now}
        status = {**(request.get("status") or {}), "conditions": [condition]}
        written = await self._client.replace(
            scheme.CSR, {**request, "status": status}, subresource="approval"
        )
        self.requests.observe(written)
        self._log.info("request answered", request=name_of(request), answer=kind, why=message)

    async def _sign(self, request: Object) -> None:
        now = datetime.datetime.fromtimestamp(self._clock.wall(), datetime.UTC)
        pem = base64.b64decode(request["spec"]["request"])
        cert = csr.sign_request(self._authority, pem, now)
        status = {**(request.get("status") or {}), "certificate": base64.b64encode(cert).decode()}
        written = await self._client.replace(
            scheme.CSR, {**request, "status": status}, subresource="status"
        )
        self.requests.observe(written)


def wish_of(request: Object) -> Wish:
    spec = request["spec"]
    signer, user = spec["signerName"], spec.get("username", "")
    usages = frozenset(spec.get("usages") or [])
    wish = Wish(
        signer,
        user,
        usages,
        by_our_token=names.BOOTSTRAP_GROUP in (spec.get("groups") or []),
        by_our_agent=name_of(request).startswith(names.REQUEST_PREFIX),
    )
    try:
        asked = csr.read_request(base64.b64decode(spec["request"]))
    except ValueError as error:
        return replace(wish, problem=str(error))
    return replace(
        wish,
        common_name=asked.common_name,
        organizations=asked.organizations,
        dns=asked.dns,
        addresses=asked.addresses,
        key=asked.key,
    )


class Facts:
    """Keeps the ConfigMap with what a new host has to know."""

    def __init__(
        self, manager: Manager, authority: pki.Authority, config: ControllersConfig
    ) -> None:
        self._client = manager.client
        network = ipaddress.IPv4Network(config.vm_cidr)
        self._data = {
            "migration-ca.crt": pki.cert_pem(authority.cert).decode(),
            "vm-cidr": str(network),
            "vm-gateway": config.vm_gateway,
        }
        self.maps = manager.informer(scheme.CONFIGMAP, namespace=SPACE)

    async def reconcile(self, _: str) -> Outcome:
        found = self.maps.get(f"{SPACE}/{CLUSTER}")
        wanted = {"metadata": {"name": CLUSTER, "namespace": SPACE}, "data": self._data}
        try:
            if found is None:
                await self._client.create(scheme.CONFIGMAP, wanted)
            elif found.get("data") != self._data:
                await self._client.replace(scheme.CONFIGMAP, {**found, "data": self._data})
        except (AlreadyExists, Conflict):
            pass  # another process of ours was faster; the watch will tell
        return Done()


def wire(
    manager: Manager, authority: pki.Authority, api_server: str, config: ControllersConfig
) -> None:
    """Register both. ``authority`` signs migration streams."""
    made = Joining(manager, authority, api_server)
    controller = Controller("joining", made.reconcile)
    controller.watch(made.requests, lambda request: [name_of(request)])
    manager.add(controller)
    facts = Facts(manager, authority, config)
    told = Controller("cluster-facts", facts.reconcile)
    told.watch(
        facts.maps, lambda _: [CLUSTER]
    )  # Kubernetes puts one into each namespace, so there is a first
    manager.add(told)
