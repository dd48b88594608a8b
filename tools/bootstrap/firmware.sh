# shellcheck shell=bash
# A second firmware bundle, for upgrades while guests run: a newer QEMU with its ROMs and libraries.
#
#   firmware   $cache/firmware/<system>-<hash of this file>/qemu-system-x86_64
#
# Debian 12 has QEMU 7.2, and its backports have 10.0. The packages are fetched by apt as it is
# configured here, from the mirror that its own sources name, and unpacked into the cache: the
# installed QEMU stays what it is. This stage is optional. Where it cannot be had, the folder holds a
# file `why` with one line, the lab works with one version, and `drover doctor` says why.

firmware_folder() {
    echo "${DROVER_FIRMWARE:-$cache/firmware/$(system_version)-$(key_of tools/bootstrap/firmware.sh)}"
}

# shellcheck disable=SC2154  # set by locate
firmware_ready() { [[ -e $firmware/qemu-system-x86_64 || -e $firmware/why ]]; }

build_firmware() { build_optional firmware "$firmware" qemu-system-x86_64 newer_qemu; }

newer_qemu() {
    local work=$1 package
    mkdir -p "$work"/apt/{lists,archives}/partial
    if [[ $(system_version) != debian12 ]]; then
        echo "the QEMU of $(system_version) is the newest that is offered" >&3
        return 1
    fi
    if ! bookworm_sources bookworm bookworm-backports >"$work/apt/sources.list"; then
        echo "apt has no source of bookworm main, whose mirror would have its backports" >&3
        return 1
    fi
    if ! { beside "$work" update &&
        beside "$work" -y --no-install-recommends --download-only -t bookworm-backports \
            install qemu-system-x86; }; then
        echo "bookworm-backports cannot be fetched from the mirror that apt uses here" >&3
        return 1
    fi
    for package in "$work"/apt/archives/*.deb; do
        if ! dpkg-deb -x "$package" "$work/made"; then
            echo "$(basename "$package") cannot be unpacked" >&3
            return 1
        fi
    done
    rm -rf "$work/made"/usr/share/{doc,man,locale,icons,applications,lintian}
    program_of_bundle >"$work/made/qemu-system-x86_64"
    chmod +x "$work/made/qemu-system-x86_64"
    if ! "$work/made/qemu-system-x86_64" -machine help >/dev/null; then
        echo "the QEMU of bookworm-backports does not run here" >&3
        return 1
    fi
}

# bookworm_sources SUITE...: lines of sources.list, by the mirrors of bookworm that apt has.
bookworm_sources() {
    local uri keys suite
    # An unset field is printed as its own name by old versions of apt.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(SIGNED_BY)' \
        'Identifier: Packages' 'Codename: bookworm' 'Component: main' | sort -u | {
        found=1
        while read -r uri keys; do
            [[ $keys == /* ]] || keys=/usr/share/keyrings/debian-archive-keyring.gpg
            for suite in "$@"; do printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$uri" "$suite"; done
            found=0
        done
        return $found
    }
}

# apt with lists and archives of its own: nothing of the machine's changes.
beside() {
    local apt=$1/apt
    shift
    http_proxy=${http_proxy:-${HTTP_PROXY:-}} https_proxy=${https_proxy:-${HTTPS_PROXY:-}} apt-get -q \
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache::Archives="$apt/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root \
        -o Debug::NoLocking=true "$@"
}

program_of_bundle() {
    cat <<'END'
#!/bin/sh
# QEMU with the ROMs, modules and libraries that were unpacked beside it.
here=$(dirname "$(readlink -f "$0")")
export QEMU_MODULE_DIR="$here/usr/lib/x86_64-linux-gnu/qemu"
export LD_LIBRARY_PATH="$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu"
exec "$here/usr/bin/qemu-system-x86_64" \
    -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" -L "$here/usr/lib/ipxe/qemu" "$@"
END
}
