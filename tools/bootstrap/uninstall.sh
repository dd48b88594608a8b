# shellcheck shell=bash
# Takes away what the bootstrap made: the cache, and the Debian packages it added when nothing else
# has come to need them since. Labs and their disks stay: they are the user's.

uninstall() {
    local yes=no keep_packages=no argument
    for argument in "$@"; do
        case $argument in
            uninstall) ;;
            -y | --yes) yes=yes ;;
            --keep-packages) keep_packages=yes ;;
            *) unmet "uninstall knows no $argument." "usage: ./drover uninstall [--yes] [--keep-packages]" ;;
        esac
    done
    refuse_while_running
    local added=()
    [[ ! -s $cache/packages-added ]] || mapfile -t added < <(sort -u "$cache/packages-added")
    if [[ ! -d $cache ]]; then
        say "nothing is installed in $cache"
        return
    fi
    say "this removes $cache ($(du -sh "$cache" | cut -f1))"
    if ((${#added[@]} > 0)); then
        if [[ $keep_packages == yes ]]; then
            say "these Debian packages were added by drover and stay:"
        else
            say "and these Debian packages, which drover added:"
        fi
        printf '%s ' "${added[@]}" | fold -s -w 90 | sed 's/^/        /' >&2
        echo >&2
    fi
    if [[ $yes != yes ]]; then
        [[ -t 0 ]] || unmet "uninstall asks first, and there is no terminal." "Say ./drover uninstall --yes"
        read -r -p "drover: go on? [y/N] " argument
        [[ $argument == [yY]* ]] || return 1
    fi
    [[ $keep_packages == yes ]] || remove_packages "${added[@]}"
    rm -rf "$cache"
    say "done. Labs keep their state in ${DROVER_HOME:-${HOME:-/root}/.drover}; remove it if you want no more of it."
}

remove_packages() {
    (($# > 0)) || return 0
    local others
    others=$(apt-get -s remove "$@" 2>/dev/null | awk '$1 == "Remv" { print $2 }' | sort -u |
        comm -23 - <(printf '%s\n' "$@" | sort -u))
    if [[ -n $others ]]; then
        say "the packages stay, because others need them by now: ${others//$'\n'/ }"
        return
    fi
    [[ $(id -u) == 0 ]] || unmet "removing packages needs root." "Say sudo ./drover uninstall, or --keep-packages"
    DEBIAN_FRONTEND=noninteractive apt-get -q -y purge "$@" >/dev/null || say "apt-get could not remove them all"
}

# A lab's processes run the engine from the cache, or carry the lab's mark and this cache's name.
refuse_while_running() {
    local process
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/exe" 2>/dev/null) == "$cache"/engine/* ]] || in_a_lab "$process"; then
            unmet "a lab still runs on what is installed here (process ${process#/proc/})." \
                "First: ./drover down, for each lab."
        fi
    done
}

in_a_lab() {
    local variables
    mapfile -t -d '' variables 2>/dev/null <"$1/environ" || return 1
    [[ " ${variables[*]} " == *" DROVER_LAB_PART="* && " ${variables[*]} " == *" DROVER_CACHE=$cache "* ]]
}
