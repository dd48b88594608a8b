"""A browser for the tests of the web page is installed by apt and noted; without it all goes on."""

from __future__ import annotations

from tests.bootstrap.script import Script

BUILD = (
    'locate; mkdir -p "$cache" "$venv/bin"; ln -s "$(command -v pip)" "$venv/bin/pip"; '
    "build_browser >&2; folder=$(browser_folder); "
)
SHOW = 'cat "$folder/why" 2>/dev/null || ls "$folder"; browser_ready; echo $?'
PIP = 'mkdir -p "$(printf "%s\\n" "$@" | sed -n "/^--target$/{n;p}")/playwright"'
NONE = 'find_chromium() { [ -e "$cache/chromium" ]; }; '


def test_it_is_installed_and_noted(script: Script) -> None:
    script.program("pip", PIP)
    script.program("dpkg", "exit 0")
    script.program("apt-get", f'case "$*" in *chromium*) touch "{script.cache}/chromium" ;; esac')
    added = f'if [ -e "{script.cache}/chromium" ]; then echo chromium-headless-shell; fi; echo bash'
    script.program("dpkg-query", added)
    assert script.told(NONE + BUILD + SHOW).split() == ["playwright", "0"]
    assert (script.cache / "packages-added").read_text().split() == ["chromium-headless-shell"]


def test_where_apt_has_none_it_is_noted(script: Script) -> None:
    script.program("pip", "exit 9")
    script.program("dpkg", "exit 0")
    script.program("apt-get", "exit 100")
    assert script.told(NONE + BUILD + SHOW).splitlines() == ["apt has no Chromium here", "0"]


def test_where_the_index_has_no_playwright_it_is_noted(script: Script) -> None:
    script.program("pip", "exit 1")
    script.program("chromium", "exit 0")
    assert "no Playwright" in script.told(BUILD + SHOW)
