"""The demo's stage and its arithmetic; the demo itself is played in test_on_a_lab."""

from __future__ import annotations

import asyncio
import time

import pytest

from drover.base.clock import RealClock
from drover.cli import demo_ping
from drover.cli.demo_moves import Figures
from drover.cli.demo_stage import DemoFailed, Stage

PING = """\
PING 10.66.10.10 (10.66.10.10) 56(84) bytes of data.
[1795540000.000000] 64 bytes from 10.66.10.10: icmp_seq=1 ttl=64 time=0.4 ms
[1795540000.020000] 64 bytes from 10.66.10.10: icmp_seq=2 ttl=64 time=0.4 ms
[1795540000.180000] 64 bytes from 10.66.10.10: icmp_seq=5 ttl=64 time=80.0 ms
[1795540000.180500] 64 bytes from 10.66.10.10: icmp_seq=6 ttl=64 time=60.0 ms (DUP!)
[1795540000.200000] From 10.66.10.254 icmp_seq=7 Destination Host Unreachable
"""


def test_the_longest_gap_is_between_arrivals():
    report = demo_ping.report(PING.splitlines())
    assert (report.answers, report.lost) == (4, 2)
    assert report.longest_gap_ms == pytest.approx(160.0, abs=0.01)


def test_no_answer_is_no_gap():
    assert demo_ping.report([]) == demo_ping.PingReport(0, 0, 0.0)


def test_the_pinging_is_as_told():
    assert demo_ping.command("10.0.0.1") == "ping -D -n -i 0.02 10.0.0.1"


def test_figures_have_units():
    rows = dict(Figures(total_s=1.5, downtime_ms=12).rows())
    assert rows["move: from the operation's creation to the new node"] == "1.50 s"
    assert rows["move: the guest stood still, as QEMU reports it"] == "12 ms"


async def test_a_command_is_printed_run_and_its_output_kept(capsys):
    async with Stage.open(RealClock()) as stage:
        said = await stage.run("cat <<EOF\nhello\nEOF")
    assert said == "hello"
    assert capsys.readouterr().out == "$ cat <<EOF\nhello\nEOF\nhello\n\n"


async def test_a_failing_command_fails_the_step_by_name(capsys):
    async with Stage.open(RealClock()) as stage:
        with pytest.raises(DemoFailed) as failure:
            async with stage.step("try it"):
                await stage.run("echo oh; exit 3")
    assert failure.value.message == "try it: `echo oh; exit 3` ended with exit code 3"
    assert failure.value.exit_code == 1
    assert stage.steps == []
    assert "FAILED" in capsys.readouterr().out


async def test_a_command_that_hangs_is_ended_and_fails():
    began = time.monotonic()
    async with Stage.open(RealClock()) as stage:
        with pytest.raises(DemoFailed, match="took over 0 s"):
            await stage.run("sleep 60", limit_s=0.3)
    assert time.monotonic() - began < 10


async def test_a_background_command_gives_lines_as_they_come_and_is_ended(tmp_path):
    go_on = tmp_path / "go-on"
    command = f"echo one; until [ -e {go_on} ]; do sleep 0.02; done; echo two; sleep 60"
    async with Stage.open(RealClock()) as stage:
        async with stage.background(command) as running:
            async with asyncio.timeout(10):
                while not running.lines:
                    await running.news(1.0)
                await stage.clock.sleep(0.2)
                go_on.touch()  # however slow we are, it says no more before we have read the first
                while len(running.lines) < 2:
                    await running.news(1.0)
            assert running.code is None
        assert running.code is not None
    assert [line.text for line in running.lines] == ["one", "two"]
    assert running.lines[1].at_s - running.lines[0].at_s > 0.1


async def test_a_passed_step_is_timed(capsys):
    async with Stage.open(RealClock()) as stage, stage.step("rest"):
        await stage.clock.sleep(0.05)
    assert stage.steps[0].name == "rest"
    assert stage.steps[0].took_s >= 0.05
    assert "OK  rest" in capsys.readouterr().out
