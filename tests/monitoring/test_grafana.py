"""The dashboards, read by the types that Grafana generates of its own schema: nothing in them is unknown to it, of
another kind, or dropped. Grafana itself is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.monitoring.prometheus import MONITORING

pytest.importorskip("grafana_foundation_sdk", reason="run through ./test")

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

plugins.register_default_plugins()
FILES = sorted((MONITORING / "dashboards").glob("*.json"))
UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def read(name: str) -> dict[str, Any]:
    return json.loads((MONITORING / "dashboards" / f"{name}.json").read_text())  # type: ignore[no-any-return]


def lost(given: Any, kept: Any, at: str = "") -> Iterator[str]:
    """Where the second differs from the first, but for what was added."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept.get(key), f"{at}.{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{at}[{number}]")
    elif given != kept:
        yield at


def through_grafana(given: dict[str, Any]) -> list[str]:
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
    return list(lost(given, kept))


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_grafana_knows_all_of_a_dashboard(name: str) -> None:
    assert through_grafana(read(name)) == []


def test_a_dashboard_that_it_does_not_know_is_found() -> None:
    board = read("nodes")
    board["panels"][0]["gridpos"] = board["panels"][0].pop("gridPos")
    board["panels"][1]["fieldConfig"]["defaults"]["unitt"] = "s"
    assert through_grafana(board) == [
        ".panels[0].gridpos",
        ".panels[1].fieldConfig.defaults.unitt",
    ]


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_what_grafana_takes_and_then_does_not_show(name: str) -> None:
    """Units, sources, identities and variables: any text would be taken."""
    board = read(name)
    panels = board["panels"]
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in panels} <= UNITS
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {one["name"] for one in board["templating"]["list"]}
    assert "datasource" in variables
    targets = [target for panel in panels for target in panel["targets"]]
    for one in [*panels, *targets]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    asked = {name for target in targets for name in re.findall(r"\$(\w+)", target["expr"])}
    assert asked == variables - {"datasource"}


def test_no_two_dashboards_are_one() -> None:
    assert len({read(file.stem)["uid"] for file in FILES}) == len(FILES)
