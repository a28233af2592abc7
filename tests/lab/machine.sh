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
packages='qemu-system-x86 busybox-static trace-cmd kmod cpio make gcc libc6-dev rsync xz-utils linux-source-6.1'

packages_are_there() {
  for program in qemu-system-x86_64 busybox trace-cmd modprobe cpio make gcc rsync; do
    command -v $program >/dev/null || return 1
  done
  [ -e /usr/src/linux-source-6.1.tar.xz ]
}

get_packages() {
  packages_are_there && return
  apt-get -qq update
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >/dev/null
}

get_kernel() { # the image that linux-image-amd64 stands for, unpacked: kernel/
  apt-get -qq update
  image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p' | head -1)
  rm -rf kernel && mkdir kernel
  (cd kernel && apt-get -qq download "$image" && dpkg-deb -x ./*.deb .)
  release=${image#linux-image-}
  depmod -b kernel "$release"
  cp "kernel/boot/vmlinuz-$release" vmlinuz
}

build_selftests() {
  [ -d linux-source-6.1 ] || tar xf /usr/src/linux-source-6.1.tar.xz
  make -s -C linux-source-6.1 headers_install INSTALL_HDR_PATH="$PWD/linux-source-6.1/usr" >/dev/null
  # those that need a newer compiler or library fail, others go on
  make -k -j"$(nproc)" -C linux-source-6.1/tools/testing/selftests/kvm >selftests.log 2>&1 || true
}

with_libraries() { # copy a program to where it goes in the root, and what it is linked with
  mkdir -p "root/$2" && cp "$1" "root/$2/"
  ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "root$(dirname "$library")" && cp -nL "$library" "root$library"
  done || true
}

make_root() {
  rm -rf root && mkdir -p root/{bin,dev,proc,sys,tmp,job,host,modules}
  cp "$(command -v busybox)" root/bin/
  for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "root/bin/$name"; done
  with_libraries "$(command -v trace-cmd)" bin
  for test in $tests; do with_libraries "linux-source-6.1/tools/testing/selftests/kvm/$test" selftests; done
  number=10
  for module in virtio_pci 9pnet_virtio 9p kvm-amd; do
    modprobe -d kernel -S "$release" --show-depends $module | sed -n 's/^insmod \(\S*\).*/\1/p'
  done | awk '!seen[$0]++' | while read -r file; do cp "$file" "root/modules/$((number++))-$(basename "$file")"; done
  cat > root/init <<'INIT'
#!/bin/sh
export PATH=/bin HOME=/tmp
mount -t proc none /proc && mount -t sysfs none /sys && mount -t devtmpfs none /dev
mount -t tmpfs none /tmp && mount -t tracefs none /sys/kernel/tracing
mkdir -p /dev/pts /dev/shm && mount -t devpts none /dev/pts && mount -t tmpfs none /dev/shm
for module in /modules/*; do insmod "$module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 job /job
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro,cache=loose outside /host
mount -t tmpfs none /host/tmp
for place in dev proc; do mount --bind /$place /host/$place; done
mount --rbind /sys /host/sys
mkdir /host/tmp/job && mount --bind /job /host/tmp/job
cd /tmp
sh /job/job.sh >/job/job.out 2>&1
echo "job ended: $?" >>/job/job.out
sync
poweroff -f
INIT
  chmod +x root/init
  (cd root && find . | cpio --quiet -o -H newc) | gzip -1 >root.part && mv root.part root.gz
}

build() {
  mkdir -p "$home" && cd "$home"
  [ "$self" -nt root.gz ] || return 0
  get_packages
  get_kernel
  build_selftests
  make_root
}

boot() {
  rm -f "$job/job.out"
  timeout "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu EPYC,+svm,+npt,+nrip-save -smp 2 -m 4G \
    -kernel vmlinuz -initrd root.gz -append "console=ttyS0 panic=-1 oops=panic softlockup_panic=1 watchdog_thresh=30 nokaslr quiet" -no-reboot \
    -nographic -monitor none \
    -virtfs "local,path=$job,mount_tag=job,security_model=none" \
    -virtfs "local,path=/,mount_tag=outside,security_model=none,readonly=on,multidevs=remap" \
    </dev/null >"$job/console" 2>&1 || true
  grep -q '^job ended: ' "$job/job.out"
}

self=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$self")"
build
cd "$home"
for _ in 1 2 3; do boot && exit 0; done
echo "the job did not end; see $job/console" >&2
exit 1
