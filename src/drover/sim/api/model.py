"""A model of the Kubernetes API server: the second implementation behind ``runtime.transport``.

``ApiModel`` answers requests at once and atomically, one after the other, in virtual time;
delays, losses and cuts are ``sim.net``'s business. It knows verbs, versions, finalizers, graceful
deletion, status subresources, watches, binding, eviction and our admission rules. It does not
know RBAC (beyond what nodes may write), schemas (beyond our rules), paging, strategic patches or
server-side apply; what it does know is held against the real server by ``tests/contract``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drover.api import scheme
from drover.api.names import NODE_LEASE_NAMESPACE, SYSTEM_NAMESPACE
from drover.api.status import ApiError, BadRequest, NotFound
from drover.api.wire import Response
from drover.sim.api import reads, writes
from drover.sim.api.admission import Caller, Review
from drover.sim.api.frozen import copied
from drover.sim.api.policies import default_admissions
from drover.sim.api.routes import Call, parse
from drover.sim.api.schema import priority_classes
from drover.sim.api.store import HISTORY, Store
from drover.sim.api.transport import ModelTransport
from drover.sim.api.watch import Watch, status_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from drover.api.scheme import Kind
    from drover.api.wire import Object, Request
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.sim.api.admission import Admission

NAMESPACES = ("default", "kube-system", NODE_LEASE_NAMESPACE, SYSTEM_NAMESPACE)
STAGEHAND = Caller("stagehand")
MASTERS = Caller("drover-admin", ("system:masters",))


class ApiModel:
    """One API server with its storage."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        history: int = HISTORY,
        namespaces: Iterable[str] = NAMESPACES,
        admissions: list[Admission] | None = None,
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.store = Store(history)
        self.admissions = default_admissions() if admissions is None else admissions
        self.eviction_review: Callable[[Object], Awaitable[None]] | None = None
        self._watches: dict[Watch, None] = {}
        for name in namespaces:
            writes.create(
                self, Call(MASTERS, "POST", scheme.NAMESPACE), {"metadata": {"name": name}}
            )

    def transport(
        self, user: str = MASTERS.user, groups: Iterable[str] = MASTERS.groups
    ) -> ModelTransport:
        """A door for one identity."""
        return ModelTransport(self, Caller(user, tuple(groups)))

    def install(self) -> None:
        """What our manifests put there beside kinds, rights and policies: the PriorityClasses."""
        for priority in priority_classes():
            writes.create(self, Call(MASTERS, "POST", scheme.PRIORITYCLASS), copied(priority))

    def stagehand(self) -> ModelTransport:
        """A door that no admission rule guards, for tests that play several parties at once."""
        return ModelTransport(self, STAGEHAND)

    def admit(self, review: Review) -> None:
        """Ask every rule. Raises what the first refusing one raises."""
        if review.caller is STAGEHAND:
            return
        for admission in self.admissions:
            admission(review)

    async def answer(self, caller: Caller, request: Request) -> Response:
        """Carry out one request. HTTP errors come back as a Response."""
        try:
            call = parse(caller, request)
            if call.subresource == "eviction" and self.eviction_review is not None:
                pod = reads.get(self, call)
                await self.eviction_review(pod)
            code, body = self._carry_out(call, request.body)
        except ApiError as error:
            return Response(error.code, status_body(error))
        return Response(code, body)

    def _carry_out(self, call: Call, body: Any) -> tuple[int, Object]:
        if call.method == "GET":
            return 200, reads.get(self, call) if call.name else reads.list_all(self, call)
        if call.method == "POST":
            return 201, self._post(call, copied(body or {}))
        if call.method == "PUT":
            return writes.replace(self, call, body)
        if call.method == "PATCH":
            return 200, writes.patch(self, call, body)
        if call.method == "DELETE" and call.name:
            return 200, writes.delete(self, call, body or {})
        raise ApiError("the server does not allow this method", "MethodNotAllowed", 405)

    def _post(self, call: Call, body: Object) -> Object:
        if not call.name:
            return writes.create(self, call, body)
        if call.kind == scheme.POD and call.subresource == "binding":
            return writes.bind(self, call, body)
        if call.kind == scheme.POD and call.subresource == "eviction":
            return writes.evict(self, call, body)
        raise NotFound("the server could not find the requested resource", "NotFound")

    def watch(self, caller: Caller, request: Request) -> Watch:
        """Begin a watch. Raises ApiError kinds."""
        call = parse(caller, request)
        watch = Watch(
            self.store,
            reads.selection(call),
            _resume_after(call),
            call.query.get("allowWatchBookmarks") == "true",
        )
        self._watches[watch] = None
        return watch

    def end_watch(self, watch: Watch) -> None:
        self._watches.pop(watch, None)

    def break_watches(self) -> None:
        """The server restarts: every watch's connection breaks, nothing stored is lost."""
        for watch in self._watches:
            watch.break_off()

    def objects(self, kind: Kind, namespace: str = "") -> list[Object]:
        """What is stored, for checkers; not to be changed."""
        return self.store.all(kind, namespace)


def _resume_after(call: Call) -> int | None:
    text = call.query.get("resourceVersion", "")
    if text in ("", "0"):
        return None
    if not text.isdigit():
        raise BadRequest(f"invalid resource version {text!r}", "BadRequest")
    return int(text)
