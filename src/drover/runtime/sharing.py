"""Equal parts of cached objects are kept once: the tolerations of ten thousand Pods are one list.

Caches hold decoded JSON that nobody changes, so parts with equal content may be one object. The table of parts seen is
forgotten whenever it is full; what is common is soon in it again, so that there are a few copies of it instead of
thousands, and what is unique costs nothing for long.
"""

from __future__ import annotations

from typing import Any

from drover.api.wire import Object

MOST_PARTS = 8_000  # some 3 MiB: parts that are unique stay alive for as long as they are in it
_PLAIN = (dict, list, str)


class Sharing:
    """One per process, for all of its caches."""

    def __init__(self) -> None:
        self._parts: dict[Any, Any] = {}

    def share(self, obj: Object) -> Object:
        """The object with its parts replaced by equal ones that are there already. It is changed in place, and by
        equal values only. Containers of other classes (the simulation's frozen ones) are left as they are."""
        if type(obj) is dict:
            if len(self._parts) > MOST_PARTS:
                self._parts.clear()
            self._fill(obj)
        return obj

    def _fill(self, whole: dict[str, Any]) -> None:
        for key, part in whole.items():
            if type(part) in _PLAIN:
                whole[key] = self._one(part)

    def _one(self, part: Any) -> Any:
        kind = type(part)
        if kind is str:
            return self._parts.setdefault(part, part)
        # Parts of a part are the table's own by now, which keeps them alive: their identity stands for their content.
        if kind is dict:
            self._fill(part)
            known: Any = (*part, *map(_token, part.values()))
        else:
            for place, item in enumerate(part):
                if type(item) in _PLAIN:
                    part[place] = self._one(item)
            known = (None, *map(_token, part))
        return self._parts.setdefault(known, part)


def _token(value: Any) -> tuple[type, Any]:
    """True and 1 are equal, and not the same."""
    return type(value), value if type(value) is not dict and type(value) is not list else id(value)
