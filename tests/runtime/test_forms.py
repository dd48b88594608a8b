"""Whatever the form in which a cache holds its objects, it says the same of them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.fake_api import FakeApi, pod

from drover.api.meta import name_of
from drover.api.scheme import POD
from drover.api.wire import Object
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.runtime.client import Client
from drover.runtime.forms import Form, Packed, Plain
from drover.runtime.informer import Informer
from drover.runtime.reflector import Selection
from drover.sim.clock import SimClock

FORMS = pytest.mark.parametrize("made", [Plain, Packed])
TEXT = st.text(max_size=5) | st.sampled_from(["ready" * 20, "x" * 40_000])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=8)


def spelled(value: object) -> str:
    """With the order of keys, and 1 told from 1.0 and from true."""
    return json.dumps(value)


@FORMS
@given(OBJECTS)
def test_what_is_held_is_read_as_it_was(made: type[Form], objects: list[Object]) -> None:
    form = made()
    before = [spelled(obj) for obj in objects]
    held = [form.hold(copy.deepcopy(obj)) for obj in objects]
    assert [spelled(form.read(one)) for one in held] == before
    assert [spelled(obj) for obj in form.each(held)] == before
    assert [spelled(obj) for obj in form.each(held)[1:3]] == before[1:3]
    assert len(form.each(held)) == len(before)


def disk(number: int, **status: Any) -> Object:
    meta = {"name": f"disk-{number}", "namespace": "default", "uid": SeededIds(number).uid()}
    return {"metadata": meta, "spec": {"persistentVolumeClaim": {"size": "64Mi"}}, "status": status}


CONDITIONS = [
    {"type": kind, "status": "True", "reason": kind, "message": f"The disk is {kind}"}
    for kind in ("DataSourceReady", "Ready", "InUse", "Resized", "Snapshotted", "Shown")
]


def test_objects_that_are_alike_pack_to_what_each_of_them_says_alone() -> None:
    form = Packed()
    form.hold(disk(1, conditions=CONDITIONS))
    other = disk(2, conditions=CONDITIONS)
    assert len(form.hold(other)) < 90 < len(json.dumps(other)) / 6


def test_a_first_one_that_says_little_is_no_lasting_sample() -> None:
    """As where the controllers were there before the VMs, and saw each disk when it was made."""
    form = Packed()
    held = [form.hold(disk(number)) for number in range(3)]
    held += [form.hold(disk(number, conditions=CONDITIONS)) for number in range(3, 6)]
    assert len(held[-1]) < 90
    assert [name_of(obj) for obj in form.each(held)] == [f"disk-{number}" for number in range(6)]


def test_an_outsized_one_is_no_sample_for_the_others() -> None:
    form = Packed()
    form.hold(disk(1, conditions=CONDITIONS))
    form.hold(disk(2, conditions=[], note="".join(map(str, range(20_000)))))
    assert len(form.hold(disk(3, conditions=CONDITIONS))) < 90


class Twin:
    """An informer whose reflector is played, one of a part of the kind, and all that they told."""

    def __init__(self, form: Form) -> None:
        self.told: list[str] = []
        self.whole = self._informer("", form)
        self.part = self._informer("on=yes", Plain())
        self.part.follow(self.whole)

    def _informer(self, labels: str, form: Form) -> Informer:
        clock = SimClock()
        client, log = Client(FakeApi()), Log(clock, lambda _: None)
        informer = Informer(client, clock, SeededIds(1), log, Selection(POD, labels=labels), form)
        informer.add_index("node", lambda obj: [obj["spec"]["node"]])
        informer.add_handler(lambda old, new: self.told.append(spelled((labels, old, new))))
        return informer

    def take(self, what: str, objects: list[Object], version: int) -> None:
        match what:
            case "LIST":
                self.whole.replaced([self.whole.kept(obj) for obj in objects], version)
            case "BOOKMARK":
                self.whole.progressed(version)
            case "ANSWER":
                for obj in objects:
                    self.part.observe(obj)
            case event:
                for obj in objects:
                    self.whole.changed(event, obj)

    def answers(self) -> str:
        found = []
        for informer in (self.whole, self.part):
            found += [*informer.all()]
            found += [informer.get(f"a/{name}") for name in "abc"]
            found += [obj for node in "xy" for obj in informer.by_index("node", node)]
        return spelled([found, self.told])


@st.composite
def happenings(draw: st.DrawFn) -> tuple[str, list[Object], int]:
    what = draw(st.sampled_from(["ADDED", "MODIFIED", "DELETED", "LIST", "BOOKMARK", "ANSWER"]))
    objects = {}
    for name in draw(st.sets(st.sampled_from("abc"), max_size=3 if what == "LIST" else 1)):
        made = pod(name, draw(st.integers(1, 30)), node=draw(st.sampled_from("xy")))
        made["metadata"]["labels"] = {"on": draw(st.sampled_from(["yes", "no"]))}
        made["metadata"]["managedFields"] = [{"manager": "kubectl"}]
        objects[name] = made
    return what, list(objects.values()), draw(st.integers(1, 30))


@given(st.lists(happenings(), max_size=12))
def test_an_informer_answers_the_same_after_any_history(
    history: list[tuple[str, list[Object], int]],
) -> None:
    plain, packed = Twin(Plain()), Twin(Packed())
    for happened in history:
        for twin in (plain, packed):
            twin.take(*copy.deepcopy(happened))
        assert plain.answers() == packed.answers()
