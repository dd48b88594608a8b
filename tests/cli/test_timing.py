"""``drover timing`` prints the sums, and refuses with the arithmetic."""

from __future__ import annotations

import pytest

from drover.cli.main import main


def test_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing"]) == 0
    said = capsys.readouterr().out
    assert "F = k (A + x) + K = 9.06 s" in said
    assert "W = k (H + x)     = 6.06 s" in said


def test_a_timeout_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing", "--timeout", "10s", "--device", "5s"]) == 1
    assert "refused: watchdog.timeout 10 s leaves no life" in capsys.readouterr().out


def test_a_text_that_is_no_duration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing", "--timeout", "soon"]) == 2
    assert "'soon' is no duration" in capsys.readouterr().err
