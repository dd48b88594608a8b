#!/usr/bin/env python3
"""Writes dashboards/*.json, which Grafana imports, from panels.yml: run it after a change there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
DASHBOARDS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "panels.yml").read_text())
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_INFO = "d8_virtualization_virtualmachine_info"
VALUES = {
    "namespace": f"label_values({_INFO}, namespace)",
    "vm": f'label_values({_INFO}{{namespace="$namespace"}}, name)',
}
COLUMNS = 24
NAMED = ("Status", "Node name", "VMClass")  # panels that show a label and no number


def dashboard(name: str) -> dict[str, Any]:
    given = DASHBOARDS[name]
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}
    listed = [
        {"name": one, "type": "query", "datasource": SOURCE, "query": VALUES[one], "refresh": 2}
        for one in given["variables"]
    ]
    if len(listed) == 1:
        listed[0] |= {"includeAll": True, "multi": True, "allValue": ".*"}
    return {
        "uid": f"drover-{name}",
        "title": given["title"],
        "tags": ["drover", "virtualization"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, *listed]},
        "panels": laid_out(given["panels"]),
    }


def laid_out(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From left to right, a new line where one is full."""
    made, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        kind, width = panel["show"]["kind"], panel["show"]["width"]
        height = 4 if kind in ("stat", "gauge") else 8
        if x + width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        made.append(
            {
                "id": number,
                "title": panel["title"],
                "type": kind,
                "datasource": SOURCE,
                "gridPos": {"x": x, "y": y, "w": width, "h": height},
                "fieldConfig": {"defaults": {"unit": panel["show"]["unit"]}, "overrides": []},
                "options": {"textMode": "name"} if panel["title"] in NAMED else {},
                "targets": [
                    {
                        "refId": chr(65 + i),
                        "expr": expr,
                        "legendFormat": legend,
                        "datasource": SOURCE,
                    }
                    for i, (legend, expr) in enumerate(panel["queries"].items())
                ],
            }
        )
        x, tallest = x + width, max(tallest, height)
    return made


def text(name: str) -> str:
    return json.dumps(dashboard(name), indent=1) + "\n"


if __name__ == "__main__":
    for one in DASHBOARDS:
        (HERE / "dashboards" / f"{one}.json").write_text(text(one))
