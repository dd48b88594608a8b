"""Verdicts of long searches: kept in the cache directory under the hash of all that they follow from, so that equal
source is searched once. Only what came out as it should is kept; what did not is searched again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drover.lab.home import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[2]
# What a simulated world is made of.
ROOMS = ("agent", "api", "base", "controllers", "planner", "runtime", "sim")
WORLD = (*(f"src/drover/{room}" for room in ROOMS), "tests/sim", "requirements.txt")


@functools.cache
def digest_of(paths: tuple[str, ...]) -> str:
    """Of all files below these, by content and name. Relative to the root of the checkout."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _files(ROOT / path):
            digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted(f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc")


def remembered(
    what: str,
    paths: tuple[str, ...],
    find: Callable[[], Any],
    good: Callable[[Any], bool] = lambda found: True,
) -> Any:
    """``find()`` as JSON would give it back, from now or from before. ``what`` tells the searches of the same files
    apart, its first word is the folder."""
    digest = hashlib.sha256(f"{what} {digest_of(paths)}".encode()).hexdigest()[:32]
    known = cache_dir() / what.split()[0] / f"{digest}.json"
    try:
        return json.loads(known.read_text())
    except (OSError, ValueError):
        pass  # not searched yet, or not wholly written
    found = find()
    if good(found):
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(found))
    return found
