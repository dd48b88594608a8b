"""From a request's path to what it means: kind, namespace, name, subresource."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drover.api.scheme import ALL, POD, Kind
from drover.api.status import NotFound
from drover.sim.api.rules import rules_of

if TYPE_CHECKING:
    from drover.api.wire import Request
    from drover.sim.api.admission import Caller

_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in ALL}
_POD_DOORS = ("binding", "eviction", "status")


@dataclass(frozen=True)
class Call:
    """A request understood."""

    caller: Caller
    method: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def dry(self) -> bool:
        return self.query.get("dryRun") == "All"

    def missing(self) -> NotFound:
        """The server's word for an object that is not there."""
        group = f".{self.kind.group}" if self.kind.group else ""
        return NotFound(f'{self.kind.plural}{group} "{self.name}" not found', "NotFound")


def parse(caller: Caller, request: Request) -> Call:
    """Raises NotFound for paths of no kind."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise _unknown()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = _BY_PATH.get((group, version, rest[0]))
    name, subresource = [*rest[1:], "", ""][:2]
    if kind is None or len(rest) > 3 or not _has_door(kind, subresource):
        raise _unknown()
    if bool(namespace) != kind.namespaced and (name or request.method == "POST" or namespace):
        raise _unknown()
    return Call(
        caller,
        request.method,
        kind,
        namespace,
        name,
        subresource,
        request.query,
        request.content_type,
    )


def _has_door(kind: Kind, subresource: str) -> bool:
    if kind == POD:
        return subresource in ("", *_POD_DOORS)
    return not subresource or (subresource == "status" and rules_of(kind).status)


def _unknown() -> NotFound:
    return NotFound("the server could not find the requested resource", "NotFound")
