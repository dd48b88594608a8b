"""Disks on the network, and hosts that may go to sleep (safety rule 12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.agent import mounts

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:50 / /srv rw - nfs4 10.0.0.9:/srv rw
41 40 254:3 / /srv/fast\\040disks rw - xfs /dev/vdb rw
42 22 0:51 / /mnt/gluster rw - fuse.glusterfs h:/v rw
43 22 254:4 / /over rw - ext4 /dev/vdc rw
44 43 0:52 / /over rw - ceph mon:/ rw
"""


@pytest.mark.parametrize(
    ("directory", "kind", "network"),
    [
        ("/var/lib", "ext4", False),
        ("/srv", "nfs4", True),
        ("/srv/disks", "nfs4", True),
        ("/srvother", "ext4", False),
        ("/srv/fast disks/a", "xfs", False),
        ("/mnt/gluster/x", "fuse.glusterfs", True),
        ("/over/x", "ceph", True),
    ],
)
def test_the_mount_that_holds_a_directory_decides(directory: str, kind: str, network: bool) -> None:
    assert mounts.kind_of(Path(directory), MOUNTS) == kind
    assert mounts.of_network(kind) is network
    assert mounts.direct_io("auto", kind) is network
    assert mounts.direct_io("on", kind)


def test_the_cache_may_not_stand_between_a_guest_and_the_network() -> None:
    assert not mounts.direct_io("off", "ext4")
    with pytest.raises(ValueError, match="may land after another has taken its VMs"):
        mounts.direct_io("off", "nfs4")
    with pytest.raises(ValueError, match="none of auto, on, off"):
        mounts.direct_io("yes", "ext4")


def test_this_machine_has_a_root() -> None:
    assert mounts.kind_of(Path("/"))


def test_a_host_may_sleep_unless_that_is_masked(tmp_path: Path) -> None:
    assert mounts.may_sleep(tmp_path / "no systemd") == []
    (tmp_path / "suspend.target").symlink_to("/dev/null")
    assert mounts.may_sleep(tmp_path) == ["sleep.target", "hibernate.target", "hybrid-sleep.target"]
    for name in mounts.SLEEP:
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to("/dev/null")
    assert mounts.may_sleep(tmp_path) == []
