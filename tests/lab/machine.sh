#!/usr/bin/env bash
# A host for the tests: Debian's stock kernel in QEMU, with /dev/kvm (emulated SVM) and the kernel's own KVM selftests.
#
#     machine.sh DIRECTORY [SECONDS]
#
# Runs DIRECTORY/job.sh as root in a machine that has busybox, trace-cmd and nothing else; the directory is /job there,
# the selftests are in /selftests. This machine's own files are under /host, read-only but for /tmp and /job: a chroot
# there has its Python. Output: DIRECTORY/job.out, which ends in "job ended: STATUS", and DIRECTORY/console.
#
# The first run installs Debian's packages, builds the selftests and puts the machine together, in LOCKSCOPE_MACHINE
# (default: a directory in the user's cache). QEMU emulates the CPU, and sometimes that crashes while the kernel patches
# its own code, or never returns from that (a soft lockup): it is tried three times.
set -euo pipefail
job=$(realpath "$1") seconds=${2:-900}
home=${LOCKSCOPE_MACHINE:-${XDG_CACHE_HOME:-$HOME/.cache}/lockscope-machine}
tests='dirty_log_perf_test memslot_modification_stress_test set_memory_region_test x86_64/smm_test x86_64/sync_regs_test'
get_kernel() { # the image that linux-image-amd64 stands for, unpacked: kernel/
  apt-get -qq update
  image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p' | head -1)
  rm -rf kernel && mkdir kernel
  (cd kernel && apt-get -qq download "$image" && dpkg-deb -x ./*.deb .)
  release=${image#linux-image-}
  depmod -b kernel "$release"
  cp "kernel/boot/vmlinuz-$release" vmlinuz
}

build() {
  mkdir -p "$home" && cd "$home"
  [ "$self" -nt root.gz ] || [ "$here/parts.sh" -nt root.gz ] || return 0
  if [ -e /usr/src/linux-source-6.1.tar.xz ]; then get_packages; else get_packages linux-source-6.1; fi
  get_kernel
  [ -d linux-source-6.1 ] || tar xf /usr/src/linux-source-6.1.tar.xz
  build_selftests linux-source-6.1
  modules=kernel selftests=linux-source-6.1/tools/testing/selftests/kvm
  make_root
}

self=$(realpath "${BASH_SOURCE[0]}") here=$(dirname "$self")
# shellcheck source=tests/lab/parts.sh
. "$here/parts.sh"
build
cd "$home"
for _ in 1 2 3; do boot "$job" "$seconds" && exit 0; done
echo "the job did not end; see $job/console" >&2
exit 1
