# shellcheck shell=bash
# Libraries that others wrote, to test our kinds and dashboards with: ./test has this stage, ./drover has not.
#
#   clients   clients of Kubernetes (the official one, kr8s, kopf) and Grafana's own types, in
#             $cache/clients/<hash of lock and environment>/
#
# Only what drover's own environment does not have already: the lock is made against that one's.

clients_folder() {
    echo "$cache/clients/$(basename "$venv")-$(key_of tools/bootstrap/clients.txt)"
}

clients_ready() { [[ -d $(clients_folder) ]]; }

# shellcheck disable=SC2154  # venv is set by locate
build_clients() {
    local work=$cache/build/clients folder
    folder=$(clients_folder)
    rm -rf "$work"
    mkdir -p "$(dirname "$folder")" "$cache/build"
    "$venv/bin/pip" install -q --no-cache-dir --no-compile --no-deps --require-hashes \
        --target "$work" -r "$root/tools/bootstrap/clients.txt"
    mv "$work" "$folder"
}
