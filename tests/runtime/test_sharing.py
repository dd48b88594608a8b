"""Equal parts are kept once, and nothing is ever changed by it."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drover.runtime import sharing
from drover.runtime.sharing import Sharing
from drover.sim.api.frozen import FrozenDict, frozen

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from([0.0, 1.0])
    | st.text("ab1", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


def kinds(value: Any) -> Any:
    """The value with the types of all its parts: True equals 1."""
    if isinstance(value, dict):
        return {key: kinds(part) for key, part in value.items()}
    if isinstance(value, list):
        return [kinds(part) for part in value]
    return type(value), value


@given(st.lists(st.dictionaries(st.text("ab", max_size=1), JSON, max_size=3), max_size=8))
def test_what_is_shared_says_the_same(objects: list[dict[str, Any]]) -> None:
    table = Sharing()
    before = [kinds(copy.deepcopy(obj)) for obj in objects]
    assert [kinds(table.share(obj)) for obj in objects] == before


def test_equal_parts_are_one_object() -> None:
    table = Sharing()
    one, two = (
        table.share({"metadata": {"name": name}, "spec": {"tolerations": [{"key": "a" * 9}, True]}})
        for name in ("x", "y")
    )
    assert one["spec"] is two["spec"]
    assert one["metadata"] is not two["metadata"]
    other = table.share({"spec": {"tolerations": [{"key": "a" * 9}, 1]}})
    assert other["spec"]["tolerations"] is not one["spec"]["tolerations"]
    assert other["spec"]["tolerations"][0] is one["spec"]["tolerations"][0]


def test_the_table_is_bounded() -> None:
    table = Sharing()
    for number in range(sharing.MOST_PARTS + 10):
        table.share({"part": {"number": number}})
    assert len(table._parts) <= sharing.MOST_PARTS + 1
    one, two = ({"common": {"a": "b"}}, {"common": {"a": "b"}})
    assert table.share(one)["common"] is table.share(two)["common"]


def test_frozen_objects_are_left_alone() -> None:
    obj = frozen({"spec": {"a": ["b"]}})
    assert isinstance(Sharing().share(obj)["spec"], FrozenDict)
