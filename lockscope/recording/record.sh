#!/bin/sh
# Made by lockscope @VERSION@ for @FOR@.
#
# Records what lockscope judges, on the host that it runs on: it looks what this kernel has, sets dynamic events
# (probes), records with trace-cmd, or with tracefs alone where there is none, and takes everything away again, however
# it ends. It needs root, a POSIX shell with the usual small programs (busybox has them all), and nothing of lockscope.
#
#   sh THIS [-o FILE] [-d SECONDS] [-b KB] [-c CLOCK] [-p PID] [-l KINDS] [-s] [-t] [COMMAND [ARGUMENT...]]
#   sh THIS -n       say what could be recorded here, and record nothing
#   sh THIS -C       take away what a recorder left that was killed together with its guard
#
#   -o FILE     where to (trace.dat; with tracefs alone trace.txt)      -d SECONDS  how long, without a command
#   -b KB       buffer a CPU (by a rehearsal of a second)               -c CLOCK    that all CPUs share (mono)
#   -p PID      only this process's tasks, and kernel threads           -l KINDS    also "spinlock,rwsem"
#   -s          with kernel stacks                                      -t          with tracefs alone, as text
#   -r SECONDS  rehearse: say how many events come, keep none of them
#
# Everything is in a tracing instance of its own, "lockscope": other people's tracing goes on undisturbed. Probes are in
# the group "lockscope". Exit status: the command's; 2 if nothing could be recorded.
set -u
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
GROUP=lockscope OUT='' SECONDS_='' KB='' CLOCK=mono PID='' LOCKS='@LOCKS@' STACKS='' TEXT='' MODE=record REHEARSE=''
STATE=/tmp/.lockscope-recording
[ -d /run ] && [ -w /run ] && STATE=/run/lockscope-recording

say() { printf 'lockscope: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

# --- the host

find_tracefs() {
  for T in /sys/kernel/tracing /sys/kernel/debug/tracing; do [ -d "$T/instances" ] && return; done
  die "tracefs is not mounted (hint: mount -t tracefs nodev /sys/kernel/tracing)"
}

look() {
  [ "$(id -u)" = 0 ] || die "only root may set probes (hint: sudo sh $0 ...)"
  find_tracefs
  D=$T/dynamic_events
  [ -f "$T/kprobe_events" ] || die "this kernel has no kprobe events (hint: CONFIG_KPROBE_EVENTS)"
  [ -f "$D" ] || D=$T/kprobe_events
  [ -w "$D" ] || die "$D cannot be written (hint: the kernel may be locked down, see /sys/kernel/security/lockdown)"
  I=$T/instances/$GROUP
  RELEASE=$(uname -r)
  VERSION=$(printf '%s\n' "$RELEASE" | awk -F'[^0-9]' '{ print $1 * 1000 + $2 }')
  KERNELS=stock
  [ -d "$T/events/lock/lock_acquire" ] && KERNELS=lockdep
  # before 5.12 mmu_lock was a spinlock
  [ "$KERNELS" = stock ] && [ "$VERSION" -lt 5012 ] && LOCKS="$LOCKS spinlock"
  MMU=legacy
  case $(cat /sys/module/kvm/parameters/tdp_mmu 2>/dev/null) in Y*|1*) MMU=tdp ;; esac
}

refuse_if_busy() {
  if [ -d "$STATE" ] || [ -d "$I" ] || grep -q "[:/]$GROUP/" "$D" 2>/dev/null; then
    owner=$(cat "$STATE/owner" 2>/dev/null || echo 0)
    [ "$owner" != 0 ] && alive "$owner" && die "process $owner is recording already"
    die "a recorder that was killed left probes behind (hint: sh $0 -C)"
  fi
  tracer=$(cat "$T/current_tracer")
  [ "$tracer" = nop ] || die "the tracer $tracer is in use (hint: echo nop > $T/current_tracer)"
}

# --- taking everything away; may be called at any time, by anybody, again

stop_recorder() {
  recorder=$(cat "$STATE/recorder" 2>/dev/null || echo)
  [ -n "$recorder" ] || return 0
  [ -d "$I" ] && echo 0 > "$I/tracing_on" 2>/dev/null
  kill -INT "$recorder" 2>/dev/null
  out=$(cat "$STATE/output" 2>/dev/null)
  tries=0 written=''
  while kill -0 "$recorder" 2>/dev/null && [ $tries -lt "${1:-100}" ]; do
    pause
    tries=$((tries + 1))
    now=$(ls -l "$out" 2>/dev/null | awk '{ print $5 }')
    [ "$now" = "$written" ] || tries=0 written=$now # it is at work: a large trace takes its time
  done
  kill -KILL "-$recorder" 2>/dev/null
  kill -KILL "$recorder" 2>/dev/null
  [ -z "$out" ] || rm -f "$out.$GROUP.cpu"[0-9]* # what trace-cmd leaves if it is killed
}

pause() { sleep 0.1 2>/dev/null || sleep 1; }

remove_probes() {
  [ -f "$T/events/$GROUP/enable" ] && echo 0 > "$T/events/$GROUP/enable" 2>/dev/null
  grep "[:/]$GROUP/" "$D" 2>/dev/null | sed "s,^[^:]*:$GROUP/\([^ ]*\).*,-:$GROUP/\1," | while read -r line; do
    printf '%s\n' "$line" >> "$D" 2>/dev/null
  done
}

teardown() {
  stop_recorder 100
  tries=0
  while [ -d "$I" ] && [ $tries -lt 50 ]; do
    echo 0 > "$I/events/enable" 2>/dev/null
    : > "$I/set_event_pid" 2>/dev/null
    rmdir "$I" 2>/dev/null || pause
    tries=$((tries + 1))
  done
  remove_probes
  rm -rf "$STATE"
}

alive() { [ -d "/proc/$1" ] && ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null; }

# Killed with -9, a shell cleans nothing up. This process outlives it, and does.
guard() {
  trap '' INT TERM HUP QUIT
  while alive "$1" && { [ -z "${2:-}" ] || alive "$2"; }; do sleep 1; done
  [ "$(cat "$STATE/owner" 2>/dev/null)" = "$1" ] || exit 0
  kill -KILL "$1" 2>/dev/null
  [ -z "${LOCKSCOPE_OWN:-}" ] || rm -rf "$LOCKSCOPE_OWN"
  kill -TERM $(cat "$STATE/child" 2>/dev/null) 2>/dev/null
  teardown
}

begin() {
  mkdir "$STATE" 2>/dev/null || die "another recorder has just begun"
  echo $$ > "$STATE/owner"
  trap 'finish' EXIT
  trap 'interrupted=1; stop_child' INT TERM HUP
  if command -v setsid >/dev/null 2>&1 && [ -f "$0" ]; then
    setsid sh "$0" -G $$ "${LOCKSCOPE_PARENT:-}" </dev/null >/dev/null 2>&1 &
  else
    (guard $$ "${LOCKSCOPE_PARENT:-}") </dev/null >/dev/null 2>&1 &
  fi
  GUARD=$!
}

finish() {
  trap '' INT TERM HUP
  trap - EXIT
  teardown
  kill -KILL "$GUARD" 2>/dev/null
}

stop_child() { [ -f "$STATE/child" ] && kill -TERM "$(cat "$STATE/child")" 2>/dev/null; }

# --- probes and events

place() { # a way: lines with ";" between, all or none
  set_lines=''
  rest=$1
  while [ -n "$rest" ]; do
    line=${rest%%;*}
    case $rest in *\;*) rest=${rest#*;} ;; *) rest='' ;; esac
    if { printf '%s\n' "$line" >> "$D"; } 2>/dev/null; then
      set_lines="$set_lines $line"
    else
      for word in $set_lines; do
        case $word in [a-z]*:$GROUP/*) { printf -- '-:%s\n' "${word#*:}" >> "$D"; } 2>/dev/null ;; esac
      done
      return 1
    fi
  done
}

note() { printf '%s\n' "$*" >> "$STATE/notes"; }

# KERNELS SINCE UNTIL MMU KIND EVENT FUNCTION CODES INSTEAD WAY...
probe() {
  [ "$1" = any ] || [ "$1" = "$KERNELS" ] || return 0
  [ "$VERSION" -ge "$2" ] && [ "$VERSION" -le "$3" ] || return 0
  [ "$4" = any ] || [ "$4" = "$MMU" ] || return 0
  [ "$5" = - ] || case " $LOCKS " in *" $5 "*) ;; *) return 0 ;; esac
  event=$6 function=$7 codes=$8 instead=$9
  shift 9
  for way in "$@"; do
    case $way in [ft]:*) [ -n "$FPROBES" ] || continue ;; esac
    if place "$way"; then
      PROBES=$((PROBES + 1))
      case $CLONES in
        *" $function.part."*) note "$event: calls of which the compiler inlined the beginning are not seen ($function.part): $codes" ;;
      esac
      return 0
    fi
  done
  case $CLONES in
    *" $function "*) why="this kernel refuses to probe $function" ;;
    *" $function."*) why="the compiler left only a clone of $function with other arguments" ;;
    *) why="$function is inlined, or not in this kernel" ;;
  esac
  note "cannot be probed: $event ($why): $codes lose by it; next best: $instead"
}

# KERNELS SINCE UNTIL NAME
events() {
  [ "$1" = any ] || [ "$1" = "$KERNELS" ] || return 0
  [ "$VERSION" -ge "$2" ] && [ "$VERSION" -le "$3" ] || return 0
  if [ -d "$T/events/${4%%:*}/${4#*:}" ] || [ -d "$T/events/$4" ]; then EVENTS="$EVENTS $4"
  else note "this kernel has no events $4"
  fi
}

set_up() {
  PROBES=0 EVENTS=''
  FPROBES=$(grep -s -F 'f[:' "$T/README")
  # the functions that are probed, and what the compiler made of them; .cold is no clone, the function is whole without
  CLONES=$(awk -v sought=" @FUNCTIONS@ " '{ f = $3; sub(/[.].*/, "", f); if ($3 !~ /[.]cold/ && index(sought, " " f " ")) printf " %s ", $3 }' /proc/kallsyms)
  all_probes
  [ "$PROBES" -gt 0 ] && EVENTS=" $GROUP"
  all_events
  [ -n "$EVENTS" ] || die "nothing that was asked for can be recorded on this kernel"
  say "kernel $RELEASE, $KERNELS: $PROBES probes, events$EVENTS"
  [ ! -f "$STATE/notes" ] || while read -r line; do say "$line"; done < "$STATE/notes"
}

all_probes() {
  :
@PROBES@
}

all_events() {
  :
@EVENTS@
}

# --- names of locks: where they lie in KVM's structures, from the kernel's BTF

layout() {
@LAYOUT@
}

btf_head() { od -An -v -tu4 -j4 -N20 "$1" | tr -s ' \n' '  '; }

btf_texts() { # FILE FIRST-OFFSET: offsets of the names that are sought
  set -- "$1" "$2" $(btf_head "$1")
  tail -c +$(($3 + $6 + 1)) "$1" | head -c "$7" | tr '\000' '\n' | awk -v first="$2" -v sought="kvm kvm_arch kvm_vcpu arch @SOUGHT@" '
    BEGIN { n = split(sought, w, " "); for (i = 1; i <= n; i++) is[w[i]] = 1 }
    { if ($0 in is) print first + at, $0; at += length($0) + 1 }'
}

btf_layout() { # FILE [BASE]: "STRUCT OFFSET MEMBER" of every member that is sought
  first=0
  names=''
  if [ -n "${2:-}" ]; then
    set -- "$1" "$2" $(btf_head "$2")
    first=$7
    names=$(btf_texts "$2" 0)
  fi
  names="$names
$(btf_texts "$1" "$first")"
  set -- "$1" $(btf_head "$1")
  { printf '%s\n--\n' "$names"; od -An -v -tu4 -w256 -j$(($2 + $3)) -N"$4" "$1"; } 2>/dev/null | awk '
    BEGIN { each[4] = 3; each[5] = 3; each[6] = 2; each[13] = 2; each[15] = 3; each[19] = 3; fixed[1] = 1; fixed[3] = 3; fixed[14] = 1; fixed[17] = 1 }
    !types { if ($1 == "--") types = 1; else if (NF == 2) text[$1] = $2; next }
    { for (i = 1; i <= NF; i++) {
        if (skip > 0) { left = NF - i + 1; if (skip >= left) { skip -= left; next } i += skip; skip = 0 }
        h[++n] = $i
        if (n < 3) continue
        n = 0
        if (member > 0) {
          member--
          if (h[1] in text) print of, int((flag ? h[3] % 16777216 : h[3]) / 8), text[h[1]]
          if (member == 0 && ++found == 3) exit
          continue
        }
        kind = int(h[2] / 16777216) % 32; vlen = h[2] % 65536; flag = h[2] >= 2147483648
        if (kind == 4 && (h[1] in text) && text[h[1]] ~ /^(kvm|kvm_arch|kvm_vcpu)$/) { of = text[h[1]]; member = vlen }
        else skip = fixed[kind] + each[kind] * vlen } }'
}

layout_from_btf() {
  places=''
  [ ! -f /sys/kernel/btf/kvm ] || places=$(btf_layout /sys/kernel/btf/kvm /sys/kernel/btf/vmlinux)
  # built in, or something that is built in knows the structures too (Debian's 6.1)
  [ -n "$places" ] || [ ! -f /sys/kernel/btf/vmlinux ] || places=$(btf_layout /sys/kernel/btf/vmlinux)
  printf '%s\n' "$places" | awk -v new=$((VERSION >= 5012)) '
    $1 == "kvm_arch" { arch[$3] = $2; next }
    $1 == "kvm" && $3 == "arch" { base = $2; next }
    $1 == "kvm" { kvm = kvm " " $2 "=" (new && $3 == "mmu_lock" ? "&(kvm)->" : "&kvm->") $3 }
    $1 == "kvm_vcpu" && $3 == "mutex" { vcpu = vcpu " " $2 "=&vcpu->" $3 }
    END {
      for (m in arch) inner = inner " " base + arch[m] "=&kvm->arch." m
      if (kvm != "") print "lockscope: struct kvm:" kvm
      if (kvm != "" && inner != "") print "lockscope: struct kvm:" inner
      if (vcpu != "") print "lockscope: struct kvm_vcpu:" vcpu
    }'
}

static_locks() {
  awk -v sought=" @STATIC@ " 'index(sought, " " $3 " ") && $1 !~ /^0+$/ { s = s " 0x" $1 "=" $3 } END { if (s != "") print "lockscope: symbols:" s }' /proc/kallsyms
}

mark() {
  [ "$KERNELS" = stock ] || return 0
  while read -r line; do printf '%s\n' "$line" > "$I/trace_marker"; done < "$STATE/layout"
}

# --- recording

only_tasks_of() { # the process's tasks, what they fork, and kernel threads: vhost, kvm-nx-lpage-recovery, kswapd, workers
  [ -d "/proc/$PID/task" ] || die "there is no process $PID"
  pids="$(ls "/proc/$PID/task" | tr '\n' ' ') 2 $(awk '/^PPid:\t2$/ { p = FILENAME; gsub(/[^0-9]/, "", p); print p }' /proc/[0-9]*/status 2>/dev/null | tr '\n' ' ')"
  printf '%s\n' "$pids" > "$I/set_event_pid" || die "$I/set_event_pid cannot be written"
  [ ! -f "$I/options/event-fork" ] || echo 1 > "$I/options/event-fork"
}

make_instance() {
  mkdir "$I" || die "no tracing instance can be made: $I"
  echo 0 > "$I/tracing_on"
  echo "$CLOCK" > "$I/trace_clock" || die "this kernel has no clock $CLOCK (hint: -c global)"
  [ -z "$PID" ] || only_tasks_of
}

start_trace_cmd() {
  case $OUT in /*) echo "$OUT" ;; *) echo "$PWD/$OUT" ;; esac > "$STATE/output"
  # no -C: trace-cmd 3.1 would set the clock of the top instance, which is other people's
  set -- -q -B "$GROUP" -b "$KB" -o "$OUT"
  for name in $EVENTS; do set -- "$@" -e "$name"; done
  [ -z "$STACKS" ] || set -- "$@" -T
  if command -v setsid >/dev/null 2>&1; then setsid trace-cmd record "$@" </dev/null > "$STATE/log" 2>&1 3<&- &
  else trace-cmd record "$@" </dev/null > "$STATE/log" 2>&1 3<&- &
  fi
  echo $! > "$STATE/recorder"
  tries=0
  while [ "$(cat "$I/tracing_on")" != 1 ]; do
    kill -0 "$!" 2>/dev/null || die "trace-cmd gave up: $(tr '\n' ' ' < "$STATE/log" | cut -c 1-300)"
    [ $tries -lt 600 ] || die "trace-cmd did not begin within a minute"
    pause
    tries=$((tries + 1))
  done
}

enable_events() {
  echo "$KB" > "$I/buffer_size_kb"
  for option in hash-ptr; do [ ! -f "$I/options/$option" ] || echo 0 > "$I/options/$option"; done
  [ -z "$STACKS" ] || echo 1 > "$I/options/stacktrace"
  for name in $EVENTS; do
    where=$name
    case $name in *:*) where=${name%%:*}/${name#*:} ;; esac
    echo 1 > "$I/events/$where/enable" || note "$name could not be switched on"
  done
}

start_tracefs() {
  enable_events
  printf '# tracer: nop\n#\n# lockscope: kernel %s %s\n#\n' "$RELEASE" "$(uname -m)" > "$OUT"
  cat "$I/trace_pipe" >> "$OUT" 2>/dev/null 3<&- &
  echo $! > "$STATE/recorder"
  echo 1 > "$I/tracing_on"
}

run() { # the command, or a while; its status
  if [ $# -gt 0 ]; then
    "$@" <&3 3<&- &
  else
    sleep "$SECONDS_" </dev/null 3<&- &
  fi
  child=$!
  echo $child > "$STATE/child"
  wait "$child"
  status=$?
  while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
  rm -f "$STATE/child"
  return $status
}

lost() {
  awk '/^(overrun|dropped events|commit overrun):/ { n += $NF } END { print n + 0 }' "$I"/per_cpu/cpu*/stats
}

rehearse() { # SECONDS: what each CPU records meanwhile
  KB=${KB:-1408}
  enable_events
  echo 1 > "$I/tracing_on"
  sleep "$1"
  echo 0 > "$I/tracing_on"
  echo 0 > "$I/events/enable"
  for cpu in "$I"/per_cpu/cpu*; do
    awk -v cpu="${cpu##*cpu}" '/^entries:/ { e = $2 } /^overrun:/ { o = $2 } /^bytes:/ { b = $2 }
      END { printf "rehearsed: cpu %d events %d bytes %d\n", cpu, e + o, e ? b / e * (e + o) : 0 }' "$cpu/stats"
  done
}

# Room for eight seconds of the busiest CPU: the recorder reads all the while, and may have to wait for the disk. Never
# more than an eighth of the free memory. What a command adds is not known yet.
choose_buffer() {
  least=4096
  [ "$1" = 0 ] || least=16384
  most=$(awk '/^MemAvailable:/ { m = int($2 / 8) } /^cpu[0-9]/ { n++ } END { print n ? int(m / n) : 65536 }' /proc/meminfo /proc/stat)
  KB=$(rehearse 1 | awk -v least=$least -v most="$most" '{ kb = $NF / 128; if (kb > k) k = kb }
    END { k = int(k < least ? least : k > 131072 ? 131072 : k); print k > most && most > 1024 ? most : k }')
  : > "$I/trace"
  KB=${KB:-16384}
  say "buffer $KB KB a CPU"
}

record() {
  exec 3<&0
  begin
  [ "$KERNELS" = lockdep ] || { layout; [ -z "$TEXT" ] || static_locks; } > "$STATE/layout"
  make_instance
  set_up
  if [ -n "$REHEARSE" ]; then rehearse "$REHEARSE"; return 0; fi
  [ -n "$KB" ] || choose_buffer $#
  if [ -n "$TEXT" ]; then start_tracefs; else start_trace_cmd; fi
  mark
  status=130
  if [ -z "$interrupted" ]; then
    run "$@"
    status=$?
  fi
  [ -z "$interrupted" ] || status=130
  missed=$(lost)
  stop_recorder 600
  if [ -s "$OUT" ]; then
    say "wrote $OUT ($(wc -c < "$OUT" | tr -d ' ') bytes)"
    [ "$missed" = 0 ] || say "$missed events were lost (hint: larger buffers, -b $((KB * 4)))"
  else
    say "nothing was written: $(tr '\n' ' ' < "$STATE/log" 2>/dev/null | cut -c 1-300)"
    status=2
  fi
  return $status
}

while getopts o:d:b:c:p:l:r:stnCG: option; do
  case $option in
    o) OUT=$OPTARG ;;
    d) SECONDS_=$OPTARG ;;
    b) KB=$OPTARG ;;
    c) CLOCK=$OPTARG ;;
    p) PID=$OPTARG ;;
    l)
      for kind in $(printf '%s' "$OPTARG" | tr , ' '); do
        case $kind in spinlock|rwsem) LOCKS="$LOCKS $kind" ;; *) die "-l $kind: no such kind (hint: spinlock,rwsem)" ;; esac
      done
      ;;
    r) REHEARSE=$OPTARG ;;
    s) STACKS=1 ;;
    t) TEXT=1 ;;
    n) MODE=say ;;
    C) MODE=clean ;;
    G) look; shift $((OPTIND - 1)); guard "$OPTARG" "${1:-}"; exit 0 ;;
    *) die "usage: sh $0 [-o FILE] [-d SECONDS] [-b KB] [-p PID] [COMMAND...]; its head says more" ;;
  esac
done
shift $((OPTIND - 1))
GUARD='' interrupted=''
look
case $MODE in
  clean)
    owner=$(cat "$STATE/owner" 2>/dev/null || echo 0)
    [ "$owner" = 0 ] || ! alive "$owner" || die "process $owner is recording (hint: kill $owner)"
    teardown
    say "no probes, no instance and no recorder of ours are left"
    ;;
  say)
    refuse_if_busy
    begin
    set_up
    ;;
  record)
    refuse_if_busy
    command -v trace-cmd >/dev/null 2>&1 || TEXT=1
    [ -n "$OUT" ] || OUT=$([ -n "$TEXT" ] && echo trace.txt || echo trace.dat)
    [ $# -gt 0 ] || [ -n "$SECONDS_$REHEARSE" ] || die "say how long, or what to run (hint: -d 10, or a command)"
    record "$@"
    exit $?
    ;;
esac
