"""Whom a server that joins tells its etcd of."""

from __future__ import annotations

import pytest

from drover.server.errors import ControlPlaneError
from drover.server.etcd import Member
from drover.server.member import peers

FIRST = Member("a", "one", "10.0.0.1", False)


def test_members_that_have_not_started_are_told_too() -> None:
    members = [FIRST, Member("b", "", "10.0.0.2", True), Member("c", "", "10.0.0.3", True)]
    assert peers(members, "two", "10.0.0.2") == {
        "one": "10.0.0.1",
        "two": "10.0.0.2",
        "new-c": "10.0.0.3",
    }


def test_one_that_was_removed_is_told_what_to_do() -> None:
    with pytest.raises(ControlPlaneError, match="it was removed"):
        peers([FIRST], "two", "10.0.0.2")
