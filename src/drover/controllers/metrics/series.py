"""Families of samples whose labels may differ from sample to sample, and the few kinds of value among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import Metric

from drover.api import conditions
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339

PREFIX = "d8_virtualization_"
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_]")

Labels = Mapping[str, str]


class Gauges:
    """Gauges of one kind of object, by short name; ``families`` in the order of their first sample."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._families: dict[str, Metric] = {}

    def declare(self, name: str, help_text: str) -> None:
        full = f"{self._prefix}{name}"
        self._families[name] = Metric(full, help_text, "gauge")

    def add(self, name: str, labels: Labels, value: float) -> None:
        """KeyError for a name that was not declared."""
        family = self._families[name]
        family.add_sample(family.name, dict(labels), value)

    def one_hot(self, name: str, labels: Labels, key: str, words: Iterable[str], now: str) -> None:
        """One sample per word, 1 for the one that holds now."""
        for word in words:
            self.add(name, {**labels, key: word}, float(word == now))

    def families(self) -> list[Metric]:
        return list(self._families.values())


def flag(obj: Object, condition: str) -> float:
    return float(conditions.is_true(obj, condition))


def seconds(text: object) -> float:
    """Of a timestamp, since 1970."""
    return parse_rfc3339(str(text))


def prefixed(kind: str, texts: Mapping[str, str] | None) -> dict[str, str]:
    """Labels or annotations of an object as labels of a sample: ``label_app``, as kube-state-metrics writes them.

    Keys that differ only in signs that a metric cannot have share one label; the last of them in order wins.
    """
    return {
        f"{kind}_{_FORBIDDEN.sub('_', key)}": value for key, value in sorted((texts or {}).items())
    }
