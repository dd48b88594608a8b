"""Alerts and dashboards, checked by promtool and against the papers' names of metrics."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from tests.monitoring.prometheus import MONITORING, program

from drover.cli.main import COMMANDS

CASES = Path(__file__).with_name("alerts.yml")
RULES = MONITORING / "rules.yml"
DOCUMENTED = set(
    re.findall(r"^\| `(\w+)`", (MONITORING.parents[1] / "docs/metrics.md").read_text(), re.M)
)
_NAME = re.compile(r"\b(?:d8_virtualization|drover)_\w+")


def alerts() -> list[dict[str, object]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [program("promtool"), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_by_its_fault_and_by_nothing_else(tmp_path: Path) -> None:
    cases = yaml.safe_load(CASES.read_text())
    fired = {case["name"] for case in cases["tests"]} - {"all is well"}
    assert fired == {alert["alert"] for alert in alerts()}
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr
    # The cases can fail: an alert that does not wait is found.
    hasty = tmp_path / "rules.yml"
    hasty.write_text(RULES.read_text().replace("for: 2m", "for: 0m"))
    cases["rule_files"] = [str(hasty)]
    cases["tests"] = [case for case in cases["tests"] if case["name"] == "DroverNodeLost"]
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases))
    assert promtool("test", "rules", tmp_path / "cases.yml").returncode == 1


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do_in_commands_that_there_are(
    alert: dict[str, dict[str, str]],
) -> None:
    words = " ".join(alert["annotations"].values())
    assert set(re.findall(r"`drover (\S+?)[ `]", words)) <= set(COMMANDS)
    assert int(alert["labels"]["severity_level"]) in range(3, 10)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("maker", MONITORING / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dashboards_are_those_of_their_tables(maker: ModuleType) -> None:
    files = sorted((MONITORING / "dashboards").iterdir())
    assert [file.stem for file in files] == sorted(maker.DASHBOARDS)
    for file in files:
        assert file.read_text() == maker.text(file.stem), "run make_dashboards.py"
        panels = json.loads(file.read_text())["panels"]
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
        assert len(set(places)) == len(panels)
        assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)


def test_only_metrics_of_the_papers_are_asked_for(maker: ModuleType) -> None:
    texts = [RULES.read_text(), CASES.read_text(), *map(maker.text, maker.DASHBOARDS)]
    used = {name for text in texts for name in _NAME.findall(text)}
    bare = {re.sub(r"_(bucket|count)$", "", name) for name in used}
    assert bare <= DOCUMENTED
