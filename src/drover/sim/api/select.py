"""Label and field selectors as the server reads them from a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api import selectors
from drover.api.scheme import EVENT, NODE, POD, SECRET, Kind
from drover.api.status import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.api.wire import Object

_FIELDS = {
    POD: ("spec.nodeName", "status.phase", "spec.restartPolicy", "spec.schedulerName"),
    NODE: ("spec.unschedulable",),
    SECRET: ("type",),
    EVENT: ("involvedObject.uid", "involvedObject.name", "involvedObject.kind", "reason", "type"),
}


def label_matcher(selector: str) -> Callable[[Object], bool]:
    """Raises BadRequest."""
    try:
        requirements = selectors.parse(selector)
    except selectors.BadSelector as error:
        raise BadRequest(str(error), "BadRequest") from error

    def matches(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(requirement.holds(labels.get(requirement.key)) for requirement in requirements)

    return matches


def field_matcher(kind: Kind, selector: str) -> Callable[[Object], bool]:
    """Terms ``path=value`` and ``path!=value``, of the few fields that the server indexes."""
    terms: list[tuple[list[str], str, bool]] = []
    for term in filter(None, selector.split(",")):
        path, negative, value = _field_term(term)
        if path not in ("metadata.name", "metadata.namespace", *_FIELDS.get(kind, ())):
            raise BadRequest(f"field label not supported: {path}", "BadRequest")
        terms.append((path.split("."), value, negative))

    def matches(obj: Object) -> bool:
        return all((_text_at(obj, path) == value) != negative for path, value, negative in terms)

    return matches


def _field_term(term: str) -> tuple[str, bool, str]:
    path, separator, value = term.partition("=")
    if not separator:
        raise BadRequest(f"invalid field selector {term!r}", "BadRequest")
    return path.removesuffix("!"), path.endswith("!"), value.removeprefix("=")


def _text_at(obj: Object, path: list[str]) -> str:
    node: object = obj
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, bool):
        return "true" if node else "false"
    return "" if node is None else str(node)
