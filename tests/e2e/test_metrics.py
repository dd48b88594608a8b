"""A scrape of a running lab, over HTTPS, trusting the lab's authority: by hand, and by a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.vms import make
from tests.monitoring.prometheus import MONITORING, program
from tests.support.lab import RunningLab, eventually

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


def queries() -> dict[str, str]:
    """Of every panel, by where it stands."""
    found = {}
    for file in sorted((MONITORING / "dashboards").iterdir()):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$namespace", "default").replace("$vm", "charted")
                found[f"{file.stem}: {panel['title']} {target['refId']}"] = query
    return found


class Prometheus:
    """A real one that scrapes the lab, on loopback, with its data in ``directory``."""

    def __init__(self, lab: RunningLab, directory: Path) -> None:
        config = json.loads((lab.home.path / "controllers.json").read_text())
        example = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        [job] = example["scrape_configs"]
        job["tls_config"]["ca_file"] = str(lab.home.pki / "ca.crt")
        target = f"{config['webhook_address']}:{config['webhook_port']}"
        job["static_configs"] = [{"targets": [target]}]
        example["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
        example["rule_files"] = [str(MONITORING / "rules.yml")]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(example))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def series(self, query: str) -> list[Any]:
        """Of the last minute; none while it does not answer yet."""
        now = time.time()
        asked = {"query": query, "start": now - 60, "end": now, "step": 0.5}
        url = f"http://{self._address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]["result"]  # type: ignore[no-any-return]
        except urllib.error.URLError:
            return []

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_prometheus_scrapes_a_lab_and_every_chart_has_data(lab: RunningLab, tmp_path: Path) -> None:
    prometheus = Prometheus(lab, tmp_path)
    vm = make(lab, "charted")
    try:
        vm.wait("Running")
        eventually(lambda: prometheus.series('up{job="drover-controllers"} == 1'))
        said = lab.drover("evict", "charted", "--yes", "--wait")
        assert said.code == 0, said.out + said.err
        eventually(
            lambda: prometheus.series(
                'drover_migration_duration_seconds_count{result="Succeeded"} > 0'
            )
        )
        # What was born by the last scrape is there for a query that looks at two of them by the next.
        missing = dict(queries())

        def all_have_data() -> bool:
            for where in [where for where, query in missing.items() if prometheus.series(query)]:
                del missing[where]
            return not missing

        with contextlib.suppress(AssertionError):
            eventually(all_have_data, 20)
        assert missing == {}
        assert prometheus.series('ALERTS{alertstate="firing"}') == []
    finally:
        vm.delete(wait=True)
        prometheus.end()
