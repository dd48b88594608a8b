"""Style as a test: what the other checkers do not hold. Run without arguments; exit code 1 when something is untidy.

- a module has a docstring and at most 300 lines (400 with a comment "Long module: why"; tests 600)
- a function has at most 60 lines, 7 parameters, nesting 5 and cyclomatic complexity 12
- calls in ``BANNED`` have a better place, which is named
- relative links in the papers resolve, to their headings too
- no path of a machine and no registry's host stands in a tracked file

Limits are those of STYLE.md; a limit that does not fit is changed there and here, with a reason.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES, LONG_MODULE_LINES, TEST_MODULE_LINES = 300, 400, 600
FUNCTION_LINES, PARAMETERS, NESTING, COMPLEXITY = 60, 7, 5, 12
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
_BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.comprehension,
    ast.match_case,
)

# Call -> (where it may stand, what to use instead).
BANNED: dict[str, tuple[tuple[str, ...], str]] = {
    "time.time": (("base/clock.py",), "the Clock port"),
    "time.monotonic": (("base/clock.py", "cli/", "lab/", "server/"), "the Clock port"),
    "datetime.datetime.now": (("base/clock.py", "lab/", "server/", "cli/"), "the Clock port"),
    "uuid.uuid4": (("base/ids.py",), "the Ids port"),
    "random.random": (("base/ids.py",), "the Ids port"),
    "random.choice": (("base/ids.py",), "the Ids port"),
    "asyncio.create_task": (("base/tasks.py",), "base.tasks"),
    "asyncio.ensure_future": (("base/tasks.py",), "base.tasks"),
    "asyncio.gather": ((), "base.tasks"),
    "asyncio.to_thread": (
        ("agent/", "lab/", "controllers/metrics/", "controllers/rebalance/"),
        "an asynchronous call",
    ),
    "print": (("cli/",), "the log, or cli.session.say"),
}
_HOSTS = re.compile(
    r"(?:pypi\.org|proxy\.golang\.org|registry\.npmjs\.org|deb\.debian\.org|files\.pythonhosted\.org)"
)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def tracked() -> list[Path]:
    """Every file of the repository, also those not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def check_module(path: Path, text: str) -> Iterator[str]:
    """Everything about one Python file."""
    lines = text.count("\n")
    argued = LONG_MODULE_LINES if "\n# Long module: " in text else MODULE_LINES
    most = TEST_MODULE_LINES if "tests" in path.parts else argued
    if lines > most:
        yield f"{lines} lines, at most {most}"
    tree = ast.parse(text)
    if text.strip() and not ast.get_docstring(tree):
        yield "no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for fault in check_function(node, "tests" in path.parts):
                yield f"line {node.lineno}: {node.name}: {fault}"
    if "src" in path.parts:
        yield from check_calls(tree, path.as_posix())


def check_function(node: ast.FunctionDef | ast.AsyncFunctionDef, test: bool) -> Iterator[str]:
    """Size and shape of one function."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if lines > FUNCTION_LINES * (2 if test else 1):
        yield f"{lines} lines, at most {FUNCTION_LINES}"
    taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    count = len([arg for arg in taken if arg.arg not in ("self", "cls")])
    if count > PARAMETERS and not test:
        yield f"{count} parameters, at most {PARAMETERS}"
    if depth(node) > NESTING:
        yield f"nesting {depth(node)}, at most {NESTING}"
    branches = 1 + sum(isinstance(part, _BRANCHES) for part in ast.walk(node))
    if branches > COMPLEXITY and not any(isinstance(part, ast.Match) for part in node.body):
        yield f"complexity {branches}, at most {COMPLEXITY}"


def depth(node: ast.AST) -> int:
    """How many blocks stand inside one another; ``elif`` does not count."""

    def of(part: ast.AST, level: int) -> int:
        deepest = level
        for child in ast.iter_child_nodes(part):
            chained = (
                isinstance(part, ast.If) and isinstance(child, ast.If) and part.orelse == [child]
            )
            deeper = isinstance(child, _BLOCKS) and not chained
            deepest = max(deepest, of(child, level + deeper))
        return deepest

    return of(node, 0)


def check_calls(tree: ast.AST, path: str) -> Iterator[str]:
    """Calls that have a better place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            places, instead = BANNED.get(name, ((path,), ""))
            if not any(f"drover/{place}" in path or place == path for place in places):
                yield f"line {node.lineno}: {name}(): use {instead}"


def check_links(path: Path, text: str) -> Iterator[str]:
    """Relative links lead somewhere, and those to a heading of a paper to one that it has."""
    for target, heading in _LINK.findall(text):
        if "://" in target:
            continue
        page = path.parent / target if target else path
        if not page.exists():
            yield f"link to {target} leads nowhere"
        elif heading and page.suffix == ".md" and heading not in _anchors(page):
            yield f"link to {target}#{heading} leads nowhere: there is no such heading"


def _anchors(page: Path) -> set[str]:
    """What its headings are called in links, by GitHub's rule."""
    words = (heading.lower() for heading in _HEADING.findall(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words}


def check_secrets_of_the_machine(text: str) -> Iterator[str]:
    """Where this was written is nobody's business."""
    if found := _HOSTS.search(text):
        yield f"names the host {found.group()}"
    if f"{ROOT}/" in text:
        yield "names a path of this machine"


def faults() -> Iterator[str]:
    """All of them, with file names."""
    for path in tracked():
        short = path.relative_to(ROOT)
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found: list[str] = []
        if path.suffix == ".py":
            found += check_module(short, text)
        if path.suffix == ".md":
            found += check_links(path, text)
        if short != Path("tools/tidy.py") and path.suffix not in (".sum",):
            found += check_secrets_of_the_machine(text)
        yield from (f"{short}: {fault}" for fault in found)


def main() -> int:
    found = list(faults())
    for fault in found:
        sys.stdout.write(fault + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
