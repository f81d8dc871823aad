#!/bin/bash
# Repeats setup, tests and demo in a Debian 13 made from nothing. Needs root, debootstrap, 4 GB and half an hour.
#
#   tests/debian13.sh [DIR] [TARGET ...]      by default a new folder under /var/tmp, and: setup test demo
#
# DIR is used again when it already holds that Debian. The mirror is the one in this machine's apt sources, the package
# index the one in its pip settings. DEMO_ARGS goes to make demo.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $1" >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail 'needs root, for chroot: sudo tests/debian13.sh'
command -v debootstrap > /dev/null || fail 'needs debootstrap: apt-get install debootstrap'

root=$(realpath -m "${1:-$(mktemp -d /var/tmp/debian13.XXXXXX)}")
shift || true
[ $# -gt 0 ] || set -- setup test demo

if [ ! -e "$root/var/lib/fcn-bootstrapped" ]; then
    mirror=$(python3 -c 'from third_party.caffe import debian; print(next(m.uri for m in debian.mirrors() if m.distribution == "debian"))')
    debootstrap --variant=minbase --include=ca-certificates,python3,gcc,make,cmake,git trixie "$root" "$mirror"
    touch "$root/var/lib/fcn-bootstrapped"
fi
cp --dereference /etc/resolv.conf "$root/etc/"
# Certificates and pip's settings say how this machine reaches its package index.
cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"

# The checkout as it lies here, uncommitted files included, in a fresh folder; what setup built stays cached in $root.
checkout=$root/root/fcn
rm -rf "$checkout" && mkdir -p "$checkout"
git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - | tar -x -C "$checkout"

mapfile -t passed < <(env | grep -E '^(PIP_|SSL_CERT_|[a-z]+_proxy=|[A-Z]+_PROXY=)')
for target in "$@"; do
    arguments=$([ "$target" = demo ] && echo "${DEMO_ARGS:-}" || true)
    echo "== make $target"
    # In a mount namespace of its own: the mounts are gone when the command ends, however it ends.
    unshare --mount --propagation private bash -c '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mkdir -p "$root/dev/shm" && mount -t tmpfs tmpfs "$root/dev/shm"
        exec chroot "$root" "$@"' bash "$root" \
        env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${passed[@]}" \
        make -C /root/fcn "$target" ARGS="$arguments"
done
echo "Debian 13: $* passed (in $root)"
