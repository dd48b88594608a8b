# shellcheck shell=bash
# A QEMU that migrates under TCG. Before 9.0 QEMU forgot, while it read the record of written pages, to make the emulated
# processors write to that record again: a guest that was migrated under TCG could miss writes, and panicked (three of
# eight moves on a busy machine with 7.2, none of fifteen with 10.0). Debian 12 has 7.2, so the 10.0 of its backports is
# unpacked beside it, into the cache; nothing of the system changes. Later Debian releases need nothing.
#
# docs/decisions/0001-qemu-for-tcg.md has the measurement.

qemu_packages=(qemu-system-x86 qemu-system-common qemu-system-data seabios)

# Only Debian 12 needs it, and nobody who names a QEMU of their own.
qemu_wanted() { [[ -z ${DROVER_QEMU:-} && $(system_version) == debian12 ]]; }

locate_qemu() {
    if qemu_wanted; then
        qemu=$cache/qemu/$(key_of tools/bootstrap/qemu.sh)/qemu-system-x86_64
    else
        qemu=${DROVER_QEMU:-qemu-system-x86_64}
    fi
}

qemu_ready() { ! qemu_wanted || [[ -x $qemu ]]; }

# Where this machine fetches its own Debian packages from.
debian_source() {
    # shellcheck disable=SC2016  # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "bookworm" && $3 == "main" { print $1; exit }'
}

build_qemu() {
    local work=$cache/build/qemu source keyring=/usr/share/keyrings/debian-archive-keyring.gpg deb
    local apt=(apt-get -q -o "Dir::Etc::sourcelist=$work/source.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/root" "$(dirname "$(dirname "$qemu")")"
    source=$(debian_source)
    [[ -n $source ]] || unmet "need not met: qemu: no Debian source named bookworm is set up for apt." \
        "Set one up, or name a QEMU 9 or newer in DROVER_QEMU."
    if [[ -e $keyring ]]; then keyring="[signed-by=$keyring] "; else keyring=; fi
    echo "deb $keyring$source bookworm-backports main" >"$work/source.list"
    "${apt[@]}" update
    (cd "$work" && "${apt[@]}" download "${qemu_packages[@]/%//bookworm-backports}")
    for deb in "$work"/*.deb; do dpkg -x "$deb" "$work/root"; done
    rm -rf "$work"/*.deb "$work/lists" "$work/source.list" "$work/root/usr/share/doc"
    # Only what runs a PC stays.
    find "$work/root/usr/bin" -type f ! -name qemu-system-x86_64 -delete
    cat >"$work/qemu-system-x86_64" <<'SCRIPT'
#!/bin/sh
# QEMU from its own folder, with its own ROMs; those it lacks (iPXE, VGA) are the system's.
here=$(dirname "$(readlink -f "$0")")/root/usr
exec "$here/bin/qemu-system-x86_64" -L "$here/share/seabios" -L "$here/share/qemu" -L /usr/share/qemu "$@"
SCRIPT
    chmod +x "$work/qemu-system-x86_64"
    "$work/qemu-system-x86_64" --version
    rm -rf "$(dirname "$qemu")"
    mv "$work" "$(dirname "$qemu")"
}
