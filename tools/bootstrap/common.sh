# shellcheck shell=bash
# What every piece of the bootstrap shares: where things live, how it speaks, how a step is run.
#
# Sourced by ./drover and ./test, which set `root` (the checkout). Everything that is built goes
# under `cache`, in folders named by the hash of their inputs, so that several checkouts can share
# it and a changed input never meets a stale build. Builds happen beside their final place and are
# renamed into it, under one lock: whatever stands at the final place is complete.

cache=${DROVER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/drover}
[[ $cache == /* ]] || cache=$PWD/$cache
build_jobs=()   # process groups to end when we are interrupted

say() { printf 'drover: %s\n' "$*" >&2; }

# An unmet need: what is missing, then what to do about it. Exit code 2, as for wrong usage.
unmet() {
    printf 'drover: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '        %s\n' "$line" >&2; done
    exit 2
}

# The first 16 digits of the hash of some files, names included.
hash_of() { sha256sum -- "$@" | sha256sum | cut -c1-16; }

duration() {
    local seconds=$1
    if ((seconds < 100)); then echo "$seconds s"; else echo "$((seconds / 60)) min $((seconds % 60)) s"; fi
}

# How long a step took last time, or the estimate given.
took() { if [[ -r $cache/took/$1 ]]; then duration "$(<"$cache/took/$1")"; else echo "$2"; fi; }

stop_builds() {
    local group
    for group in "${build_jobs[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
    build_jobs=()
}

# start_step NAME COMMAND...: runs a step as a job of its own, its output in a log.
# The lock's descriptor is closed for it: a daemon that a package starts must not keep the lock.
start_step() {
    local name=$1
    shift
    mkdir -p "$cache/log" "$cache/took"
    set -m
    (
        set -e   # a bare call: in a condition bash would ignore errors inside the step
        start=$SECONDS
        "$@"
        echo $((SECONDS - start)) >"$cache/took/$name"
    ) >"$cache/log/$name.log" 2>&1 </dev/null 9>&- &
    step_pid=$!
    set +m
    build_jobs+=("$step_pid")
}

# wait_step NAME PID TEXT: shows progress until the step ends; its failure is ours.
wait_step() {
    local name=$1 pid=$2 text=$3 start=$SECONDS log=$cache/log/$1.log last told=0 code=0
    if [[ -r $cache/took/$name ]]; then text="$text (last time $(took "$name" ""))"; fi
    say "$text ..."
    while kill -0 "$pid" 2>/dev/null; do
        if [[ -t 2 ]]; then
            last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c1-60)
            printf '\r\033[K        %s  %s' "$(duration $((SECONDS - start)))" "$last" >&2
        elif ((SECONDS - start >= told + 60)); then
            told=$((SECONDS - start))
            say "$text: $(duration $told) so far"
        fi
        sleep 0.2
    done
    if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
    wait "$pid" || code=$?
    if ((code != 0)); then
        say "$text: failed. The end of $log:"
        tail -n 20 "$log" | sed 's/^/    /' >&2
        exit $((code == 2 ? 2 : 1))   # 2: an unmet need, told in the log
    fi
    say "$text: done, $(took "$name" "")"
}

run_step() {
    local name=$1 text=$2
    shift 2
    start_step "$name" "$@"
    wait_step "$name" "$step_pid" "$text"
}

# One set-up at a time per cache; held until this shell ends or execs (9 is closed before).
take_lock() {
    if ! mkdir -p "$cache" 2>/dev/null || [[ ! -w $cache ]]; then
        unmet "the cache folder $cache cannot be written." \
            "Make it writable, or name another one in DROVER_CACHE."
    fi
    exec 9>"$cache/lock"
    if ! flock -n 9; then
        say "another drover is setting up in $cache; waiting for it"
        flock 9
    fi
}
