#!/usr/bin/env bash
# A Debian root with Python, its headers and make, and no C compiler (the tests of this folder: what a small machine has).
#
#     root.sh DIRECTORY COMMAND...
#
# Runs COMMAND as root in it, in the folder /job, which is DIRECTORY. The first run makes it, of Debian's testing (its
# Python is the newest that Debian has), in LOCKSCOPE_ROOT (default: a directory in the user's cache). Needs root,
# debootstrap and Debian's package index.
set -euo pipefail
job=$(realpath "$1") home=${LOCKSCOPE_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/lockscope-root}
shift
mirror=${MIRROR:-$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}')}
if [ ! -e "$home/made" ]; then
  rm -rf "$home"
  debootstrap --variant=minbase --include=python3,python3-venv,libpython3-dev,ca-certificates,make testing "$home" \
    "$mirror" /usr/share/debootstrap/scripts/sid >&2
  mkdir -p "$home/job"
  touch "$home/made"
fi
cp /etc/resolv.conf "$home/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$home/etc/ssl/certs/" # with those of this machine's own package index
# shellcheck disable=SC2016 # for the inner shell
exec unshare --mount --pid --fork bash -c 'home=$1 job=$2; shift 2
  mount -t proc proc "$home/proc" && mount --bind "$job" "$home/job" && exec chroot "$home" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    LANG=C.UTF-8 PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 sh -c "cd /job && exec \"\$@\"" sh "$@"' \
  sh "$home" "$job" "$@"
