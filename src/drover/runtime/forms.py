"""In which form a cache holds its objects: as they are, or packed where they are many and seldom read.

Both give back what they were given. An object as it is costs nothing to read and some 2 KiB for each KiB of its text,
most of it dictionaries. Packed it is its text by deflate, with another object of its kind, the *sample*, as preset
dictionary: what remains is what it alone says, 80 to 130 bytes instead of 1 to 2.4 KiB, for 5 to 10 us at each read
and 20 to 30 us at each change.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload

import msgspec

from drover.api.wire import Object
from drover.runtime.sharing import Sharing

Held = Any  # what a form makes of an object, and alone can read

_RAW = -zlib.MAX_WBITS  # deflate without header and checksum
_REACH_BYTES = 2**zlib.MAX_WBITS  # as far as deflate looks back
_LONGER = 1.25  # than a sample is the next: few are needed until one of them says all that objects of the kind say


class Form(Protocol):
    """Objects are read-only, and so is what is read."""

    def hold(self, obj: Object) -> Held: ...

    def read(self, held: Held) -> Object: ...

    def each(self, held: list[Held]) -> Sequence[Object]:
        """They are read when somebody looks at them, in any thread, and every time anew."""
        ...


class Plain:
    """As they are, equal parts once. One for all kinds of a process."""

    def __init__(self) -> None:
        self._sharing = Sharing()

    def hold(self, obj: Object) -> Held:
        return self._sharing.share(obj)

    def read(self, held: Held) -> Object:
        found: Object = held
        return found

    def each(self, held: list[Held]) -> Sequence[Object]:
        return held


class Packed:
    """One for each kind: its objects are alike."""

    def __init__(self) -> None:
        # What is held begins with the number of its sample. There are fewer than 256, since each is longer.
        self._samples = [b""]

    def hold(self, obj: Object) -> Held:
        text = msgspec.json.encode(obj)
        if _LONGER * len(self._samples[-1]) < len(text) <= _REACH_BYTES:
            self._samples.append(text)
        packer = zlib.compressobj(wbits=_RAW, zdict=self._samples[-1])
        number = len(self._samples) - 1
        return b"".join((bytes((number,)), packer.compress(text), packer.flush()))

    def read(self, held: Held) -> Object:
        unpacker = zlib.decompressobj(_RAW, self._samples[held[0]])
        found: Object = msgspec.json.decode(unpacker.decompress(held[1:]))
        return found

    def each(self, held: list[Held]) -> Sequence[Object]:
        return _Each(self.read, held)


class _Each(Sequence[Object]):
    """Ten thousand objects, and room for one."""

    def __init__(self, read: Callable[[Held], Object], held: list[Held]) -> None:
        self._read = read
        self._held = held

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, at: int) -> Object: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Object]: ...

    def __getitem__(self, at: int | slice) -> Object | Sequence[Object]:
        if isinstance(at, slice):
            return _Each(self._read, self._held[at])
        return self._read(self._held[at])
