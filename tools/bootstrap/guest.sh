# shellcheck shell=bash
# A Debian guest to try and to test with: tools/debian/image has this stage, ./drover and ./test have not.
#
#   guest   $cache/guest/<system>-<hash of its inputs>/debian.qcow2

guest_file() {
    echo "$cache/guest/$(system_version)-$(guest_key)/debian.qcow2"
}

guest_key() {
    key_of tools/debian/{build,prepare,customize} tools/image/{content,disk}.py
}

guest_ready() { [[ -e $(guest_file) ]]; }

build_guest() {
    local work=$cache/build/guest file
    file=$(guest_file)
    rm -rf "$work"
    mkdir -p "$work" "$(dirname "$(dirname "$file")")"
    command -v mmdebstrap >/dev/null || apt_install mmdebstrap
    export PYTHONDONTWRITEBYTECODE=1
    "$root/tools/debian/build" "$work/debian.qcow2" || {
        apt-get -q update
        "$root/tools/debian/build" "$work/debian.qcow2"
    }
    rm -rf "$(dirname "$file")"
    mv "$work" "$(dirname "$file")"
}
