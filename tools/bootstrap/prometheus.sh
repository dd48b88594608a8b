# shellcheck shell=bash
# Prometheus and promtool, for the tests of deploy/monitoring alone: ./test has this stage, ./drover has not.
#
#   prometheus   $cache/prometheus/<system>-<hash of this file>/{prometheus,promtool}
#
# Debian's package is fetched and unpacked beside the machine's, not installed: it would start a
# service. This stage is optional: where it cannot be had, the folder holds a file `why`, and those
# tests are skipped.

prometheus_folder() {
    echo "${DROVER_PROMETHEUS:-$cache/prometheus/$(system_version)-$(key_of tools/bootstrap/prometheus.sh)}"
}

prometheus_ready() {
    local folder
    folder=$(prometheus_folder)
    [[ -x $folder/promtool || -e $folder/why ]]
}

build_prometheus() { build_optional prometheus "$(prometheus_folder)" promtool unpacked_prometheus; }

unpacked_prometheus() {
    local work=$1
    if ! { mkdir "$work/root" && fetch_packages "$work" prometheus &&
        dpkg-deb -x "$work"/prometheus_*.deb "$work/root" && "$work/root/usr/bin/promtool" --version; }; then
        echo "apt has no package prometheus that runs here" >&3
        return 1
    fi
    mv "$work/root/usr/bin/prometheus" "$work/root/usr/bin/promtool" "$work/made"
}
