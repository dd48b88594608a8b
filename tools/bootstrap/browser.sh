# shellcheck shell=bash
# A browser for the tests of the web page: ./test has this stage, ./drover has not.
#
#   browser   Debian's Chromium, installed by apt, and Playwright, which drives it, in
#             $cache/browser/<system>-<hash of browser.sh and browser.txt>/
#
# This stage is optional: where it cannot be had, the folder holds a file `why`, and those tests are
# skipped. What apt adds is noted in $cache/packages-added, so that uninstall takes it away.

browser_folder() {
    echo "$cache/browser/$(system_version)-$(key_of tools/bootstrap/{browser.sh,browser.txt})"
}

browser_ready() {
    local folder
    folder=$(browser_folder)
    [[ -e $folder/why || -d $folder/playwright ]]
}

# shellcheck disable=SC2154  # venv is set by locate
build_browser() {
    local work=$cache/build/browser folder
    folder=$(browser_folder)
    rm -rf "$work"
    mkdir -p "$work" "$(dirname "$folder")"
    if ! find_chromium && ! { apt_install chromium-headless-shell && find_chromium; }; then
        echo "apt has no Chromium here" | tee "$work/why"
    elif ! "$venv/bin/pip" install -q --no-cache-dir --require-hashes --target "$work" \
        -r "$root/tools/bootstrap/browser.txt"; then
        rm -rf "$work"
        mkdir "$work"
        echo "the Python index has no Playwright for this machine" | tee "$work/why"
    fi
    rm -rf "$folder"
    mv "$work" "$folder"
}

find_chromium() { command -v chromium-headless-shell || command -v chromium; }
