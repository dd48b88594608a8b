"""Bad input: each gets the error or condition that a user would look for, and nothing starts, breaks or leaks."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.vms import GROUP, Vm, make, manifest, operate, said
from tests.support.lab import RunningLab, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


class _Files(http.server.BaseHTTPRequestHandler):
    """/junk is no image; everything else is not found."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/junk" else 404)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"junk")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def image(name: str, url: str, **more: Any) -> str:
    http_source = {"url": url, **more}
    return json.dumps(
        {
            "apiVersion": GROUP,
            "kind": "ClusterVirtualImage",
            "metadata": {"name": name},
            "spec": {"dataSource": {"type": "HTTP", "http": http_source}},
        }
    )


@pytest.fixture
def vm(lab: RunningLab, request: pytest.FixtureRequest) -> Iterator[Vm]:
    """A name for the VM of one test; what bears it is deleted afterwards."""
    name = request.node.name.replace("_", "-")[5:45].strip("-")
    bad = Vm(lab, name)
    yield bad
    bad.delete()


def stays_pending(vm: Vm, condition: str, *words: str) -> None:
    """The VM waits and names its reason in a condition; no Pod of it was bound."""

    def told() -> bool:
        text = json.dumps(vm.condition(condition))
        return vm.status.get("phase") == "Pending" and all(word in text for word in words)

    try:
        eventually(told, 60)
    except AssertionError:
        raise AssertionError(f"{words} not in {vm.status}") from None
    assert vm.guest.copies() == []


def test_unknown_class(lab, vm):
    said_by = lab.k(
        "apply", "-f", "-", stdin=manifest(vm.name, virtualMachineClassName="no-such-class")
    )
    assert said_by.code == 0, said_by.err
    assert 'Warning: The VM class "no-such-class" does not exist' in said_by.err
    stays_pending(vm, "VirtualMachineClassReady", "False", "no-such-class")


def test_unknown_image(lab, vm):
    refs = [{"kind": "ClusterVirtualImage", "name": "no-such-image"}]
    lab.apply(manifest(vm.name, blockDeviceRefs=refs))
    stays_pending(vm, "BlockDevicesReady", "False", "no-such-image")


def test_memory_beyond_every_node(lab, vm):
    lab.apply(manifest(vm.name, memory={"size": "100Gi"}))
    stays_pending(vm, "Running", "PodNotStarted", "nodes are available")


def test_a_name_of_300_characters(lab):
    said_by = lab.k("apply", "-f", "-", stdin=manifest("n" * 300))
    assert said_by.code != 0
    assert "must be no more than" in said_by.err or "Too long" in said_by.err


@pytest.mark.parametrize(
    ("name", "path", "more", "words"),
    [
        ("missing", "/none", {}, "404"),
        ("junk", "/junk", {}, "image"),
        (
            "checksum",
            "/junk",
            {"checksum": {"sha256": hashlib.sha256(b"x").hexdigest()}},
            "sha256 is",
        ),
    ],
)
def test_images_that_are_none(lab, web, name, path, more, words):
    name = f"bad-{name}"
    lab.apply(image(name, web + path, **more))

    def failed() -> bool:
        status = lab.get("cvi", name).get("status") or {}
        return status.get("phase") == "Failed" and words in json.dumps(status).lower()

    try:
        eventually(failed, 60)
    except AssertionError:
        raise AssertionError(lab.get("cvi", name)) from None
    assert lab.k("delete", "cvi", name, "--timeout=30s").code == 0


def test_an_operation_for_no_vm(lab):
    status = operate(lab, "op-for-nobody", "nobody", "Evict")
    assert status["phase"] == "Failed"
    assert said(status) == ("VirtualMachineNotFound", "VirtualMachine not found")


def test_operations_on_vms_that_are_off(lab):
    stopped, off = make(lab, "is-stopped", "Manual"), make(lab, "is-off", "AlwaysOff")
    stopped.wait("Stopped")
    off.wait("Stopped")
    phase = operate(lab, "evict-stopped", stopped.name, "Evict")
    policy = operate(lab, "evict-off", off.name, "Evict")
    start = operate(lab, "start-off", off.name, "Start")
    assert said(phase)[0] == "NotApplicableForVirtualMachinePhase"
    assert "in phase Stopped" in said(phase)[1]
    assert [said(s)[0] for s in (policy, start)] == ["NotApplicableForVirtualMachineRunPolicy"] * 2
    assert "AlwaysOff" in said(policy)[1]
    assert stopped.pods() == off.pods() == []
    stopped.delete()
    off.delete()


def test_deleting_a_disk_and_a_class_in_use(lab):
    """Both wait for the VM that uses them, which does not notice."""
    lab.apply(
        json.dumps(
            {
                "apiVersion": GROUP,
                "kind": "VirtualMachineClass",
                "metadata": {"name": "in-use"},
                "spec": lab.get("vmclass", "generic")["spec"],
            }
        )
    )
    vm = make(lab, "uses-things", virtualMachineClassName="in-use")
    vm.wait_booted()  # a guest that still boots does not hear its power button
    for kind, name in (("vd", vm.name), ("vmclass", "in-use")):
        lab.k("delete", kind, name, "--wait=false")
        found = lab.get(kind, name)
        assert found is not None, f"{kind} {name} is gone though a VM uses it"
        assert found["metadata"]["finalizers"]
        vm.assert_runs_once()
    vm.delete(wait=True)
    eventually(lambda: lab.get("vd", vm.name) is None and lab.get("vmclass", "in-use") is None)
