"""What renders the chart is built once, by whatever Go there is."""

from __future__ import annotations

from tests.bootstrap.script import Script

BUILD = 'locate; mkdir -p "$cache"; build_chart >&2; chart_program; chart_ready; echo $?'
GO = """
case "$1 $2" in
    "env GOVERSION") echo go1.99.0 ;;
    "build "*) while [ "$1" != -o ]; do shift; done; printf '#!/bin/sh\\n' >"$2"; chmod +x "$2" ;;
    *) exit 9 ;;
esac
"""


def test_it_is_built_into_the_cache(script: Script) -> None:
    script.program("go", GO)
    program, ready = script.told(BUILD).split()
    assert program.startswith(f"{script.cache}/chart/")
    assert ready == "0"
    assert not (script.cache / "build" / "chart").exists()
