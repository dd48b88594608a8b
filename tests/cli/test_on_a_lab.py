"""What a user meets, on a real lab with real guests: console, ssh, logs, attach, evict, and the demo as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.lab import CHECKOUT, RunningLab, a_lab, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAMESPACE = "users"
POD = "{.status.virtualMachinePods[?(@.active==true)].name}"
MOST_PING_GAP_MS = 20_000  # of a machine that does much besides
ABORT_S = 10.0


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("ssh") is None:
        pytest.skip("ssh is not installed")
    path = tmp_path_factory.mktemp("ssh") / "key"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(make, check=True)
    return path


@pytest.fixture(scope="module")
def vm(lab: RunningLab, key: Path) -> Iterator[str]:
    """NAME.NAMESPACE of a VM whose guest has booted and knows the key."""
    public = key.with_suffix(".pub").read_text().strip()
    manifest = (CHECKOUT / "examples/linux-vm.yaml").read_text()
    assert manifest.count("- YOUR-KEY") == 1
    manifest = manifest.replace("linux-vm", "my-vm").replace("- YOUR-KEY", f"- {public}")
    assert lab.k("create", "namespace", NAMESPACE).code == 0
    try:
        assert lab.k("-n", NAMESPACE, "apply", "-f", "-", stdin=manifest).code == 0
        lab.wait_running("my-vm", NAMESPACE)
        eventually(lambda: "GUEST READY" in logs(lab), 180.0)
        yield f"my-vm.{NAMESPACE}"
    finally:
        lab.k("delete", "namespace", NAMESPACE, "--timeout=120s")


def value(lab: RunningLab, path: str) -> str:
    return lab.k("-n", NAMESPACE, "get", "vm", "my-vm", "-o", f"jsonpath={path}").out


def logs(lab: RunningLab, *options: str) -> str:
    return lab.k("-n", NAMESPACE, "logs", value(lab, POD), *options).out


class Terminal:
    """A command on a pseudo terminal, as a person has it."""

    def __init__(self, lab: RunningLab, *arguments: str) -> None:
        self._pid, self.fd = pty.fork()
        if self._pid == 0:
            argv = lab.argv(*arguments)
            os.chdir(CHECKOUT)
            os.execve(argv[0], argv, {**lab.environment, "TERM": "xterm"})
        self.seen = ""
        self.code: int | None = None

    def expect(self, pattern: str, limit_s: float = 60.0) -> None:
        deadline = time.monotonic() + limit_s
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # its end
                    assert re.search(pattern, self.seen), self.seen
        self.seen = self.seen[re.search(pattern, self.seen).end() :]  # type: ignore[union-attr]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def end(self, limit_s: float = 20.0) -> int:
        """Wait for its end; the exit code."""
        deadline = time.monotonic() + limit_s
        while self.code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        assert self.code is not None, "it does not end"
        return self.code

    def close(self) -> None:
        if self.code is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(lab: RunningLab) -> Iterator[type[Terminal]]:
    opened: list[Terminal] = []

    class Kept(Terminal):
        def __init__(self, *arguments: str) -> None:
            super().__init__(lab, *arguments)
            opened.append(self)

    yield Kept  # type: ignore[misc]
    for one in opened:
        one.close()


def test_console_on_a_terminal(vm, terminal):
    console = terminal("console", vm)
    console.expect(r"Ctrl\+\] leaves")
    console.type("\r")
    console.expect("my-vm:")
    assert console.is_raw()
    console.type("echo the'' answer $((6*7))\r")
    console.expect("the answer 42")
    console.type("\x1d")
    console.expect("console left")
    assert console.end() == 0
    assert not console.is_raw()


def test_console_from_a_pipe(lab, vm):
    said = lab.drover("console", vm, "--linger", "6s", stdin="echo $((40+2)) from $(hostname)\n")
    assert said.code == 0
    assert "42 from my-vm" in said.out


def test_logs_are_the_serial_log(lab, vm):
    assert "first boot done" in logs(lab)
    assert len(logs(lab, "--tail=1").splitlines()) <= 1
    refused = lab.k("-n", NAMESPACE, "logs", value(lab, POD), "--timestamps")
    assert "a serial log has no times" in refused.out + refused.err


def test_kubectl_attach(lab, vm, terminal):
    attached = terminal("k", "-n", NAMESPACE, "attach", "-it", value(lab, POD))
    attached.expect("press")
    attached.type("\r")
    attached.expect("my-vm:")
    attached.type("echo by'' attach $((6*8))\r")
    attached.expect("by attach 48")


def test_exec_is_refused_with_a_way_out(lab, vm):
    said = lab.k("-n", NAMESPACE, "exec", value(lab, POD), "--", "ls")
    assert said.code != 0


def started(lab: RunningLab, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        lab.argv(*arguments),
        cwd=CHECKOUT,
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@contextlib.contextmanager
def serving(lab: RunningLab, *arguments: str) -> Iterator[list[dict[str, object]]]:
    """A command that listens until it is ended; what it printed."""
    command = started(lab, *arguments, "-o", "json")
    try:
        assert command.stdout is not None
        told = json.loads(command.stdout.readline())
        yield told if isinstance(told, list) else [told]
        command.send_signal(signal.SIGINT)
        assert command.wait(20) == 0
    finally:
        command.kill()
        command.communicate()


def test_port_forward_reaches_the_guest(lab, vm):
    with serving(lab, "port-forward", vm, ":22", ":9") as (ssh, closed):
        with socket.create_connection(("127.0.0.1", ssh["local"]), 10) as line:
            assert line.recv(8) == b"SSH-2.0-"
        with socket.create_connection(("127.0.0.1", closed["local"]), 10) as line:
            assert line.recv(8) == b""


def test_kubectl_port_forwards_too(lab, vm):
    command = started(lab, "k", "-n", NAMESPACE, "port-forward", value(lab, POD), ":22")
    try:
        assert command.stdout is not None
        found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", command.stdout.readline())
        assert found is not None
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", int(found[1])), 10) as line:
                assert line.recv(8) == b"SSH-2.0-"
    finally:
        command.kill()
        command.communicate()


def test_vnc_shows_the_screen(lab, vm):
    with (
        serving(lab, "vnc", vm) as (told,),
        socket.create_connection(("127.0.0.1", told["port"]), 10) as line,
    ):
        assert line.recv(12) == b"RFB 003.008\n"
        line.sendall(b"RFB 003.008\n")
        assert line.recv(2) == b"\x01\x01"  # one way in: without a password


def test_status_and_top_see_the_vm(lab, vm):
    said = lab.drover("status", "-o", "json")
    seen = json.loads(said.out)
    assert (said.code, seen["well"]) == (0, True)
    assert not any("my-vm" in one["says"] for one in seen["attention"])
    [mine] = [
        row
        for row in json.loads(lab.drover("top", "vms", "-o", "json").out)
        if row["name"] == f"{NAMESPACE}/my-vm"
    ]
    assert mine["node"] == value(lab, "{.status.nodeName}")
    assert mine["cpuMilli"] > 0


def test_status_tells_of_an_api_that_hangs_and_ends_soon(lab, vm):
    assert lab.drover("lab", "api-down").code == 0
    try:
        said = lab.drover("status", limit_s=15)
    finally:
        assert lab.drover("lab", "api-up").code == 0
    assert said.code == 1
    assert "The API does not answer: no answer within 3 s" in said.out


def test_ssh_with_a_key_that_the_guest_does_not_know_tells_where_keys_come_from(lab, vm, tmp_path):
    other = tmp_path / "other"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)]
    subprocess.run(make, check=True)
    said = lab.drover("ssh", "-i", str(other), vm, "--", "true")
    assert said.code == 255
    assert "Permission denied" in said.err
    assert 'could not log in to VirtualMachine "users/my-vm" as root' in said.err
    assert "ssh_authorized_keys" in said.err


def test_ssh(lab, vm, key):
    said = lab.drover("ssh", "-i", str(key), vm, "--", "hostname; exit 7")
    assert (said.code, said.out, said.err) == (7, "my-vm\n", "")


def test_the_console_follows_a_vm_that_is_evicted(lab, vm, terminal):
    source, address = value(lab, "{.status.nodeName}"), value(lab, "{.status.ipAddress}")
    console = terminal("console", vm)
    console.expect(rf"{source}\. Ctrl")
    said = lab.drover("evict", vm, "--yes", "--wait")
    assert said.code == 0, said.out + said.err
    assert "MiB copied" in said.out
    assert said.out.endswith(" completed.\n")
    target = value(lab, "{.status.nodeName}")
    assert target not in ("", source)
    assert value(lab, "{.status.ipAddress}") == address
    console.expect(rf"{target}\. Ctrl")
    console.type("\recho still'' here\r")
    console.expect("still here")
    console.type("\x1d")
    assert console.end() == 0


def test_the_report_tells_of_that_move(lab, vm, tmp_path):
    page = tmp_path / "page.html"
    said = lab.drover("report", "--since", "1h", "--html", str(page), "-o", "json")
    assert said.code == 0, said.err
    [move] = [m for m in json.loads(said.out)["moves"] if m["vm"] == f"{NAMESPACE}/my-vm"]
    assert (move["result"], move["target"]) == ("Succeeded", value(lab, "{.status.nodeName}"))
    assert move["downtimeMs"] > 0
    assert f"{NAMESPACE}/my-vm" in page.read_text()


def test_why_and_whatif_of_what_is_there(lab, vm):
    node = value(lab, "{.status.nodeName}")
    told = json.loads(lab.drover("why", vm, "-o", "json").out)
    [place] = [one for one in told if one["about"] == "place"]
    assert node in place["says"]
    assert {"kind": "VirtualMachine", "namespace": NAMESPACE, "name": "my-vm"} in place["objects"]
    said = lab.drover("why", node)
    assert said.code == 0
    assert f"{node} carries" in said.out
    found = json.loads(lab.drover("whatif", "drain", node, "-o", "json").out)
    mine = [step for step in found["steps"] if step["vm"] == f"{NAMESPACE}/my-vm"]
    assert [step["source"] for step in mine] == [node]
    assert mine[0]["target"] not in ("", node)
    lost = lab.drover("whatif", "lose", node)
    assert f"{NAMESPACE}/my-vm" in lost.out
    assert "Nothing was touched." in lost.out


PLANTED = "s3kr3t-Ohne-Ende"


def test_a_support_bundle_holds_no_secrets(lab, vm, key, tmp_path):
    """Planted in a Secret, in the guest's output, and (the key) in the VM's user data."""
    public = key.with_suffix(".pub").read_text().split()[1]
    secret = ("create", "secret", "generic", "planted", f"--from-literal=word={PLANTED}")
    assert lab.k("-n", NAMESPACE, *secret).code == 0
    lab.drover("console", vm, "--linger", "2s", stdin=f"echo the word is {PLANTED}\n")
    eventually(lambda: PLANTED in logs(lab), 30)  # a busy guest is slow to answer
    bundle = tmp_path / "bundle.tar.gz"
    said = lab.drover("collect", str(bundle))
    assert (said.code, said.err) == (0, ""), said.out
    with tarfile.open(bundle) as tar:
        files = {one.name: tar.extractfile(one).read().decode() for one in tar.getmembers()}
    for name, text in files.items():
        assert PLANTED not in text, name
        assert public not in text, name
        assert "PRIVATE KEY" not in text, name
        assert "ssh_authorized_keys" not in text, name
    assert not any("Secret" in name for name in files)
    held = "\n".join(files)
    for part in (
        "objects/VirtualMachine.json",
        "objects/Event.json",
        "logs/controllers.log",
        "versions.json",
    ):
        assert f"drover-bundle/{part}" in files
    assert "/serial.log" in held
    assert "/qmp-events.log" in held
    serial = "".join(text for name, text in files.items() if name.endswith("/serial.log"))
    assert "the word is [redacted]" in serial
    assert bundle.stat().st_mode & 0o077 == 0
    again = lab.drover("collect", str(bundle))
    assert again.code == 1
    assert "exists already" in again.err


@pytest.fixture
def stage():
    """A lab for the demo alone, since it leaves what users then look at: another QEMU is wished for, and the like."""
    with a_lab() as running:
        yield running


@pytest.mark.timeout(900)
def test_the_demo(stage):
    """One of its VMs is there before, as in a second run."""
    lab = stage
    assert lab.k("apply", "-f", "examples/linux-vm.yaml").code == 0
    said = lab.drover("demo", limit_s=700)
    assert said.code == 0, said.out + said.err
    assert said.out.count("\nOK  ") == 16
    assert "FAILED" not in said.out
    assert said.out.count("Fenced: nothing of it runs") == 2
    assert said.out.count("default/linux-vm starts on virtlab-pt-") == 2
    assert "virtualmachineoperation.virtualization.deckhouse.io/evict-linux-vm-" in said.out
    figures = said.out.split("== What happened", 1)[1]
    gap = re.search(r"longest time without an answer.* (\d+) ms", figures)
    gone = re.search(r"to the target Pod's end +([\d.]+) s", figures)
    assert gap is not None
    assert gone is not None
    assert int(gap[1]) < MOST_PING_GAP_MS
    assert float(gone[1]) < ABORT_S
    assert "The lab is left running" in figures
