"""The image that deploy/Dockerfile makes (``DROVER_CONTAINER``: ./test builds it), as a file system to run in.

No container runs: ``Image.argv`` is for a process with a mount namespace of its own. What the image has copied of the
code is covered by this checkout's, so that a change of code needs no new image.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab import CHECKOUT

_CODE = "/opt/drover/src"
_ENTER = """
set -e
root=$1 code=$2 user=$3 keys=$4; shift 4
mount --bind "$root" "$root"
mount --bind "$code" "$root/opt/drover/src"
mount -t tmpfs -o mode=755 tmpfs "$root/tmp"  # where tests have their directories
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"; shift
done; shift
mount -o remount,bind,ro "$root"
chown "$user:$user" "$keys"
exec chroot --userspec="$user:$user" "$root" "$@"
"""


@dataclass(frozen=True)
class Image:
    """``root``: its file system. None: there is no image here, and the checkout is run as it is."""

    root: Path | None
    environment: dict[str, str]

    def argv(self, user: int, argv: Sequence[str], binds: Sequence[str], keys: str) -> list[str]:
        """To run ``argv`` in it as the kubelet would: nothing can be written but directories that are bound (to the
        path where they are), as a user without rights. ``keys``: one within those, which is to be that user's.
        """
        if self.root is None:
            return [sys.executable, *argv[1:]]
        given = [str(self.root), str(CHECKOUT / "src"), str(user), keys, *binds, "/proc", "/dev"]
        return ["/bin/sh", "-c", _ENTER, "enter", *given, "--", *argv]


def the_image() -> Image:
    place = Path(os.environ.get("DROVER_CONTAINER") or "/nonexistent")
    try:
        config = json.loads((place / "config.json").read_text())["OCIv1"]["config"]
    except FileNotFoundError:
        return Image(None, {"PYTHONPATH": str(CHECKOUT / "src")})
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert environment["PYTHONPATH"] == _CODE
    return Image(place / "rootfs", environment)
