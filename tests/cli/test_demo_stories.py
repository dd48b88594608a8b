"""What of the demo is played, and what is summed up of it."""

from __future__ import annotations

from click.testing import CliRunner

from drover.cli.demo import STORIES, command
from drover.cli.demo_moves import Figures


def test_a_story_that_there_is_not_is_wrong_usage() -> None:
    done = CliRunner().invoke(command, ["flood"])
    assert done.exit_code == 2
    assert all(story in done.output for story in STORIES)


def test_only_what_was_played_is_summed_up() -> None:
    assert Figures().rows() == []
    rows = Figures(drain_s=3.0, losses_s=(0.0, 9.5)).rows()
    assert [value for _, value in rows] == ["3.0 s", "9.5 s"]
