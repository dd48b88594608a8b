"""``python -m tests.proof``: every run, the long ones too, each with its verdict and the shortest way to a double
run."""

from __future__ import annotations

import sys
import time

from tests.proof.runs import RUNS, verdict


def main() -> int:
    wrong = 0
    for run in RUNS:
        began = time.monotonic()
        found = verdict(run.rule)
        word = "SAFE" if found.safe else "UNSAFE"
        wrong += found.safe is not run.safe
        mark = "" if found.safe is run.safe else "  NOT AS EXPECTED"
        took = f"{time.monotonic() - began:.1f} s"
        sys.stdout.write(f"{word:<6} {run.name}: {found.states} states, {took}{mark}\n")
        if found.trace:
            sys.stdout.write(f"       {'; '.join(found.trace)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
