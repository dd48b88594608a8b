# shellcheck shell=bash
# What renders deploy/helm for its tests (tools/chart): ./test has this stage, ./drover has not.
#
#   chart   $cache/chart/<hash of tools/chart>/chart
#
# A Helm of the machine (or DROVER_HELM) is used besides where there is one; building it here would take
# five times as long.

chart_program() {
    echo "${DROVER_CHART:-$cache/chart/$(key_of tools/chart/{go.mod,go.sum,main.go} tools/bootstrap/chart.sh)/chart}"
}

chart_ready() { [[ -x $(chart_program) ]]; }

build_chart() {
    local go program work=$cache/build/chart
    program=$(chart_program)
    rm -rf "$work"
    mkdir -p "$work" "$(dirname "$program")"
    find_go "$work"
    (
        cd "$root/tools/chart"
        CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-mod=readonly -modcacherw" GOCACHE=$work/cache GOMODCACHE=$work/modules \
            "$go" build -trimpath -buildvcs=false '-gcflags=all=-dwarf=false -l' -ldflags '-s -w' -o "$work/chart" .
    )
    mv "$work/chart" "$program"
    rm -rf "$work"
}
