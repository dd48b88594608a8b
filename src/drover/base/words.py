"""Ways of saying things that are the same wherever they are said."""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMED = 5


def some_of(names: Iterable[str]) -> str:
    """The first ones by name, the others by number: ``a, b, c, d, e and 3 more``."""
    found = list(names)
    more = len(found) - MOST_NAMED
    return ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def camel(name: str) -> str:
    """As the API spells it: ``cpu_milli`` is ``cpuMilli``."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
