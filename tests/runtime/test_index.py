"""An index says what a search through all objects would."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from drover.api.wire import Object
from drover.runtime.index import Index

# Key, and its values from then on; None: the object goes.
Moves = list[tuple[str, list[str] | None]]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.lists(st.sampled_from("xy")))))
def test_finds_what_a_search_finds(moves: Moves) -> None:
    index = Index(lambda obj: list(obj["values"]))
    there: dict[str, Object] = {}
    for key, values in moves:
        new = None if values is None else {"values": values}
        index.move(key, there.pop(key, None), new)
        if new is not None:
            there[key] = new
        for value in "xy":
            found = [key for key, obj in sorted(there.items()) if value in obj["values"]]
            assert index.keys(value) == found
        assert index.counts() == Counter(
            value for obj in there.values() for value in set(obj["values"])
        )
