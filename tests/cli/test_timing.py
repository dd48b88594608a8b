"""``drover timing`` prints the sums, and refuses with the arithmetic."""

from __future__ import annotations

import json

import pytest

from drover.api import profiles
from drover.cli.main import main
from drover.cli.timing import PROFILES


def test_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing", "--profile", "lab"]) == 0
    said = capsys.readouterr().out
    assert "F = k (A + x) + K = 9.06 s" in said
    assert "W = k (H + x)     = 6.06 s" in said
    assert "\nProfile lab:\nNAME" in said


def test_every_profile_is_shown_with_its_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = {row[0]: row[4:6] for row in rows[1 : 1 + len(PROFILES)]}
    assert shown == {
        "fast": ["6.03", "3.03"], "lab": ["9.06", "6.06"], "host": ["28.22", "22.22"], "tolerant": ["66.60", "60.60"],
    }  # fmt: skip
    assert set(shown) == set(profiles.PROFILES) == set(PROFILES)


def test_a_profile_that_a_device_leaves_no_life(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing", "--profile", "fast", "--device", "8s"]) == 1
    said = capsys.readouterr().out
    assert "3 s - 2 x 8 s = -13 s, which must be above 0" in said
    assert "refused  not with a device of 8 s" in said
    assert main(["timing", "--profile", "host", "--device", "8s", "-o", "json"]) == 0
    chosen = json.loads(capsys.readouterr().out)["chosen"]
    assert (chosen["profile"], chosen["A"], chosen["K"]) == ("host", 6.0, 6.0)


def test_a_timeout_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing", "--timeout", "10s", "--device", "5s"]) == 1
    assert "refused: watchdog.timeout 10 s leaves no life" in capsys.readouterr().out


def test_a_text_that_is_no_duration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing", "--timeout", "soon"]) == 2
    assert "'soon' is no duration" in capsys.readouterr().err
