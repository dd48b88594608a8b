"""Secondary keys over cached objects: value -> keys, kept in step with every change.

Most values of most indices belong to one object (an address, a uid): such a key stands for itself, since ten thousand
containers of one key each take 2 MiB an index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.api.wire import Object


class Index:
    """Finds the keys of all objects for which ``values(obj)`` names a value."""

    def __init__(self, values: Callable[[Object], list[str]]) -> None:
        self._values = values
        self._keys: dict[str, str | set[str]] = {}

    def move(self, key: str, old: Object | None, new: Object | None) -> None:
        """Object ``key`` turned from ``old`` to ``new``; None is absence."""
        for value in self._values(old) if old is not None else []:
            self._remove(value, key)
        for value in self._values(new) if new is not None else []:
            self._add(value, key)

    def _add(self, value: str, key: str) -> None:
        known = self._keys.setdefault(value, key)
        if isinstance(known, set):
            known.add(key)
        elif known != key:
            self._keys[value] = {known, key}

    def _remove(self, value: str, key: str) -> None:
        known = self._keys.get(value)
        if isinstance(known, set):
            known.discard(key)
        if known in (key, set()):
            del self._keys[value]

    def counts(self) -> dict[str, int]:
        """How many objects there are of each value that any has."""
        return {value: len(self._of(value)) for value in self._keys}

    def keys(self, value: str) -> list[str]:
        """In key order."""
        return sorted(self._of(value))

    def _of(self, value: str) -> set[str]:
        known = self._keys.get(value, set())
        return known if isinstance(known, set) else {known}
