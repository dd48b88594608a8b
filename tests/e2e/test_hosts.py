"""A host that joins the session's lab by token alone: certificates, node, a guest that moves onto it and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.vms import make, operate
from tests.support.hosts import Host, a_host, token_of, wait_ready
from tests.support.lab import RunningLab

pytestmark = pytest.mark.e2e

HOST, NUMBER = "host-9", 9
JOIN_S = 10.0  # of the join itself, on an idle machine


@pytest.fixture
def host(lab: RunningLab, tmp_path: Path) -> Iterator[Host]:
    with a_host(lab, HOST, NUMBER, tmp_path) as made:
        yield made


def test_a_host_joins_by_token_and_takes_a_guest(lab: RunningLab, host: Host) -> None:
    server, token, ca_hash = token_of(lab)
    wrong = host.join(server, token, "sha256:" + "0" * 64)
    assert (wrong.code, "somebody stands between" in wrong.err) == (1, True), wrong.err
    began = time.monotonic()
    said = host.join(server, token, ca_hash)
    assert said.code == 0, said.out + said.err
    print(f"joined after {time.monotonic() - began:.1f} s")
    assert token.partition(".")[2] not in lab.drover("token", "list").out
    assert HOST in lab.drover("token", "list").out
    again = host.join(server, token, ca_hash)
    assert (again.code, f"has joined as {HOST}" in again.err) == (1, True), again.err
    wait_ready(lab, HOST)
    vm = make(lab, "joins")
    try:
        home = vm.wait_booted()["nodeName"]
        boot = vm.boot_id()
        # It may have been started on the new host already.
        for node in (HOST, home) if home != HOST else ("virtlab-pt-1", HOST):
            selector = {"nodeSelector": {"kubernetes.io/hostname": node}}
            status = operate(lab, f"joins-{node}", vm.name, "Migrate", migrate=selector)
            assert status["phase"] == "Completed", status
            assert vm.wait("Running")["nodeName"] == node
        assert vm.boot_id() == boot
        vm.assert_runs_once()
    finally:
        vm.delete(wait=True)
