"""The times of fencing: the figures of the page, and the inequalities for every timeout that is accepted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.api import fencing, manifest_files, profiles
from drover.api.fencing import Armed, Evidence, Timing
from drover.api.kinds import nodegroup


def test_the_figures_of_the_page() -> None:
    lab = Timing(timeout_s=6)
    assert lab.problems() == []
    assert (lab.renew_s, lab.ask_s, lab.hold_s, lab.pause_s) == (2, 2.5, 6, 0.5)
    assert lab.fence_s == pytest.approx(9.06, abs=0.01)
    assert lab.window_s == pytest.approx(6.06, abs=0.01)
    host = Timing(timeout_s=16, kick_s=5, io_s=5)
    assert host.age_s == 6
    assert host.fence_s == pytest.approx(22.16, abs=0.01)


def test_every_profile_is_safe_and_begins_a_restart_as_soon_as_it_says() -> None:
    """What the controllers need on top of F: a look each 0.25 s, and a few writes."""
    for profile in profiles.PROFILES.values():
        timing = profile.timing()
        assert timing.problems() == []
        assert timing.fence_s + 0.9 < profile.begins_s
    assert profiles.HOST.timing(kick_s=8).problems() == []
    assert profiles.HOST.timing(kick_s=8).fence_s == profiles.HOST.timing().fence_s


def times(**fencing: Any) -> Timing:
    return nodegroup.timing({"spec": {"fencing": fencing}})


def test_a_group_lives_by_its_profile_and_by_its_own_timeout_where_it_has_one() -> None:
    assert times(mode="Watchdog") == times(profile="host") == Timing(22, io_s=5)
    assert times(profile="fast") == Timing(3, io_s=2)
    assert times(profile="fast", watchdog={"timeout": "9s"}) == Timing(9, io_s=2)
    assert times(watchdog={"timeout": "9s"}) == Timing(9, io_s=5)  # nothing is said of its storage
    for bad in ({"profile": "swift"}, {"watchdog": {"timeout": "soon"}}):
        with pytest.raises(ValueError, match="is no"):
            times(**bad)


def test_the_profiles_are_those_of_the_definition() -> None:
    (crd,) = [one for one in manifest_files.crds() if one["spec"]["names"]["kind"] == "NodeGroup"]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["fencing"]["properties"]["profile"]["enum"] == list(profiles.PROFILES)


def test_a_timeout_that_breaks_the_inequality_is_refused_with_the_arithmetic() -> None:
    (said,) = Timing(timeout_s=10, kick_s=5).problems()
    assert "10 s - 2 x 5 s = 0 s" in said
    short = Timing(timeout_s=1.0).problems()
    assert any("B + R + P + 2 rtt" in line for line in short)


@given(st.floats(0.1, 3600), st.floats(0, 60))
def test_what_is_accepted_holds(timeout_s: float, kick_s: float) -> None:
    timing = Timing(timeout_s, kick_s)
    if timing.problems():
        return
    armed = Armed.of(timing, "deadline")
    assert timing.fence_s > timeout_s
    assert armed.dead_s() == pytest.approx(timing.dead_s)
    assert timing.fence_s - timing.dead_s == pytest.approx(timing.kill_s + timing.io_s)
    assert timing.suspect_s <= timing.dead_s
    assert 2 * timing.renew_s <= timing.age_s


def test_durations() -> None:
    assert [fencing.parse_duration_s(text) for text in ("60s", "2m", "1h", "500ms")] == [
        60, 120, 3600, 0.5,
    ]  # fmt: skip
    for bad in ("", "5", "s", "-1s", "1.5s", "6 s"):
        with pytest.raises(ValueError, match="is no duration"):
            fencing.parse_duration_s(bad)


@given(st.integers(1, 7), st.booleans())
def test_who_vouches_and_who_is_clean_share_a_node(members: int, inside: bool) -> None:
    peers = members - 1 if inside else members
    vouchers, clean = fencing.vouchers_needed(members, inside), fencing.clean_needed(members)
    assert vouchers + clean > peers


ages = st.floats(0, 1e6)


@given(
    st.none() | st.builds(Armed, st.just("deadline"), ages, ages, ages, ages),
    ages,
    st.dictionaries(st.sampled_from("abc"), ages),
)
def test_evidence_survives_the_wire_and_errs_to_the_safe_side(
    armed: Armed | None, life_s: float, vouched: dict[str, float]
) -> None:
    said = Evidence("a1", "boot", "machine", 7, armed, life_s, vouched, {"b": "i1"}, 3)
    heard = Evidence.load(said.dump())
    assert (heard.attempt, heard.seq, heard.roster, heard.promises) == ("a1", 7, 3, {"b": "i1"})
    for node in "abcd":
        assert heard.voucher_age_s(node) <= said.voucher_age_s(node)
    if armed is not None:
        assert heard.armed is not None
        assert heard.armed.dead_s() >= armed.dead_s()
        assert heard.armed.window_s() >= armed.window_s()
        assert heard.armed.late_s >= armed.late_s


SAID = Evidence(
    "a1", "boot", "machine", 7, Armed("deadline", 6, 6, 0), 9.0, {"b": 1.0}, {}, 3
).dump()


@pytest.mark.parametrize("number", ["NaN", "-1", "Infinity", "1e999", '"6"', "null"])
@pytest.mark.parametrize(
    "field", ["ageMs", "holdMs", "slackMs", "lateMs", "lifeMs", "b", "seq", "roster"]
)
def test_a_hand_that_writes_no_number_proves_nothing(field: str, number: str) -> None:
    """A comparison with NaN is never true: a node of that age would be dead at once."""
    said, changed = re.subn(rf'"{field}": [0-9]+', f'"{field}": {number}', SAID)
    assert changed == 1
    if field in ("seq", "roster") and number in ("-1", '"6"'):
        assert Evidence.load(said).armed is not None  # of no consequence
        return
    with pytest.raises(ValueError, match=r".+"):
        Evidence.load(said)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"attempt": 1}', "nonsense", "null"])
def test_what_is_no_evidence_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Evidence.load(text)
