#!/usr/bin/env bash
# The newest kernel that Debian's suites offer, as lockscope has not seen it yet (make kernels).
#
#     newest.sh DIRECTORY [SECONDS]
#
# Finds the highest linux-image-amd64 (linux-image-rt-amd64 with FLAVOUR=rt-amd64) of stable, its backports, testing,
# unstable and experimental (or of the SUITES given), boots it in QEMU as machine.sh does, records four of its own KVM
# self-tests by probes.sh of DIRECTORY, and leaves there what `python -m tests.lab.compare DIRECTORY` reads: release,
# events/, kallsyms, available_filter_functions, btf.*, source/ (a document and headers of that version), *.dat.
#
# Needs root, Debian and its package index; the first run for a kernel takes half an hour or so (it builds the
# self-tests), in LOCKSCOPE_NEWEST (default: a directory in the user's cache). Emulation fails now and then: three tries.
set -euo pipefail
job=$(realpath "$1") seconds=${2:-1800}
home=${LOCKSCOPE_NEWEST:-${XDG_CACHE_HOME:-$HOME/.cache}/lockscope-newest}
suites=${SUITES:-stable stable-backports testing unstable experimental} flavour=${FLAVOUR:-amd64}
parameters=''
case $flavour in rt-*) parameters='setcpuid=constant_tsc no_timer_check' ;; esac # PREEMPT_RT stalls in emulation without
wanted='dirty_log_perf_test memslot_modification_stress_test smm_test sync_regs_test'
files='Documentation/virt/kvm/locking.rst arch/x86/kvm/mmu/spte.h arch/x86/kvm/mmu/mmu_internal.h
  arch/x86/include/asm/kvm_host.h include/linux/lockdep_types.h include/trace/events/lock.h'

apt() { # COMMAND...: with those suites, and nothing of this machine's own
  command=$1
  shift
  "$command" -o Dir::Etc::SourceList="$home/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=root -o Dir::State="$home/apt/state" -o Dir::State::status="$home/apt/status" -o Dir::Cache="$home/apt/cache" "$@"
}

add_suite() {
  echo "deb $mirror $1 main" >apt/sources.list
  if apt apt-get -qq update 2>apt/log; then cat apt/sources.list >>apt/all; else echo "no suite $1 here: $(head -1 apt/log)" >&2; fi
}

list_suites() {
  mkdir -p apt/state/lists/partial apt/cache/archives/partial && : >apt/status >apt/all
  mirror=${MIRROR:-$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}')}
  [ -n "$mirror" ] || { echo "apt's sources name no mirror: set MIRROR=URL, one of Debian's" >&2; exit 1; }
  for suite in $suites; do add_suite "$suite"; done
  # by its codename too: a mirror's alias may lag behind
  codename=$(sed -n 's/^Codename: //p' apt/state/lists/*_stable_InRelease 2>/dev/null | head -1 || true)
  [ -z "$codename" ] || add_suite "$codename-backports"
  mv apt/all apt/sources.list
  apt apt-get -qq update
}

choose() { # the newest of the images that linux-image-FLAVOUR stands for
  apt apt-cache show -a "linux-image-$flavour" | sed -n 's/^Depends: .*\(linux-image-[0-9][^ ,(]*\).*/\1/p' | sort -V | tail -1
}

get_kernel() { # IMAGE: unpacked, with the packages of the same version that it is made of, and its source
  release=${1#linux-image-}
  series=$(echo "$release" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/')
  [ -e "$release/done" ] && return
  rm -rf "$release" && mkdir -p "$release/deb" "$release/kernel"
  parts=$(apt apt-cache depends "$1" | grep -o "linux-\(binary\|modules\|image\)-[^ ]*$release[^ ]*" | sort -u || true)
  # shellcheck disable=SC2086
  (cd "$release/deb" && apt apt-get -qq download "$1" $parts "linux-source-$series")
  for deb in "$release"/deb/linux-*.deb; do dpkg-deb -x "$deb" "$release/kernel"; done
  (cd "$release" && tar xf kernel/usr/src/linux-source-*.tar.xz && mv linux-source-* source && rm -rf deb)
  touch "$release/done"
}

build() { # the machine, in the folder of its release
  cd "$release"
  modules=$(find kernel -type d -path "*/modules/$release" | head -1)
  modules=${modules%/lib/modules/*}
  cp "$(find kernel -type f \( -name "vmlinuz-$release" -o -path "*/$release/vmlinuz" \) | head -1)" vmlinuz
  depmod -b "$modules" "$release" 2>depmod.log
  selftests=source/tools/testing/selftests/kvm
  [ -x $selftests/dirty_log_perf_test ] || build_selftests source
  tests=$(cd $selftests && for name in $wanted; do find . -maxdepth 2 -type f -perm -u+x -name "$name" | head -1; done)
  [ -n "$tests" ] || { echo "no self-test could be built; see $PWD/selftests.log" >&2; exit 1; }
  make_root
}

gather() { # what is compared, beside the recordings
  echo "$release" >"$job/release"
  for file in $files; do
    mkdir -p "$job/source/$(dirname "$file")" && cp "source/$file" "$job/source/$file"
  done
}

write_job() {
  cat >"$job/job.sh" <<'JOB'
cd /sys/kernel/tracing
uname -rv > /job/release
for format in events/lock/*/format events/kvm/*/format events/kvmmmu/*/format events/raw_syscalls/*/format events/tlb/*/format \
    events/sched/sched_switch/format events/sched/sched_process_exit/format; do
  mkdir -p "/job/${format%/format}" && cat "$format" > "/job/$format"
done
cat /proc/kallsyms > /job/kallsyms
cat available_filter_functions > /job/available_filter_functions
cat README > /job/README
for file in vmlinux kvm kvm_amd; do cat /sys/kernel/btf/$file > /job/btf.$file; done
cd /tmp
record() { test=$1; shift; timeout 600 sh /job/probes.sh -o /job/$test.dat /selftests/$test "$@" </dev/null; echo "$test: $?"; }
record dirty_log_perf_test -b 8M -i 2 -g
record memslot_modification_stress_test -b 8M -i 2 -d 1000
record smm_test
record sync_regs_test
JOB
}

self=$(realpath "${BASH_SOURCE[0]}") here=$(dirname "$self")
# shellcheck source=tests/lab/parts.sh
. "$here/parts.sh"
mkdir -p "$home" && cd "$home"
get_packages
list_suites
image=$(choose)
[ -n "$image" ] || { echo "no linux-image-$flavour in: $suites" >&2; exit 1; }
echo "the newest kernel is ${image#linux-image-}" >&2
get_kernel "$image"
build
gather
write_job
for _ in 1 2 3; do
  boot "$job" "$seconds" && { grep '_test: [0-9]*$' "$job/job.out" >&2; exit 0; }
done
echo "the job did not end; see $job/console" >&2
exit 1
