"""The wish on a Pod reaches its QEMU, and what QEMU is reaches the Pod."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tests.agent.qemu.rig import SPEC

from drover.agent import launching, report
from drover.api import firmware


def pod(**annotations: str) -> dict[str, Any]:
    machine = json.dumps(dataclasses.asdict(SPEC))
    notes = {f"drover.dev/{name}": value for name, value in annotations.items()}
    return {
        "metadata": {"uid": "u", "annotations": {"drover.dev/machine": machine, **notes}},
        "spec": {"containers": [{"name": "d8v-compute", "image": "drover.dev/machine"}]},
    }


def test_the_wish_of_the_pod_is_that_of_the_machine() -> None:
    wished, plain = launching.spec_of(pod(firmware="10.0.2")), launching.spec_of(pod())
    assert wished == dataclasses.replace(SPEC, firmware="10.0.2")
    assert plain == SPEC


def test_a_running_pod_tells_its_qemu_and_goes_on_telling_it() -> None:
    runs = pod()
    runs["status"] = report.pod_running(runs, "10.0.0.1", 1.0, None, "10.0.2")["status"]
    assert firmware.running_on(runs) == "10.0.2"
    ended = report.pod_ended(runs, "GuestShutdown", "", 2.0)
    assert ended["status"]["containerStatuses"][0]["imageID"] == "qemu://10.0.2"


def test_a_qemu_that_was_not_asked_tells_nothing() -> None:
    runs = pod()
    runs["status"] = report.pod_running(runs, "10.0.0.1", 1.0, None, "")["status"]
    assert firmware.running_on(runs) == ""
