"""How soon controllers act: for how long a key waits for its turn, and for how long it is then worked on."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import HistogramMetricFamily, Metric

from drover.runtime.controller import Controller

PREFIX = "drover_controller_"


def families(controllers: Iterable[Controller]) -> list[Metric]:
    waits = HistogramMetricFamily(
        f"{PREFIX}wait_seconds",
        "From when a key is to be worked on to when that begins, by controller.",
        labels=["controller"],
    )
    works = HistogramMetricFamily(
        f"{PREFIX}work_seconds",
        "One pass over one key, its requests included, by controller.",
        labels=["controller"],
    )
    for controller in controllers:
        waits.add_metric([controller.name], controller.waited.buckets(), controller.waited.total)
        works.add_metric([controller.name], controller.worked.buckets(), controller.worked.total)
    return [waits, works]
