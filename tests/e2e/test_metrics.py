"""A scrape of a running lab, as Prometheus would do it: over HTTPS, trusting the lab's authority."""

from __future__ import annotations

import json
import ssl
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.lab import RunningLab

pytestmark = pytest.mark.e2e


def test_a_lab_is_scraped(lab: RunningLab) -> None:
    config = json.loads((lab.home.path / "controllers.json").read_text())
    url = f"https://{config['webhook_address']}:{config['webhook_port']}/metrics"
    trust = ssl.create_default_context(cafile=str(lab.home.pki / "ca.crt"))
    with urllib.request.urlopen(url, context=trust, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert "drover_migration_duration_seconds" in families
    nodes = families["d8_virtualization_virtualmachineclass_available_node"].samples
    found = {(sample.labels["name"], sample.labels["node"]) for sample in nodes}
    assert {("generic", f"virtlab-pt-{number}") for number in (1, 2, 3)} <= found
    images = families["d8_virtualization_clustervirtualimage_status_phase"].samples
    assert any(sample.value == 1 and sample.labels["phase"] == "Ready" for sample in images)
