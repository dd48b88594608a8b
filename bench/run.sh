# shellcheck shell=bash
# Sourced by the benchmarks: sets up what is missing, as ./drover does, then runs the module of that name.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
for piece in common needs stages; do . "$root/tools/bootstrap/$piece.sh"; done

run() {
    local name=$1
    shift
    set_up packages python engine image
    export_paths
    cd "$root"
    export PYTHONPATH=$root:$PYTHONPATH
    exec "$venv/bin/python" -m "bench.$name" "$@"
}
