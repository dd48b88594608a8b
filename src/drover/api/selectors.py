"""Label and field selectors as Kubernetes writes them in queries. Pure.

Labels: ``a=b``, ``a==b``, ``a!=b``, ``a``, ``!a``, ``a in (b,c)``, ``a notin (b,c)``, joined by
commas. Fields: ``metadata.name=x``, ``spec.nodeName!=y``: any path of plain keys; an absent field
equals the empty text.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drover.api.wire import Object

_SET = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")
_EQUALITY = re.compile(r"([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)")


class BadSelector(ValueError):
    """The text is no selector."""


@dataclass(frozen=True)
class Requirement:
    """``values`` is None when only presence counts; ``wanted`` False turns the requirement
    round.
    """

    key: str
    values: tuple[str, ...] | None
    wanted: bool = True

    def holds(self, actual: str | None) -> bool:
        found = actual is not None and (self.values is None or actual in self.values)
        return found is self.wanted


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Requirement, ...]:
    """All requirements, which must hold together. Raises BadSelector."""
    parts = re.split(r",(?![^(]*\))", text)
    return tuple(_requirement(part.strip()) for part in parts if part.strip())


def _requirement(part: str) -> Requirement:
    if match := _SET.fullmatch(part):
        values = tuple(value.strip() for value in match.group(3).split(","))
        return Requirement(match.group(1), values, match.group(2) == "in")
    if match := _EQUALITY.fullmatch(part):
        return Requirement(match.group(1), (match.group(3),), match.group(2) != "!=")
    if re.fullmatch(r"!?[^=!\s(),]+", part):
        return Requirement(part.removeprefix("!"), None, not part.startswith("!"))
    raise BadSelector(f"{part!r} is no selector; write for example app=web or app in (a,b)")


def matches_labels(selector: str, obj: Object) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(requirement.holds(labels.get(requirement.key)) for requirement in parse(selector))


def matches_fields(selector: str, obj: Object) -> bool:
    return all(requirement.holds(_field(obj, requirement.key)) for requirement in parse(selector))


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return "" if value is None else str(value)
