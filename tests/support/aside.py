"""Tests that only compute are played aside: by a second pytest, on what the processors have left.

Most of a whole run waits: for guests that boot, for agents, for times that must pass. Meanwhile a second
process plays the rooms of ``ROOMS``, but for what needs an engine or a lab. It goes last wherever
somebody else wants a processor, so that nothing that measures time notices it. The first pytest keeps these
tests for the end and reports them as if they were its own: one run, one summary.

``./test`` without arguments loads this plugin (``-p tests.support.aside``); the second process is started
with the same one, and is told by ``DROVER_TESTS_ASIDE`` where to write its reports: one JSON value a line,
a report, or the name of a test that is over. A test of which nothing comes has failed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

ROOMS = ("controllers", "planner", "proof", "sim")
ENVIRONMENT = "DROVER_TESTS_ASIDE"
PATIENCE = 40  # by which limits grow for those who go last: labs may be busy for minutes
LOOK_S = 0.1
END_S = 120.0  # whoever goes last may take his time to end
TAIL_CHARS = 5000


def pytest_configure(config: pytest.Config) -> None:
    reports = os.environ.get(ENVIRONMENT)
    config.pluginmanager.register(Player(config, Path(reports)) if reports else Reader(config))


def plays_aside(item: pytest.Item) -> bool:
    room = item.path.relative_to(item.config.rootpath).parts[1:2]
    if not set(room) & set(ROOMS):
        return False
    return not any(item.get_closest_marker(marker) for marker in ("engine", "e2e"))


class Player:
    """Plays them, in the second process."""

    def __init__(self, config: pytest.Config, reports: Path) -> None:
        self._config = config
        self._reports = reports.open("a")
        self._reader = os.getppid()
        give_way()
        slow = [hypothesis.HealthCheck.too_slow]
        hypothesis.settings.register_profile("aside", deadline=None, suppress_health_check=slow)
        hypothesis.settings.load_profile("aside")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if plays_aside(item)]
        for item in items:
            marker = item.get_closest_marker("timeout")
            limit_s = marker.args[0] if marker else float(self._config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(limit_s * PATIENCE), append=False)

    def pytest_runtest_logstart(self) -> None:
        if os.getppid() != self._reader:
            pytest.exit("nobody is there to read on", returncode=2)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._say(
            self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        )

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._say(nodeid)

    def _say(self, what: Any) -> None:
        print(json.dumps(what), file=self._reports, flush=True)


def give_way() -> None:
    """Run on idle processors only. Where the kernel shares processors out among sessions, that is said of ours, too."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:  # some containers allow no other policy
        os.nice(19)
    if os.getsid(0) == os.getpid():  # else it is the session of others as well
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")


class Reader:
    """Reports them, in the first."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._directory = tempfile.TemporaryDirectory(prefix="drover-aside-")
        self._path = Path(self._directory.name) / "reports"
        self._path.touch()
        self._said = Path(self._directory.name) / "said"
        self._file = self._path.open()
        self._rest = ""
        self._player: subprocess.Popen[bytes] | None = None
        self._reports: dict[str, list[pytest.TestReport]] = defaultdict(list)
        self._over: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=plays_aside)  # stable: both keep their order
        for item in items:
            if plays_aside(item):
                item.add_marker(pytest.mark.timeout(0), append=False)  # the player's is what counts

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        files = sorted({str(item.path) for item in session.items if plays_aside(item)})
        if session.testsfailed or self._config.option.collectonly or not files:
            return
        with self._said.open("wb") as said:
            self._player = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", __name__, "-p", "no:cacheprovider", "-q", *files],
                cwd=self._config.rootpath, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env={**os.environ, ENVIRONMENT: str(self._path)}, start_new_session=True,
            )  # fmt: skip

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if plays_aside(item):
            for report in self._reports_of(item):
                item.ihook.pytest_runtest_logreport(report=report)
        else:  # the last of ours takes down what all of them shared
            last = nextitem is None or plays_aside(nextitem)
            runtestprotocol(item, nextitem=None if last else nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _reports_of(self, item: pytest.Item) -> list[pytest.TestReport]:
        while item.nodeid not in self._over:
            ended = self._player is None or self._player.poll() is not None
            self._read()
            if ended and item.nodeid not in self._over:
                return [*self._reports.pop(item.nodeid, []), self._nothing_came(item)]
            if item.nodeid not in self._over:
                time.sleep(LOOK_S)
        return self._reports.pop(item.nodeid)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for said in map(json.loads, lines):
            if isinstance(said, str):
                self._over.add(said)
                continue
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=said
            )
            if isinstance(report.longrepr, list):  # why it was skipped: JSON knows no tuples
                report.longrepr = tuple(report.longrepr)
            self._reports[report.nodeid].append(report)

    def _nothing_came(self, item: pytest.Item) -> pytest.TestReport:
        code = self._player.returncode if self._player else None
        text = (
            f"the process that plays it aside has ended ({code}) without it:\n{self._said_last()}"
        )
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")

    def _said_last(self) -> str:
        return self._said.read_text(errors="replace")[-TAIL_CHARS:]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """However the run ended: nobody is left behind. Trouble after the last report fails the run."""
        if self._player is not None:
            self._end(session)
        self._file.close()
        self._directory.cleanup()

    def _end(self, session: pytest.Session) -> None:
        assert self._player is not None
        if session.exitstatus == pytest.ExitCode.OK:
            with suppress(subprocess.TimeoutExpired):
                self._player.wait(END_S)
            if self._player.returncode != 0:
                print(f"\naside: {self._player.returncode}\n{self._said_last()}")
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        with suppress(ProcessLookupError):
            os.killpg(self._player.pid, signal.SIGKILL)
        self._player.wait()
