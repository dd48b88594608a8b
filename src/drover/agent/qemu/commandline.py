"""A machine spec becomes QEMU's argument vector. Pure.

What the guest sees is fixed here: versioned machine type, named CPU model, every device at an
explicit PCI address; so both ends of a move, and two QEMU versions, agree. JSON forms take names as
they are; the few options that know no JSON get their commas doubled, and the CPU model must match a
pattern, so no name can smuggle in an option.

Choices: ``reboot=shutdown`` and the two pauses keep a guest that ended around, so that a restarted
agent can still ask why. ``locking=on`` is the second guard against two writers and is not
configurable. TCG gets one thread per CPU.

A guest that boots by EFI has two flash chips: the firmware's code, read only, and its variables, whose file is opened
and locked as a disk is: by the copy that runs.

       addr  0x01 display   0x02 network   0x03 entropy   0x04 guest agent   0x05 panic notifier
       0x08... disks in spec order
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from drover.agent.ports import Disk, HypervisorError, MachineSpec
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.handing import ByName, Handing
from drover.agent.qemu.handing import doubled as _comma
from drover.agent.qemu.settings import QemuSettings, Uefi

_CPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(,[+-]?[a-z0-9._-]+(=(on|off))?)*")
_MACHINE = re.compile(r"[a-z0-9.-]+")
_FIRST_DISK_ADDR = 0x08
_LAST_DISK_ADDR = 0x1E  # 0x1f is the chipset's
_RAM_STEP_BYTES = 8192  # QEMU rounds up to it
_DIRTY_SHORTCUT_BYTES = 64 * 4096  # one word of its dirty bitmap
_VGA_MEMORY_MIB = 8  # 1920x1080; it is copied in a move, too
# Of translated code. It must fit into what a Pod asks for beside the guest's memory; QEMU's own choice is 1024.
_TCG_BUFFER_MIB = 128
_SERIAL_MAX = 20  # of virtio-blk
_GUEST_AGENT_PORT = "org.qemu.guest_agent.0"

Device = dict[str, Any]


def build(
    copy: str,
    spec: MachineSpec,
    files: CopyFiles,
    settings: QemuSettings,
    incoming: bool,
    handing: Handing | None = None,
) -> list[str]:
    """The argument vector. Raises HypervisorError for a spec that QEMU could not or must not be
    given.
    """
    handing = handing or ByName()
    _check(spec)
    bundle = settings.bundles.get(spec.firmware)
    if bundle is None:
        raise HypervisorError(f"firmware bundle {spec.firmware!r} is not on this node")
    argv = [bundle.binary, "-name", f"guest={_comma(spec.vm)},debug-threads=on"]
    argv += ["-L", bundle.rom_dir] if bundle.rom_dir else []
    argv += _platform(spec, settings)
    argv += _flash(spec, settings.uefi, handing) if spec.uefi_vars else []
    argv += _channels(files, handing)
    argv += _display(files) if spec.display else []
    argv += _devices(spec, handing.netdev(settings.netdev(copy)))
    for index, disk in enumerate(spec.disks):
        argv += _disk(index, disk, handing.disk(disk.path, disk.read_only), settings)
    argv += handing.words()
    argv += ["-incoming", "defer"] if incoming else []
    return argv


def _check(spec: MachineSpec) -> None:
    if not _CPU.fullmatch(spec.cpu_model):
        raise HypervisorError(f"CPU model {spec.cpu_model!r} is not one")
    if not _MACHINE.fullmatch(spec.machine_type):
        raise HypervisorError(f"machine type {spec.machine_type!r} is not one")
    if len(spec.disks) > _LAST_DISK_ADDR - _FIRST_DISK_ADDR + 1:
        raise HypervisorError(f"{len(spec.disks)} disks are more than a machine takes")


def _platform(spec: MachineSpec, settings: QemuSettings) -> list[str]:
    tcg = f"tcg,thread=multi,tb-size={_TCG_BUFFER_MIB}"
    accel = tcg if settings.accel == "tcg" else settings.accel
    identity = f"type=1,manufacturer=drover,product=VirtualMachine,serial={_comma(spec.vm_uid)}"
    machine = f"{spec.machine_type},graphics=off,vmport=off,dump-guest-core=off"
    machine += ",pflash0=uefi-code,pflash1=uefi-vars" if spec.uefi_vars else ""
    return [
        *("-nodefaults", "-no-user-config", "-S"),
        *("-machine", machine),
        *("-accel", accel, "-cpu", spec.cpu_model),
        *("-smp", f"cpus={spec.cores},sockets=1,cores={spec.cores},threads=1"),
        *("-m", f"size={_ram_bytes(spec, settings) // 1024}k"),
        *("-uuid", spec.vm_uid, "-smbios", identity),
        *("-display", "none", "-vga", "none", "-boot", "strict=on"),
        *("-rtc", "base=utc,driftfix=slew", "-msg", "timestamp=on"),
        *("-action", "reboot=shutdown,shutdown=pause,panic=pause"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
    ]


def _ram_bytes(spec: MachineSpec, settings: QemuSettings) -> int:
    """What the guest gets; the same on both ends of a move, whatever QEMU's version.

    Under TCG a little less than asked for. QEMU before 9.1 has a short cut for collecting dirty pages of memory whose
    size is a multiple of 256 KiB; it forgets to tell TCG's TLBs, so later writes to such pages are not sent, and the
    guest wakes up with torn memory. Seen here: kernel BUG at the second move of a busy guest, none in ten moves with
    an odd size, which takes the long way.
    """
    whole = spec.memory_bytes - spec.memory_bytes % _RAM_STEP_BYTES
    shortcut = settings.accel == "tcg" and whole % _DIRTY_SHORTCUT_BYTES == 0
    return whole - _RAM_STEP_BYTES if shortcut else whole


def _flash(spec: MachineSpec, uefi: Uefi, handing: Handing) -> list[str]:
    argv = []
    for name, path, fixed in (
        ("uefi-code", str(uefi.code), True),
        ("uefi-vars", spec.uefi_vars, False),
    ):
        file: Device = {"driver": "file", "filename": handing.disk(path, fixed), "locking": "on"}
        file["read-only"] = fixed
        node: Device = {"driver": "raw", "node-name": name, "file": file, "read-only": fixed}
        argv += ["-blockdev", json.dumps(node)]
    return argv


def _channels(files: CopyFiles, handing: Handing) -> list[str]:
    """Two monitors, the serial line with its log, the guest agent's socket."""
    argv = []
    # What the guest's end was is told once, by an event. QEMU keeps it in a file, for an agent that was away.
    events = f",logfile={handing.log(files.events)},logappend=on"
    for name, path, log in (("mon0", files.monitor, ""), ("mon1", files.rescue, events)):
        where = f"{handing.socket(path)},server=on,wait=off"
        argv += [
            "-chardev",
            f"socket,id={name},{where}{log}",
            "-mon",
            f"chardev={name},mode=control",
        ]
    console = f"{handing.socket(files.console)},server=on,wait=off"
    log = f"logfile={handing.log(files.serial_log)},logappend=on"
    argv += ["-chardev", f"socket,id=tty0,{console},{log}", "-serial", "chardev:tty0"]
    argv += ["-chardev", f"socket,id=qga0,{handing.socket(files.agent)},server=on,wait=off"]
    return argv


def _display(files: CopyFiles) -> list[str]:
    """A plain VGA adapter. Its socket knows no password: only this node's agent reaches it."""
    vga: Device = {"driver": "VGA", "id": "vga0", "bus": "pcie.0", "addr": "0x01"}
    device = json.dumps({**vga, "vgamem_mb": _VGA_MEMORY_MIB})
    return ["-device", device, "-vnc", f"unix:{_comma(str(files.vnc))},share=force-shared"]


def _devices(spec: MachineSpec, wire: Device) -> list[str]:
    net: Device = {"driver": "virtio-net-pci", "id": "net0", "netdev": "wire0", "mac": spec.mac}
    agent: Device = {"driver": "virtserialport", "bus": "serial0.0", "chardev": "qga0", "nr": 1}
    devices = [
        _at(0x02, {**net, "romfile": ""}),  # no network boot
        _at(0x03, {"driver": "virtio-rng-pci", "id": "rng0", "rng": "entropy0"}),
        _at(0x04, {"driver": "virtio-serial-pci", "id": "serial0"}),
        {**agent, "id": "qga", "name": _GUEST_AGENT_PORT},
        {"driver": "pvpanic-pci", "id": "panic0", "bus": "pcie.0", "addr": "0x05"},
    ]
    argv = ["-netdev", json.dumps({**wire, "id": "wire0"})]
    for qom in (
        {"qom-type": "rng-builtin", "id": "entropy0"},
        {"qom-type": "iothread", "id": "io0"},
    ):
        argv += ["-object", json.dumps(qom)]
    for device in devices:
        argv += ["-device", json.dumps(device)]
    return argv


def _disk(index: int, disk: Disk, at: str, settings: QemuSettings) -> list[str]:
    file: Device = {"driver": "file", "filename": at, "locking": "on"}
    file["cache"] = {"direct": settings.direct_io}
    node: Device = {"driver": disk.format, "node-name": f"disk{index}", "file": file}
    node |= {"read-only": disk.read_only, "discard": "unmap"}
    device: Device = {"driver": "virtio-blk-pci", "id": f"vd{index}", "drive": f"disk{index}"}
    device |= {"serial": disk_serial(disk.name), "iothread": "io0", "write-cache": "on"}
    # A guest that is told of an error may lose data; one that stands still goes on when the disk is back.
    device |= {"werror": "stop", "rerror": "stop"}
    if disk.boot_order:
        device["bootindex"] = disk.boot_order
    placed = _at(_FIRST_DISK_ADDR + index, device)
    return ["-blockdev", json.dumps(node), "-device", json.dumps(placed)]


def _at(addr: int, device: Device) -> Device:
    """Put a virtio device on the root bus at a fixed slot, in its modern form alone."""
    return {**device, "bus": "pcie.0", "addr": f"{addr:#04x}", "disable-legacy": "on"}


def disk_serial(name: str) -> str:
    """What the guest sees in /dev/disk/by-id: the name, or a digest where it is longer than virtio
    allows.
    """
    return (
        name
        if len(name) <= _SERIAL_MAX
        else hashlib.sha256(name.encode()).hexdigest()[:_SERIAL_MAX]
    )
