"""How tests start a node's first process: without site packages and environment, as quickly as it can be."""

from __future__ import annotations

import sys
from pathlib import Path

from drover.agent import nodeinit

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from drover.agent import nodeinit as it"
COMMAND = (
    sys.executable,
    "-S",
    "-E",
    "-c",
    f"{_START}; sys.exit(it.main(sys.argv[1:]))",
    str(Path(nodeinit.__file__).parents[2]),
)
