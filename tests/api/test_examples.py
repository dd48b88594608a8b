"""The examples: `kubectl apply -f examples/` takes all that lie in that folder itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_they_can_be_applied_as_they_are(file: Path) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        assert manifest["metadata"].get("name"), "`apply` needs a name"
        assert manifest["kind"] in ("VirtualDisk", "VirtualMachine"), "of nothing but the lab"


def test_each_says_how_it_is_used() -> None:
    for file in EXAMPLES.rglob("*.yaml"):
        assert str(file.relative_to(EXAMPLES.parent)) in file.read_text(), file
