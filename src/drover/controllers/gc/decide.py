"""What is old enough to go. Pure."""

from __future__ import annotations

from drover.api.meta import is_deleting, name_of
from drover.api.wire import Object

KEEP_OPERATIONS = 10
KEEP_PODS = 2
MOST_AGE_S = 24 * 3600.0


def _newest_first(objects: list[Object]) -> list[Object]:
    return sorted(
        objects, key=lambda obj: (obj["metadata"]["creationTimestamp"], name_of(obj)), reverse=True
    )


def surplus(finished: list[Object], keep: int) -> list[Object]:
    """All but the newest; those on their way out count for nothing."""
    return [obj for obj in _newest_first(finished)[keep:] if not is_deleting(obj)]
