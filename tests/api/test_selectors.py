"""Selectors as the API server reads them."""

from __future__ import annotations

from typing import Any

import pytest

from drover.api.selectors import BadSelector, matches_fields, matches_labels, parse


def labelled(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "x", "labels": labels}}


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app!=web", False),
        ("app=db", False),
        ("missing!=web", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("missing", False),
        ("app in (db, web)", True),
        ("app notin (db,web)", False),
        ("missing notin (a)", True),
        ("app=web,tier in (a,b),!c", True),
        ("app=web,tier in (b,c)", False),
        ("empty=", True),
        ("empty", True),
    ],
)
def test_labels(selector: str, holds: bool) -> None:
    assert matches_labels(selector, labelled(app="web", tier="a", empty="")) is holds


@pytest.mark.parametrize("selector", ["a=b=c", "in (a)", "a in b", "a b", "=x"])
def test_nonsense_is_refused(selector: str) -> None:
    with pytest.raises(BadSelector):
        parse(selector)


def test_fields_take_an_absent_value_as_empty() -> None:
    pod = {"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n1"}}
    assert matches_fields("spec.nodeName=n1,metadata.name=p", pod)
    assert not matches_fields("spec.nodeName!=n1", pod)
    assert matches_fields("spec.nodeName=", {"metadata": {}, "spec": {}})
    assert matches_fields("status.phase!=Running", pod)
