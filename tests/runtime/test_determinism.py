"""The same seed gives the same trace of the whole client machinery in different processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def traced(seed: int, hash_seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}/src"}
    argv = [sys.executable, "-m", "tests.runtime.trace", str(seed)]
    return subprocess.run(
        argv, cwd=ROOT, env=env, check=True, capture_output=True, text=True, timeout=25
    ).stdout


def test_same_seed_same_trace_in_every_process() -> None:
    first = traced(1, "1")
    assert len(json.loads(first)) > 50
    assert json.loads(first)[-1] == "None"
    assert traced(1, "2") == first
    assert traced(2, "1") != first
