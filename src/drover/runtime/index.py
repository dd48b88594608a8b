"""Secondary keys over cached objects: value -> keys, kept in step with every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from drover.api.wire import Object


class Index:
    """Finds the keys of all objects for which ``values(obj)`` names a value."""

    def __init__(self, values: Callable[[Object], list[str]]) -> None:
        self._values = values
        self._keys: dict[str, dict[str, None]] = {}

    def move(self, key: str, old: Object | None, new: Object | None) -> None:
        """Object ``key`` turned from ``old`` to ``new``; None is absence."""
        for value in self._values(old) if old is not None else []:
            keys = self._keys.get(value, {})
            keys.pop(key, None)
            if not keys:
                self._keys.pop(value, None)
        for value in self._values(new) if new is not None else []:
            self._keys.setdefault(value, {})[key] = None

    def counts(self) -> dict[str, int]:
        """How many objects there are of each value that any has."""
        return {value: len(keys) for value, keys in self._keys.items()}

    def keys(self, value: str) -> list[str]:
        """In key order."""
        return sorted(self._keys.get(value, ()))
