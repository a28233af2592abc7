# What the machines of this folder are made of: sourced by machine.sh (the suite's own stock kernel) and newest.sh (the
# newest kernel that Debian has). It works in the current directory. Needs: release (of the kernel), modules (the folder
# above lib/modules), selftests (where they were built), tests (which of them).
packages='qemu-system-x86 busybox-static trace-cmd kmod cpio make gcc libc6-dev rsync xz-utils'

packages_are_there() {
  for program in qemu-system-x86_64 busybox trace-cmd modprobe cpio make gcc rsync; do
    command -v $program >/dev/null || return 1
  done
}

get_packages() { # and those named
  packages_are_there && [ -z "$*" ] && return
  apt-get -qq update
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages "$@" >/dev/null
}

build_selftests() { # SOURCE
  # as if nobody's make had called: inside another's they are built into / (lib.mk sets OUTPUT at MAKELEVEL 0 alone)
  unset MAKELEVEL MAKEFLAGS MFLAGS MAKEOVERRIDES
  make -s -C "$1" headers_install INSTALL_HDR_PATH="$PWD/$1/usr" >/dev/null
  # those that need a newer compiler or library fail, others go on
  make -k -j"$(nproc)" -C "$1/tools/testing/selftests/kvm" >selftests.log 2>&1 || true
}

with_libraries() { # copy a program to where it goes in the root, and what it is linked with
  mkdir -p "root/$2" && cp "$1" "root/$2/"
  ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "root$(dirname "$library")" && cp -nL "$library" "root$library"
  done || true
}

unpacked() { # FILE PLACE: a module, as it is or as kernels have them since 6.10
  case $1 in
    *.xz) xz -dc "$1" >"${2%.xz}" ;;
    *) cp "$1" "$2" ;;
  esac
}

make_root() {
  rm -rf root && mkdir -p root/{bin,dev,proc,sys,tmp,run,job,host,modules}
  cp "$(command -v busybox)" root/bin/
  for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "root/bin/$name"; done
  with_libraries "$(command -v trace-cmd)" bin
  for test in $tests; do with_libraries "$selftests/$test" selftests; done
  # pthread_cancel() loads this one by itself, which ldd does not show (sync_regs_test)
  unwinder=$(ldconfig -p | awk '/libgcc_s\.so\.1 .*x86-64/ {print $NF; exit}')
  mkdir -p "root$(dirname "$unwinder")" && cp -nL "$unwinder" "root$unwinder"
  number=10
  for module in virtio_pci 9pnet_virtio 9p kvm-amd; do
    { modprobe -d "$modules" -S "$release" --show-depends $module 2>/dev/null || true; } | # built in, perhaps
      sed -n 's/^insmod \(\S*\).*/\1/p'
  done | awk '!seen[$0]++' | while read -r file; do unpacked "$file" "root/modules/$((number++))-$(basename "$file")"; done
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

boot() { # JOB SECONDS
  rm -f "$1/job.out"
  timeout "$2" qemu-system-x86_64 -accel tcg,thread=multi -cpu EPYC,+svm,+npt,+nrip-save -smp 2 -m 4G \
    -kernel vmlinuz -initrd root.gz -append "console=ttyS0 panic=-1 oops=panic softlockup_panic=1 watchdog_thresh=30 nokaslr quiet ${parameters:-}" -no-reboot \
    -nographic -monitor none \
    -virtfs "local,path=$1,mount_tag=job,security_model=none" \
    -virtfs "local,path=/,mount_tag=outside,security_model=none,readonly=on,multidevs=remap" \
    </dev/null >"$1/console" 2>&1 || true
  grep -qs '^job ended: ' "$1/job.out"
}
