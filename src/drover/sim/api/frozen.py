"""Decoded JSON that nobody can change, so that everybody may share it.

What the modelled server stores is frozen once, when it is written; answers, lists and watches hand
out the same object instead of a copy for each reader, and a write freezes only what it brought
along: the rest is the old object's. A reader that changes what it was given (in the real world: the
cache that all controllers of a process share) gets a TypeError at the very line.

``copy.deepcopy`` and ``copied`` give plain containers that may be changed.
"""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("this object is shared by all who read it: build a new one instead")


class FrozenDict(dict[str, Any]):
    """``shape`` remembers the schema node that this very dict was found to conform to."""

    __slots__ = ("shape",)

    def __init__(self, *content: Any) -> None:
        super().__init__(*content)
        self.shape: object = None

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        return {key: copied(item) for key, item in self.items()}

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class FrozenList(list[Any]):
    """See ``FrozenDict``."""

    __slots__ = ("shape",)

    def __init__(self, *content: Any) -> None:
        super().__init__(*content)
        self.shape: object = None

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: object) -> list[Any]:
        return [copied(item) for item in self]

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse


def frozen(value: Any) -> Any:
    """The same content, for ever; what is frozen already is taken as it is."""
    kind = type(value)
    if kind is dict:
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if kind is list or kind is tuple:
        return FrozenList([frozen(item) for item in value])
    return value


def copied(value: Any) -> Any:
    """A deep copy that may be changed."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value
