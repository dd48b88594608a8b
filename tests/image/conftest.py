"""The guest tool, compiled for this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def guest_tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool = tmp_path_factory.mktemp("bin") / "guest-tool"
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    flags += ["-Wall", "-Wextra", "-Werror"]
    options = tool.with_name("options.c")  # the tool ends after one document and frees nothing
    options.write_text('const char *__asan_default_options(void) { return "detect_leaks=0"; }')
    sources = [options, *sorted(Path("tools/image/tool").glob("*.c"))]
    subprocess.run(["gcc", *flags, "-o", tool, *sources], check=True)
    return tool
