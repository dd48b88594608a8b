"""What the rebalancer goes by: ``read(ModuleConfig descheduler, Descheduler virtualization) -> Policy``. Pure.

No Descheduler: what ``manifests/descheduler.yaml`` says. The schema refuses what is wrong; on a platform with a
schema of its own it is found here and becomes a ``Problem``. A policy with problems moves nothing: a guess about where
somebody's VMs may go would be worse than waiting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.api import names
from drover.api.kinds.rebalance import Mode, Strategy
from drover.api.meta import name_of
from drover.controllers.planning import selector_of
from drover.controllers.settings import Problem
from drover.planner import Rule, Selector

MOST_S = 86_400
MOST_MOVES_PER_HOUR = 100_000
BY_DEFAULT_BELOW = 2_000_000_000  # the value of system-cluster-critical
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NODE_RULES = frozenset({Rule.NODE_AFFINITY, Rule.TAINT})
_POD_RULES = frozenset({Rule.AFFINITY, Rule.ANTI_AFFINITY, Rule.SPREAD})
_SERVED = (Strategy.LOW_NODE_UTILIZATION, Strategy.NODE_AFFINITY, Strategy.INTER_POD)
_EVERYTHING = Selector(())


@dataclass(frozen=True)
class Policy:
    """The defaults are those of an installation where nothing was set."""

    enabled: bool = False
    mode: Mode = Mode.AUTOMATIC
    settle_s: int = 60
    cooldown_s: int = 3600
    moves_per_hour: int = 200
    ceilings: Mapping[str, int] = field(default_factory=lambda: {"cpu": 80})  # percent
    repairs: frozenset[Rule] = frozenset({Rule.OVERLOAD}) | _NODE_RULES | _POD_RULES
    nodes: Selector = _EVERYTHING
    pods: Selector = _EVERYTHING
    namespaces: Selector = _EVERYTHING
    priority_below: int = BY_DEFAULT_BELOW
    local_storage: bool = True
    problems: tuple[Problem, ...] = ()

    @property
    def digest(self) -> str:
        """Of what a plan rests on: another one makes open plans old. When and how many is no part of it."""
        told = (
            self.mode,
            sorted(self.ceilings.items()),
            sorted(self.repairs),
            (self.nodes, self.pods, self.namespaces),
            (self.priority_below, self.local_storage),
        )
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def read(
    module_config: Mapping[str, Any] | None,
    descheduler: Mapping[str, Any] | None,
    priority_classes: Iterable[Mapping[str, Any]] = (),
) -> Policy:
    """None: there is no such object."""
    problems: list[Problem] = []
    found = _module(module_config, problems)
    if descheduler is not None:
        found |= _descheduler(descheduler.get("spec") or {}, priority_classes, problems)
    return Policy(**found, problems=tuple(problems))


def _module(config: Mapping[str, Any] | None, problems: list[Problem]) -> dict[str, Any]:
    spec = (config or {}).get("spec") or {}
    said = (spec.get("settings") or {}).get("rebalance") or {}
    found: dict[str, Any] = {"enabled": spec.get("enabled") is True}
    for field_, name, parse in _MODULE_SETTINGS:
        if field_ in said:
            where = f"ModuleConfig {names.REBALANCE_MODULE}: spec.settings.rebalance.{field_}"
            _take(name, where, said[field_], parse, found, problems)
    return found


def _mode(value: Any) -> Mode:
    try:
        return Mode(value)
    except ValueError as error:
        raise _Bad(f"must be one of {', '.join(Mode)}") from error


def _number(least: int, most: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _Bad(f"must be a whole number from {least} to {most}")
        return value

    return parse


class _Bad(ValueError):
    """``str()`` says what the value must be."""


_SECONDS = _number(1, MOST_S)
_MODULE_SETTINGS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("mode", "mode", _mode),
    ("settlingTime", "settle_s", _SECONDS),
    ("cooldown", "cooldown_s", _SECONDS),
    ("movesPerHour", "moves_per_hour", _number(1, MOST_MOVES_PER_HOUR)),
)


def _descheduler(
    spec: Mapping[str, Any], classes: Iterable[Mapping[str, Any]], problems: list[Problem]
) -> dict[str, Any]:
    strategies = spec.get("strategies") or {}
    for name in sorted(set(strategies) - set(Strategy)):
        problems.append(Problem(f"strategies.{name}", "is no known strategy"))
    on = {name for name, said in strategies.items() if said.get("enabled") is True}
    for name in sorted(on & set(Strategy) - set(_SERVED)):
        problems.append(Problem(f"strategies.{name}", "is not supported by drover yet"))
    repairs: set[Rule] = set()
    ceilings: dict[str, int] = {}
    if Strategy.LOW_NODE_UTILIZATION in on:
        repairs.add(Rule.OVERLOAD)
        ceilings = _ceilings(strategies[Strategy.LOW_NODE_UTILIZATION], problems)
    if Strategy.NODE_AFFINITY in on:
        kinds = strategies[Strategy.NODE_AFFINITY].get("nodeAffinityType") or [REQUIRED]
        for kind in sorted(set(kinds) - {REQUIRED}):
            problems.append(
                Problem(f"strategies.{Strategy.NODE_AFFINITY}", f"{kind} is not repaired")
            )
        repairs |= _NODE_RULES
    if Strategy.INTER_POD in on:
        repairs |= _POD_RULES
    return {
        "ceilings": ceilings,
        "repairs": frozenset(repairs),
        "nodes": _selects(spec, "nodeLabelSelector", problems),
        "pods": _selects(spec, "podLabelSelector", problems),
        "namespaces": _selects(spec, "namespaceLabelSelector", problems),
        "priority_below": _priority(spec.get("priorityClassThreshold") or {}, classes, problems),
        "local_storage": bool(spec.get("evictLocalStoragePods", False)),
    }


def _ceilings(strategy: Mapping[str, Any], problems: list[Problem]) -> dict[str, int]:
    """What is not set stays unset: no guess about memory because cpu was named."""
    found: dict[str, int] = {}
    low, high = strategy.get("thresholds") or {}, strategy.get("targetThresholds") or {}
    at = f"strategies.{Strategy.LOW_NODE_UTILIZATION}"
    percent = _number(0, 100)
    lows: dict[str, int] = {}
    for resource in sorted(low):
        _take(resource, f"{at}.thresholds.{resource}", low[resource], percent, lows, problems)
    for resource in sorted(high):
        where = f"{at}.targetThresholds.{resource}"
        _take(resource, where, high[resource], percent, found, problems)
        if found.get(resource) == 0:
            problems.append(Problem(where, "must be at least 1: nothing runs on a node at 0"))
        elif lows.get(resource, 0) > found.get(resource, 100):
            problems.append(Problem(where, f"is below thresholds.{resource}, {lows[resource]}"))
    return found


def _selects(spec: Mapping[str, Any], name: str, problems: list[Problem]) -> Selector:
    try:
        found = selector_of(spec.get(name))
    except (KeyError, ValueError, TypeError, AttributeError):
        problems.append(Problem(name, "is no label selector"))
        return _EVERYTHING
    return _EVERYTHING if found is None else found


def _priority(
    said: Mapping[str, Any], classes: Iterable[Mapping[str, Any]], problems: list[Problem]
) -> int:
    if "value" in said:
        return int(said["value"])
    if "name" not in said:
        return BY_DEFAULT_BELOW
    for one in classes:
        if name_of(dict(one)) == said["name"]:
            return int(one["value"])
    why = f'there is no PriorityClass "{said["name"]}"'
    problems.append(Problem("priorityClassThreshold.name", why))
    return BY_DEFAULT_BELOW


def _take(
    name: str,
    where: str,
    value: Any,
    parse: Callable[[Any], Any],
    found: dict[str, Any],
    problems: list[Problem],
) -> None:
    try:
        found[name] = parse(value)
    except _Bad as bad:
        problems.append(Problem(where, f"{bad}, not {str(value)[:32]!r}"))
