"""What goes into the guest: Debian packages, their libraries, kernel modules, our own files.

Only what runs is copied: named binaries, the shared libraries these need by ELF, named modules and
the modules those need by modinfo. An unknown name is an error here, never a guest that lacks it.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from pathlib import Path

KERNEL = "linux-image-cloud-amd64"  # the release's own; it depends on the versioned package
EFI_PACKAGE = "systemd-boot-efi"
EFI_LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
ROOTS = ("busybox-static", "qemu-guest-agent", "dropbear-bin")
BINARIES = ("qemu-ga", "dropbear", "dropbearkey", "dbclient")
NOT_IN_GUEST = re.compile(r"^(dpkg|perl.*|gcc-.*|init-system-helpers|usrmerge|usr-is-merged|tar)$")

# In the initrd: what it takes to reach the root file system, and the network card right behind it.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
LATE_MODULES = ("virtio_console", "button", "evdev", "pvpanic-pci", "virtio_balloon", "virtio-rng")
SEED_MODULES = ("vfat", "nls_cp437", "nls_ascii")


class ContentError(Exception):
    """The packages of this release do not hold what the image needs."""


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def resolve() -> tuple[list[str], str]:
    """Names of all packages to download, and the versioned kernel package among them."""
    depends = _output("apt-cache", "depends", "--important", KERNEL)
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    if not found:
        raise ContentError(f"no package {KERNEL} is known here; run: apt-get update")
    kernel = found.group(1)
    refuse = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
    flags = ["--recurse", *(f"--no-{kind}" for kind in refuse)]
    listed = _output("apt-cache", "depends", *flags, *ROOTS)
    names = {line for line in listed.splitlines() if re.match(r"[a-z0-9]", line)}
    return [kernel, EFI_PACKAGE, *sorted(n for n in names if not NOT_IN_GUEST.match(n))], kernel


def _debs_of(debs: Path, package: str) -> list[Path]:
    return list(debs.glob(f"{package}_*.deb"))


def download(packages: list[str], debs: Path) -> None:
    debs.mkdir(parents=True, exist_ok=True)
    missing = [p for p in packages if not _debs_of(debs, p)]
    if missing:
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *missing]
        subprocess.run(command, check=True, cwd=debs, stdout=subprocess.DEVNULL)


def unpack(debs: Path, packages: list[str], tree: Path) -> None:
    """All packages over each other, with /lib, /bin, /sbin merged into /usr as Debian does."""
    for name in ("lib", "bin", "sbin", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for package in packages:
        for deb in _debs_of(debs, package):
            tar = subprocess.run(["dpkg", "--fsys-tarfile", deb], check=True, capture_output=True)
            extract = ["tar", "-x", "--keep-directory-symlink", "-C", tree]
            subprocess.run(extract, check=True, input=tar.stdout)


def compile_tool(source: Path, tool: Path) -> None:
    flags = ["-static", "-Os", "-s", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["musl-gcc", *flags, "-o", tool, *sorted(source.glob("*.c"))], check=True)


def _modules(tree: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """(file name, content) of the modules in the order in which they can be loaded."""
    folder = next((tree / "usr/lib/modules").iterdir())
    files = {f.name.split(".ko")[0].replace("-", "_"): f for f in folder.rglob("*.ko*")}
    builtin = (folder / "modules.builtin").read_text().replace("-", "_")
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        name = name.replace("-", "_")
        if name in loaded or f"/{name}.ko\n" in builtin:
            return
        if name not in files:
            raise ContentError(f"the kernel has no module {name}")
        data = files[name].read_bytes()
        if files[name].suffix == ".xz":
            data = lzma.decompress(data)
        needs = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in needs.group(1).decode().split(",") if needs else []:
            if other:
                load(other)
        loaded[name] = data

    for name in names:
        load(name)
    return [(f"{name}.ko", data) for name, data in loaded.items()]


def boot_modules(tree: Path) -> list[tuple[str, bytes]]:
    return _modules(tree, BOOT_MODULES)


def _copy_with_libraries(tree: Path, rootfs: Path) -> None:
    library_dirs = [tree / "usr/lib/x86_64-linux-gnu", tree / "usr/lib", tree / "usr/lib64"]
    target = rootfs / "usr/lib/x86_64-linux-gnu"
    target.mkdir(parents=True)
    queue: list[Path] = []
    for name in BINARIES:
        found = [p for p in (tree / "usr/bin" / name, tree / "usr/sbin" / name) if p.exists()]
        if not found:
            raise ContentError(f"no package brings the program {name}")
        shutil.copy(found[0], rootfs / "usr/bin" / name)
        queue.append(found[0])
    done = set()
    while queue:
        for soname in re.findall(r"NEEDED.*\[(.*)\]", _output("readelf", "-d", queue.pop())):
            if soname in done:
                continue
            done.add(soname)
            library = next((d / soname for d in library_dirs if (d / soname).exists()), None)
            if library is None:
                raise ContentError(f"no package brings the library {soname}")
            shutil.copy(library, target / soname)
            queue.append(library)
    loader = "ld-linux-x86-64.so.2"
    shutil.copy((tree / "usr/lib64" / loader).resolve(), rootfs / "usr/lib64" / loader)


def make_rootfs(ours: Path, tree: Path, tool: Path, rootfs: Path) -> None:
    shutil.copytree(ours, rootfs)
    for name in ("usr/lib64", "usr/lib/modules", "etc/dropbear", "var/log", "var/lib/guest"):
        (rootfs / name).mkdir(parents=True, exist_ok=True)
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "opt", "home"):
        (rootfs / name).mkdir()
    (rootfs / "usr/sbin").symlink_to("bin")
    for name in ("bin", "sbin", "lib", "lib64"):
        (rootfs / name).symlink_to(f"usr/{name}")
    (rootfs / "var/run").symlink_to("../run")
    (rootfs / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    (rootfs / "etc/mtab").symlink_to("../proc/mounts")
    (rootfs / "root").chmod(0o700)
    (rootfs / "tmp").chmod(0o1777)
    (rootfs / "etc/shadow").chmod(0o600)

    busybox = rootfs / "usr/bin/busybox"
    shutil.copy(tree / "usr/bin/busybox", busybox)
    for applet in _output(busybox, "--list").split():
        if not (rootfs / "usr/bin" / applet).exists():
            (rootfs / "usr/bin" / applet).symlink_to("busybox")
    shutil.copy(tool, rootfs / "usr/bin/guest-tool")
    _copy_with_libraries(tree, rootfs)

    in_initrd = {name for name, _ in boot_modules(tree)}
    for list_name, names in {"late": LATE_MODULES, "seed": SEED_MODULES}.items():
        modules = [(n, data) for n, data in _modules(tree, names) if n not in in_initrd]
        for name, data in modules:
            (rootfs / "usr/lib/modules" / name).write_bytes(data)
        paths = "".join(f"/usr/lib/modules/{name}\n" for name, _ in modules)
        (rootfs / "usr/lib/modules" / list_name).write_text(paths)
