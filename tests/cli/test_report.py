"""What happened since a moment: the sums, the page that needs nothing else, and what is no moment."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from tests.answers.test_why_objects import of, plan

from drover.answers.history import history
from drover.answers.world import World
from drover.api import scheme
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.cli import report, report_page

NOW_S = 1_795_000_000.0
VOID = {"meta"}


def move(
    name: str, began_s: float, phase: str, took_s: float = 0.0, downtime_ms: int = 0, **more: Any
) -> Object:
    status: dict[str, Any] = {"phase": phase, "targetNode": "n2", **more}
    status["source"] = {"downtimeMs": downtime_ms, "ramTransferredBytes": 2**30}
    if took_s:
        status["endTimestamp"] = rfc3339(began_s + took_s)
    meta = {"name": name, "namespace": "users", "creationTimestamp": rfc3339(began_s)}
    spec = {"virtualMachineName": f"vm-{name}", "operationName": name, "sourceNode": "n1"}
    return of(scheme.VMM, {"metadata": meta, "spec": spec, "status": status})


def loss() -> Object:
    seen = NOW_S - 300
    told = {"lastSeen": 0, "suspect": 3, "condemned": 6, "fenced": 12}
    status = {
        "phase": "Fenced",
        "evidence": "Deadline",
        "timeline": {name: rfc3339(seen + after) for name, after in told.items()},
        "virtualMachines": [
            {"namespace": "users", "name": "a", "restarted": rfc3339(seen + 20), "node": "n2"},
            {"namespace": "users", "name": "b"},
        ],
    }
    meta = {"name": "n9-life", "creationTimestamp": rfc3339(seen + 3)}
    spec = {"node": "n9", "incarnation": "life", "group": "g"}
    return of(scheme.NODEFENCE, {"metadata": meta, "spec": spec, "status": status})


def a_plan() -> Object:
    found = plan(True)
    found["metadata"]["creationTimestamp"] = rfc3339(NOW_S - 60)
    found["status"] = {"phase": "Executing", "steps": [{"state": "Done"}, {"state": "Failed"}]}
    return found


OBJECTS = [
    move("old", NOW_S - 7200, "Succeeded", 10, 999),
    move("a", NOW_S - 600, "Succeeded", 10, 40),
    move("b", NOW_S - 500, "Succeeded", 20, 60),
    move("c", NOW_S - 400, "Failed", 5, 7, reason="TargetFailed", message="no <room>"),
    move("d", NOW_S - 5, "Copying"),
    loss(),
    a_plan(),
]
WORLD = World.of(OBJECTS, NOW_S)


def test_sums_are_of_what_happened_since_then() -> None:
    found = history(WORLD, NOW_S - 3600)
    assert [one.vm for one in found.moves] == [
        "users/vm-a",
        "users/vm-b",
        "users/vm-c",
        "users/vm-d",
    ]
    assert found.sums == {
        "moves": 4,
        "succeeded": 2,
        "failed": 1,
        "aborted": 0,
        "downtimeMs": 100,
        "longestDowntimeMs": 60,
        "copiedBytes": 4 * 2**30,
        "nodesLost": 1,
        "vmsRestarted": 1,
        "vmsNotRestarted": 1,
        "outageS": 20.0,
        "longestOutageS": 20.0,
        "plans": 1,
    }
    assert [name for name, _ in found.losses[0].moments][:2] == ["lastSeen", "suspect"]
    assert (found.plans[0].done, found.plans[0].failed) == (1, 1)
    nothing = history(WORLD, NOW_S - 1)
    assert [one.result for one in nothing.moves] == ["Copying"]  # it goes on
    assert nothing.losses == nothing.plans == ()


class _Balanced(HTMLParser):
    """Raises where a tag is not closed; keeps what would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open += [tag] if tag not in VOID else []
        self.loads += [name for name, _ in attrs if name in ("src", "href", "onclick")]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    text = report_page.page(history(WORLD, NOW_S - 3600))
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == parser.loads == []
    assert "<script" not in text
    assert "url(" not in text
    assert "no &lt;room&gt;" in text
    charts = [ET.fromstring(chart) for chart in re.findall(r"<svg.*?</svg>", text)]
    assert [len(chart.findall("rect")) for chart in charts] == [4, 2]
    assert "100 ms" in text
    assert "not started again" in text
    assert "last sign of life" in text
    empty = report_page.page(history(World.of([], NOW_S), NOW_S - 1))
    assert "No VM moved." in empty
    assert "<svg" not in empty


def test_many_moves_are_drawn_in_part_and_listed_in_full() -> None:
    many = [
        move(f"m{n}", NOW_S - 1000 + n, "Succeeded", 1, n)
        for n in range(report_page.MOST_DRAWN + 5)
    ]
    text = report_page.page(history(World.of(many, NOW_S), 0.0))
    assert "5 more are in the table" in text
    assert "vm-m0<" in text


@pytest.mark.parametrize(
    ("text", "before_s"), [("90s", 90), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800)]
)
def test_spans(text: str, before_s: float) -> None:
    assert report.moment(text, NOW_S) == NOW_S - before_s


def test_a_time_and_what_is_none() -> None:
    assert report.moment(rfc3339(NOW_S), 5.0) == NOW_S
    for text in ("yesterday", "", "1h soon", "-1h", "5", "2026-13-01T00:00:00Z"):
        with pytest.raises(click.BadParameter, match="is no time"):
            report.moment(text, NOW_S)


def run(tmp_path: Path, *arguments: str) -> Any:
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "takenAt": rfc3339(NOW_S), "items": OBJECTS}))
    argv = ["--since", "1h", "--from", str(file), *arguments]
    return CliRunner().invoke(report.command, argv)


def test_the_command_reads_saved_objects(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = run(tmp_path, "--html", str(page))
    assert said.exit_code == 0, said.output
    assert "guests stood still for 100 ms in all, 60 ms at most" in said.output
    assert "users/a                      on n2 after 20.0 s" in said.output
    assert page.read_text().startswith("<!doctype html>")
    told = json.loads(run(tmp_path, "-o", "json").output)
    assert told["sums"]["moves"] == 4
    assert told["losses"][0]["vms"][1] == {"vm": "users/b", "node": "", "outageS": None}
    refused = run(tmp_path, "--html", str(tmp_path / "no" / "x"))
    assert refused.exit_code == 1
    assert "cannot write" in refused.output


def test_a_reason_that_repeats_the_phase_is_not_told_twice() -> None:
    failed = move("f", NOW_S - 9, "Failed", 5, reason="Failed", message="QEMU was silent")
    (one,) = history(World.of([failed], NOW_S), NOW_S - 60).moves
    assert one.why == "QEMU was silent"


def test_without_a_span_it_tells_of_the_last_hour(tmp_path: Path) -> None:
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "takenAt": rfc3339(NOW_S), "items": OBJECTS}))
    said = CliRunner().invoke(report.command, ["--from", str(file)])
    assert said.output.splitlines()[0] == f"{rfc3339(NOW_S - 3600)} to {rfc3339(NOW_S)}"
