"""The image boots from its own disk and does with its seed what a user expects, on real QEMU."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.image.guest import Guest, make_seed, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]

META = "instance-id: {id}\nlocal-hostname: from-meta\n"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = os.environ.get("DROVER_IMAGE")
    if not folder:
        pytest.skip("DROVER_IMAGE names no folder with the built image")
    base = Path(folder, "drover-linux.qcow2").resolve()
    disk = tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", base, disk, "1G")
    return disk


def test_script_once_per_instance_and_clean_end(tmp_path: Path, disk: Path) -> None:
    seed = tmp_path / "seed.img"
    script = "#!/bin/bash\necho ran >>/root/runs\nhostname >/root/name\nip -4 route >/root/route\n"
    make_seed(seed, META.format(id="one"), script)
    with Guest(tmp_path, disk, seed) as guest:
        booted = guest.wait_for("GUEST READY")
        assert "GUEST DHCP 10.0.2.15" in booted
        assert "GUEST USERDATA done one" in booted
        assert guest.shell("cat /root/runs /root/name") == "ran\nfrom-meta\n"
        assert "10.0.2.0/24 dev eth0" in guest.shell("cat /root/route")
        assert int(guest.shell("df -m / | awk 'END {print $2}'")) > 900, "the root did not grow"
        guest.shell("guest-tool ledger /root/ledger 5 100")
        assert guest.agent("guest-ping") == {"return": {}}
        guest.qmp("system_powerdown")
        assert guest.wait_ended() == 0
    with Guest(tmp_path, disk, seed) as guest:
        assert "USERDATA" not in guest.wait_for("GUEST READY")
        assert guest.shell("cat /root/runs; hostname") == "ran\nfrom-meta\n"
        guest.shell("guest-tool ledger /root/ledger 5 50")
        ledger = json.loads(guest.shell("guest-tool check /root/ledger"))
        assert (len(ledger["boots"]), ledger["first"], ledger["last"]) == (2, 1, 150)
        assert (ledger["duplicates"], ledger["gaps"], ledger["torn"]) == (0, 0, 0)
        guest.shell("(sh -c 'sleep 1; reboot' &)")  # when the shell has answered
        assert guest.wait_ended() == 0
    run("qemu-img", "check", disk)


CLOUD_CONFIG = """\
#cloud-config
hostname: from-cloud-config
packages: [nginx]
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampl test
write_files:
  - path: /etc/motd
    permissions: '0640'
    content: |
      It's here:
        two lines
  - path: /srv/deep/b64
    encoding: b64
    content: aGVsbG8K
runcmd:
  - echo "one" >/root/cmd
  - [sh, -c, "echo 'two' >>/root/cmd"]
"""


def test_the_screen_has_a_shell(tmp_path: Path, disk: Path) -> None:
    """What a VNC viewer shows, read from the guest's own copy of its screen."""
    with Guest(tmp_path, disk, screen=True) as guest:
        guest.wait_for("GUEST READY")
        guest.type(["i", "d", "ret"])
        shown = "until grep -q 'uid=0(root)' /dev/vcs1; do sleep 0.2; done; fold -w 80 /dev/vcs1"
        assert ":/# id" in guest.shell(shown)


def test_cloud_config(tmp_path: Path, disk: Path) -> None:
    make_seed(tmp_path / "seed.img", META.format(id="cc"), CLOUD_CONFIG)
    with Guest(tmp_path, disk, tmp_path / "seed.img") as guest:
        booted = guest.wait_for("GUEST READY")
        assert "GUEST USERDATA ignored: packages" in booted
        assert guest.shell("hostname; cat /etc/motd /srv/deep/b64 /root/cmd") == (
            "from-cloud-config\nIt's here:\n  two lines\nhello\none\ntwo\n"
        )
        assert guest.shell("stat -c %a /etc/motd /root/.ssh/authorized_keys") == "640\n600\n"
        assert "test" in guest.shell("cat /root/.ssh/authorized_keys")
        assert guest.shell("pidof dropbear >/dev/null && echo up") == "up\n"


def test_probe_needs_no_disk() -> None:
    folder = os.environ.get("DROVER_IMAGE")
    if not folder:
        pytest.skip("DROVER_IMAGE names no folder with the built image")
    machine = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-m",
        "128",
        "-nodefaults",
        "-display",
        "none",
    ]
    boot = ["-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd"]
    line = ["-append", "console=ttyS0 quiet guest.probe", "-serial", "stdio"]
    done = subprocess.run([*machine, *boot, *line], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0
    assert "GUEST PROBE OK" in done.stdout
