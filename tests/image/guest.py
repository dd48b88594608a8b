"""One real guest for the image's tests: QEMU under TCG, its serial line, QMP and agent sockets."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def make_seed(path: Path, meta_data: str, user_data: str) -> None:
    """A NoCloud seed: a floppy-sized FAT image labelled cidata, made without mounting anything."""
    run("mformat", "-C", "-f", "1440", "-v", "cidata", "-N", "0", "-i", path, "::")
    for name, text in (("meta-data", meta_data), ("user-data", user_data)):
        source = path.with_name(name)
        source.write_text(text)
        run("mcopy", "-i", path, source, f"::{name}")


class Guest:
    """A machine with the given disks; a context manager that leaves no process behind."""

    def __init__(
        self,
        home: Path,
        disk: Path,
        seed: Path | None = None,
        memory: int = 128,
        screen: bool = False,
    ) -> None:
        self._home = home
        self._raw = b""
        drives = ["-blockdev", f"driver=qcow2,node-name=d0,file.driver=file,file.filename={disk}"]
        drives += ["-device", "virtio-blk-pci,drive=d0,bootindex=1"]
        if seed:
            source = f"file.driver=file,file.filename={seed}"
            drives += ["-blockdev", f"driver=raw,node-name=s0,read-only=on,{source}"]
            drives += ["-device", "virtio-blk-pci,drive=s0"]
        agent = f"socket,path={home}/agent,server=on,wait=off,id=agent"
        command = [
            *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35,graphics=off"),
            *("-cpu", "Nehalem", "-m", str(memory), "-nodefaults", "-no-user-config"),
            *(
                "-display",
                "none",
                "-serial",
                "stdio",
                "-qmp",
                f"unix:{home}/qmp,server=on,wait=off",
            ),
            *("-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,romfile="),
            *("-device", "virtio-serial-pci", "-chardev", agent),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-device", "pvpanic-pci", "-action", "reboot=shutdown", *drives),
        ]
        command += ["-device", "VGA"] if screen else []
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_for(self, text: str, seconds: float = 150) -> str:
        """All serial output since the last call, when `text` has come."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while text not in self._text():
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} on the serial line:\n{self._text()}"
            if select.select([self._process.stdout], [], [], left)[0]:
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, f"QEMU ended before {text!r}:\n{self._text()}"
                self._raw += data
        seen, self._raw = self._text(), b""
        return seen

    def _text(self) -> str:
        return self._raw.decode(errors="replace").replace("\r\n", "\n")

    def shell(self, command: str) -> str:
        """Run a line in the serial shell and return what it printed."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"echo BEG''IN; {command}; echo END''MARK\n".encode())
        self._process.stdin.flush()
        # the quotes tell the marks from their echo by the line editor
        return self.wait_for("ENDMARK").rsplit("BEGIN\n", 1)[1].rsplit("ENDMARK", 1)[0]

    def _call(self, name: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self._home / name))
            stream = sock.makefile("rw")
            if name == "qmp":
                stream.readline()
            replies = []
            for request in requests:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                reply = json.loads(stream.readline())
                while "event" in reply:
                    reply = json.loads(stream.readline())
                replies.append(reply)
            return replies

    def qmp(self, command: str, **arguments: Any) -> dict[str, Any]:
        request = {"execute": command, "arguments": arguments}
        return self._call("qmp", {"execute": "qmp_capabilities"}, request)[1]

    def type(self, keys: list[str]) -> None:
        """On the keyboard, as a viewer of the screen does."""
        for key in keys:
            self.qmp("send-key", keys=[{"type": "qcode", "data": key}])
            time.sleep(0.15)  # a key is held for 0.1 s

    def agent(self, command: str) -> dict[str, Any]:
        return self._call("agent", {"execute": command})[0]

    def wait_ended(self, seconds: float = 60) -> int:
        return self._process.wait(seconds)
