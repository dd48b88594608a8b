"""KVM or TCG: decided by booting a kernel, not by asking whether /dev/kvm opens.

Some machines open the device and then never run a guest, so the probe boots the guest image's
kernel without a root file system: it prints its version, panics, and QEMU exits. That takes a
second where KVM works. The answer is kept in the cache and asked again when kernel, processor or
QEMU change.

It does not promise speed: KVM nested in another hypervisor may be slow and still passes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Literal

Accelerator = Literal["kvm", "tcg"]

QEMU = os.environ.get("DROVER_QEMU") or "qemu-system-x86_64"
BUNDLE_PROGRAM = "qemu-system-x86_64"  # in the folder that the start script has filled
PROBE_LIMIT_S = 8
VERSION_LIMIT_S = 10


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What guests run on, and why."""

    accelerator: Accelerator
    why: str


def accelerator(cache_dir: Path | str, image_dir: Path | str | None = None) -> Accelerator:
    """The accelerator to give to QEMU; boots the probe when the cache does not know."""
    return verdict(cache_dir, image_dir).accelerator


def verdict(cache_dir: Path | str, image_dir: Path | str | None = None) -> Verdict:
    """As ``accelerator``, with the reason. The image defaults to ``$DROVER_IMAGE``."""
    device = Path("/dev/kvm")
    if not device.exists():
        return Verdict("tcg", "there is no /dev/kvm")
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict("tcg", "/dev/kvm may not be opened")
    version = qemu_version()
    if version is None:
        return Verdict("tcg", "QEMU is not installed")
    kernel = Path(image_dir or os.environ.get("DROVER_IMAGE", "")) / "vmlinuz"
    if not kernel.is_file():
        return Verdict("tcg", "not probed: the guest image is not built yet")
    record = Path(cache_dir) / "accelerator" / f"{machine_key(version, kernel)}.json"
    known = read_record(record)
    if known is None:
        known = probe_kvm(kernel)
        write_record(record, known)
    return known


def more_qemus() -> tuple[str, ...]:
    """Firmware bundles beside the machine's own QEMU."""
    program = firmware_dir() / BUNDLE_PROGRAM
    return (str(program),) if os.access(program, os.X_OK) else ()


def firmware_dir() -> Path:
    return Path(os.environ.get("DROVER_FIRMWARE") or "/nonexistent")


def why_no_more() -> str:
    """The reason that the start script has noted, if it found no second bundle."""
    try:
        return (firmware_dir() / "why").read_text().strip()
    except OSError:
        return ""


def qemu_version(binary: str = QEMU) -> str | None:
    """Such as ``7.2.17``; None when QEMU cannot be run."""
    try:
        done = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split("\n", 1)[0].split()
    return words[3] if done.returncode == 0 and len(words) > 3 else None


def machine_key(version: str, kernel: Path) -> str:
    """Names everything that the answer depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith("model name")), "")
    size = kernel.stat().st_size
    facts = "\n".join([platform.release(), platform.version(), processor, version, str(size)])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def probe_kvm(kernel: Path) -> Verdict:
    """Boots the kernel on KVM. QEMU ends by itself when it works and is killed when it does not.

    The processor is a named model, as for every guest: a fault of ``-cpu host`` is none of ours.
    """
    command = [QEMU, "-accel", "kvm", "-cpu", "qemu64", "-machine", "q35", "-m", "128"]
    command += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return Verdict("tcg", f"a probe guest did not boot on /dev/kvm in {PROBE_LIMIT_S} s")
    except OSError as error:
        return Verdict("tcg", f"QEMU cannot be run: {error.strerror}")
    if done.returncode != 0 or b"Linux version" not in done.stdout:
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        return Verdict("tcg", f"QEMU cannot use /dev/kvm: {said[-80:]}")
    return Verdict("kvm", "a probe guest booted on it")


def read_record(record: Path) -> Verdict | None:
    """The kept answer; None when there is none or it cannot be read."""
    try:
        kept = json.loads(record.read_text())
        return Verdict(kept["accelerator"], kept["why"])
    except (OSError, ValueError, KeyError):
        return None


def write_record(record: Path, known: Verdict) -> None:
    """Keeps the answer, in one step. A cache that cannot be written only costs time."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        new = record.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(dataclasses.asdict(known)) + "\n")
        new.replace(record)
    except OSError:
        return
