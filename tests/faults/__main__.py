"""``python -m tests.faults evict``: plays every step of a migration against every fault, and prints the table.

The lab is its own and gone afterwards, unless ``--home`` names one that runs. What is missing (engine, image, Python
packages) is set up first, as ``./test`` does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SET_UP = """
root=$1; shift
for piece in common needs qemu stages; do . "$root/tools/bootstrap/$piece.sh"; done
set_up packages python engine qemu image
export_paths
cd "$root"
exec env PYTHONPATH="$root/src" "$venv/bin/python" -m tests.faults "$@"
"""


def _become_ready() -> None:
    """Start over in the environment of ``./test``, when we are not in it."""
    if not all(os.environ.get(name) for name in ("DROVER_ENGINE", "DROVER_IMAGE")):
        command = ["bash", "-euo", "pipefail", "-c", _SET_UP, "faults", str(ROOT), *sys.argv[1:]]
        os.execvp("bash", command)
    if str(ROOT / "src") not in sys.path:
        sys.path.insert(0, str(ROOT / "src"))


if __name__ == "__main__":
    _become_ready()
    from tests.faults.table import main

    sys.exit(main())
