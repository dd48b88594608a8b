# shellcheck shell=bash
# The image of the controllers, for the test of the chart: ./test has this stage, ./drover has not.
#
#   container   $cache/container/<system>-<hash of its inputs>/{rootfs,config.json}
#
# deploy/Dockerfile is built as a user would, by Debian's buildah, which is fetched and unpacked beside the
# machine's packages, not installed. No registry is asked: it begins with the least Debian 12, by mmdebstrap
# from the mirror that apt uses here. Of the image its file system and its settings are kept. This stage is
# optional: where it cannot be had, the folder holds a file `why`, and the chart runs from the checkout.

container_folder() {
    echo "${DROVER_CONTAINER:-$cache/container/$(system_version)-$(container_key)}"
}

container_key() {
    key_of tools/bootstrap/{container,firmware}.sh deploy/Dockerfile requirements.in requirements.txt
}

container_ready() {
    local folder
    folder=$(container_folder)
    [[ -e $folder/config.json || -e $folder/why ]]
}

build_container() { build_optional container "$(container_folder)" config.json image_of_dockerfile; }

image_of_dockerfile() {
    local work=$1 package sources
    mkdir "$work/debs" "$work/tools"
    if ! sources=$(bookworm_sources bookworm); then
        echo "apt has no source of bookworm main" >&3
        return 1
    fi
    if ! fetch_packages "$work/debs" buildah golang-github-containers-common libgpgme11 libassuan0 libsubid4 mmdebstrap; then
        echo "apt has no buildah and mmdebstrap" >&3
        return 1
    fi
    for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/tools" || return 1; done
    if ! "$work/tools/usr/bin/mmdebstrap" --mode=root --variant=minbase --format=tar --quiet \
        bookworm "$work/base.tar" - <<<"$sources"; then
        echo "mmdebstrap makes no Debian here" >&3
        return 1
    fi
    if ! build_and_keep "$work"; then
        echo "buildah does not build deploy/Dockerfile here" >&3
        return 1
    fi
}

# buildah runs in a mount namespace where its own files are beside those of the machine: it starts itself anew
# without the environment, so that a path of libraries would not do.
build_and_keep() {
    local work=$1 authorities=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt} index
    local -a given=()
    [[ ! -e $authorities ]] || given+=("--volume=$authorities:/authorities.pem:ro" --build-arg=PIP_CERT=/authorities.pem)
    index=${PIP_INDEX_URL:-$("$venv/bin/pip" config get global.index-url 2>/dev/null || true)}
    [[ -z $index ]] || given+=("--build-arg=PIP_INDEX_URL=$index")
    unshare -m -- bash -s "$work" "$root" "${given[@]}" <<'EOF'
set -eu
work=$1 root=$2
shift 2
mount -t overlay drover -o "lowerdir=$work/tools/usr:/usr" /usr
policy=(--signature-policy "$work/tools/etc/containers/policy.json")
with() { buildah --root "$work/root" --runroot "$work/runroot" --storage-driver vfs "$@"; }
base=$(with from "${policy[@]}" scratch)
with add "$base" "$work/base.tar" /
with commit "${policy[@]}" "$base" localhost/base
with bud "${policy[@]}" --isolation chroot --network host --pull-never --build-arg BASE=localhost/base "$@" \
    -f "$root/deploy/Dockerfile" -t drover/controllers:test "$root"
made=$(with from "${policy[@]}" --pull-never drover/controllers:test)
cp -a "$(with mount "$made")" "$work/made/rootfs"
with inspect --type image drover/controllers:test >"$work/made/config.json"
EOF
}
