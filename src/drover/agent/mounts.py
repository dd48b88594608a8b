"""What makes disks unsafe after the end of a host (safety rule 12): late writes, and a clock that stood still.

A file system of the network may land what a host had cached after the host was given up. So QEMU writes past the cache
there (``cache.direct``), and what is still under way is covered by ``K`` of the fencing rule. A host that goes to sleep
wakes up later with guests that others run by now; its watchdog ends them at once, but not before the first instruction.
"""

from __future__ import annotations

from pathlib import Path

AUTO, ON, OFF = "auto", "on", "off"
_NETWORK = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "virtiofs")
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")
_UNITS = Path("/etc/systemd/system")
SLEEP = ("sleep.target", "suspend.target", "hibernate.target", "hybrid-sleep.target")


def kind_of(directory: Path, mounts: str = "") -> str:
    """The kind of file system that ``directory`` is on, as ``mounts`` (mountinfo) has it; empty: unknown."""
    best, kind = -1, ""
    for line in (mounts or _MOUNTS.read_text()).splitlines():
        before, _, after = line.partition(" - ")
        at = Path(before.split()[4].replace("\\040", " "))
        if (
            directory.is_relative_to(at) and len(at.parts) >= best
        ):  # the last mounted covers the others
            best, kind = len(at.parts), after.split()[0]
    return kind


def of_network(kind: str) -> bool:
    return kind in _NETWORK or kind.startswith("fuse.")


def direct_io(wished: str, kind: str) -> bool:
    """Whether QEMU writes past the cache. Raises ValueError for what must not be."""
    if wished not in (AUTO, ON, OFF):
        raise ValueError(f"direct_io {wished!r} is none of {AUTO}, {ON}, {OFF}")
    if wished == OFF and of_network(kind):
        raise ValueError(
            f"direct_io is off, and disks_dir is on {kind}: what this host has cached may land after another has taken "
            "its VMs"
        )
    return wished == ON or of_network(kind)


def may_sleep(units: Path = _UNITS) -> list[str]:
    """The ways to sleep that nothing keeps this host from; none where systemd does not rule."""
    if not units.is_dir():
        return []
    return [name for name in SLEEP if (units / name).resolve() != Path("/dev/null")]
