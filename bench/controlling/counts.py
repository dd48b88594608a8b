"""What pages of metrics tell: requests to the API server by kind, and the times of the controllers. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_REQUESTS = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_BUCKET = re.compile(
    r'^drover_controller_(wait|work)_seconds_bucket\{controller="([^"]+)",le="([^"]+)"\} (\S+)$',
    re.MULTILINE,
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
Buckets = dict[tuple[str, str], dict[float, float]]


def requests(page: str) -> Counter[str]:
    """By verb, resource and subresource; watches are left out, as they count when they end."""
    found: Counter[str] = Counter()
    for labels, value in _REQUESTS.findall(page):
        said = dict(_LABEL.findall(labels))
        if said.get("verb") in ("WATCH", "CONNECT"):
            continue
        part = f"/{said['subresource']}" if said.get("subresource") else ""
        found[f"{said.get('verb')} {said.get('resource')}{part}"] += int(float(value))
    return found


def buckets(page: str) -> Buckets:
    """Cumulative counts by (wait or work, controller)."""
    found: Buckets = {}
    for what, controller, most, value in _BUCKET.findall(page):
        found.setdefault((what, controller), {})[float(most)] = float(value)
    return found


def passes(page: str, controller: str) -> float:
    """How many a controller has made so far."""
    return buckets(page).get(("work", controller), {}).get(math.inf, 0.0)


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """An upper bound of it, from what was counted between: the end of its bucket. 0 when nothing was."""
    grown = {most: after[most] - before.get(most, 0.0) for most in sorted(after)}
    total = grown.get(math.inf, 0.0)
    if not total:
        return 0.0
    return next(most for most, count in grown.items() if count >= share * total)


def slowest(before: Buckets, after: Buckets, share: float) -> Iterable[tuple[str, float, float]]:
    """(controller, wait, work) in seconds, the slowest first."""
    names = {controller for _, controller in after}
    rows = [
        (
            name,
            *(
                quantile(before.get((what, name), {}), after.get((what, name), {}), share)
                for what in ("wait", "work")
            ),
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: (-row[1] - row[2], row[0]))  # type: ignore[return-value]
