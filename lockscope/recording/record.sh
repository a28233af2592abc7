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

say() { printf 'lockscope: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

# --- what a recorder keeps for its guard and for -C: whom they may kill, what they take away. Root's alone, or not believed

roots_alone() { # FOLDER [MODE]: whether it is root's, and nobody else may write to it
  set -- "${2:-d*}" $(ls -ldn "$1" 2>/dev/null)
  [ "${4:-}" = 0 ] || return 1
  case $2 in d????w*|d???????w*) return 1 ;; esac
  case $2 in $1) ;; *) return 1 ;; esac
}

find_state() {
  STATE=''
  for folder in /run /dev; do # both are gone after a boot, with the processes that they tell of
    roots_alone "$folder" && [ -w "$folder" ] || continue
    [ -n "$STATE" ] || STATE=$folder/lockscope-recording
    [ ! -e "$folder/lockscope-recording" ] && [ ! -L "$folder/lockscope-recording" ] || { STATE=$folder/lockscope-recording; break; }
  done
  [ -n "$STATE" ] || die "neither /run nor /dev is a folder where root alone can write (hint: mount -t tmpfs -o mode=755 none /run)"
  [ ! -e "$STATE" ] && [ ! -L "$STATE" ] || roots_alone "$STATE" 'drwx------*' ||
    die "$STATE is not root's alone, and is not believed (hint: ls -ld $STATE; rm -r $STATE)"
}

# A pid is given to others once its process is gone; together with the time of its start it is one process's.
started() { # PID: clock ticks since the boot (proc(5), /proc/PID/stat, field 22; the name before may hold anything)
  awk '{ s = s $0 " " } END { sub(/.*[)] /, "", s); split(s, f, " "); if (f[1] !~ /[ZX]/) print f[20] }' "/proc/$1/stat" 2>/dev/null
}

process() { printf '%s %s\n' "$1" "$(started "$1")"; }

alive() { # PID START: whether this very process runs
  case ${1:-} in ''|*[!0-9]*) return 1 ;; esac
  [ -n "${2:-}" ] && [ "$(started "$1")" = "$2" ]
}

of_state() { cat "$STATE/$1" 2>/dev/null; }

end() { # SIGNAL [PID START]
  if alive "${2:-}" "${3:-}"; then kill "-$1" "$2" 2>/dev/null; fi
}

# --- the host

find_tracefs() {
  for T in /sys/kernel/tracing /sys/kernel/debug/tracing; do [ -d "$T/instances" ] && return; done
  die "tracefs is not mounted (hint: mount -t tracefs nodev /sys/kernel/tracing)"
}

look() {
  [ "$(id -u)" = 0 ] || die "only root may record the kernel (hint: sudo sh $0 ...)"
  find_tracefs
  find_state
  D=$T/dynamic_events
  [ -f "$D" ] || D=$T/kprobe_events
  WITHOUT=''
  if [ ! -f "$D" ]; then WITHOUT="this kernel has no dynamic events (CONFIG_KPROBE_EVENTS)"
  elif [ ! -w "$D" ] || ! { printf '' >> "$D"; } 2>/dev/null; then WITHOUT="$D cannot be written (see /sys/kernel/security/lockdown)"
  fi
  I=$T/instances/$GROUP
  RELEASE=$(uname -r)
  VERSION=$(printf '%s\n' "$RELEASE" | awk -F'[^0-9]' '{ print $1 * 1000 + $2 }')
  KERNELS=stock PREEMPT=no-rt
  [ -d "$T/events/lock/lock_acquire" ] && KERNELS=lockdep
  # the file is of 3.0-rt and later, the word in the banner of 5.3 and later (init/Makefile; before: "PREEMPT RT")
  case "$(cat /sys/kernel/realtime 2>/dev/null) $(uname -v)" in 1*|*PREEMPT_RT*|*"PREEMPT RT"*) PREEMPT=rt ;; esac
  # before 5.12 mmu_lock was a spinlock
  [ "$KERNELS" = stock ] && [ "$VERSION" -lt 5012 ] && LOCKS="$LOCKS spinlock"
  MMU=legacy
  case $(cat /sys/module/kvm/parameters/tdp_mmu 2>/dev/null) in Y*|1*) MMU=tdp ;; esac
}

refuse_if_busy() {
  if [ -d "$STATE" ] || [ -d "$I" ] || grep -q "[:/]$GROUP/" "$D" 2>/dev/null; then
    owner=$(of_state owner)
    alive $owner && die "process ${owner% *} is recording already"
    die "a recorder that was killed left probes behind (hint: sh $0 -C)"
  fi
  tracer=$(cat "$T/current_tracer")
  [ "$tracer" = nop ] || die "the tracer $tracer is in use (hint: echo nop > $T/current_tracer)"
}

# --- taking everything away; may be called at any time, by anybody, again

stop_recorder() {
  recorder=$(of_state recorder)
  [ -n "$recorder" ] || return 0
  [ -d "$I" ] && echo 0 > "$I/tracing_on" 2>/dev/null
  end INT $recorder
  out=$(of_state output)
  tries=0 written=''
  while alive $recorder && [ $tries -lt "${1:-100}" ]; do
    pause
    tries=$((tries + 1))
    now=$(ls -l "$out" 2>/dev/null | awk '{ print $5 }')
    [ "$now" = "$written" ] || tries=0 written=$now # it is at work: a large trace takes its time
  done
  for pid in $(helpers $recorder); do kill -KILL "$pid" 2>/dev/null; done
  end KILL $recorder
  [ -z "$out" ] || rm -f "$out.$GROUP.cpu"[0-9]* # what trace-cmd leaves if it is killed
}

helpers() { # PID START: trace-cmd's processes, one a CPU, that are in the recorder's process group and no older
  grep -l "^[0-9]* (trace-cmd) . [0-9]* $1 " /proc/[0-9]*/stat 2>/dev/null | while IFS=/ read -r _ _ pid _; do
    [ "$(started "$pid")" -ge "${2:-x}" ] 2>/dev/null && echo "$pid"
  done
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

# Killed with -9, a shell cleans nothing up. This process outlives it, and does.
guard() { # PID START: of the script; in LOCKSCOPE_PARENT those of who waits for it, if somebody does
  trap '' INT TERM HUP QUIT
  while alive "$@" && { [ -z "${LOCKSCOPE_PARENT:-}" ] || alive $LOCKSCOPE_PARENT; }; do sleep 1; done
  [ "$(of_state owner)" = "$*" ] || exit 0
  end KILL "$@"
  own=${LOCKSCOPE_OWN:-}
  if [ -n "$own" ] && [ "$own/record.sh" = "$0" ]; then rm -f "$0"; rmdir "$own" 2>/dev/null; fi
  end TERM $(of_state child)
  teardown
}

begin() {
  mkdir -m 700 "$STATE" 2>/dev/null || die "another recorder has just begun"
  process $$ > "$STATE/owner"
  trap 'finish' EXIT
  trap 'interrupted=1; stop_child' INT TERM HUP
  if command -v setsid >/dev/null 2>&1 && [ -f "$0" ]; then
    setsid sh "$0" -G $(of_state owner) </dev/null >/dev/null 2>&1 &
  else
    (guard $(of_state owner)) </dev/null >/dev/null 2>&1 &
  fi
  GUARD=$!
}

finish() {
  trap '' INT TERM HUP
  trap - EXIT
  teardown
  kill -KILL "$GUARD" 2>/dev/null
}

stop_child() { end TERM $(of_state child); }

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
  case $1 in
    any) ;;
    rt|no-rt) [ "$KERNELS" = stock ] && [ "$1" = "$PREEMPT" ] || return 0 ;;
    *) [ "$1" = "$KERNELS" ] || return 0 ;;
  esac
  [ "$VERSION" -ge "$2" ] && [ "$VERSION" -le "$3" ] || return 0
  [ "$4" = any ] || [ "$4" = "$MMU" ] || return 0
  [ "$5" = - ] || case " $LOCKS " in *" $5 "*) ;; *) return 0 ;; esac
  event=$6 function=$7 codes=$8 instead=$9
  shift 9
  if [ -n "$WITHOUT" ]; then
    LOSING="$LOSING $codes"
    return 0
  fi
  for way in "$@"; do
    case $way in [ft]:*) [ -n "$FPROBES" ] || continue ;; esac
    if place "$way"; then
      PROBES=$((PROBES + 1))
      [ "$event" != lockdep_acquire ] || DETAILED=1
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
  if [ "$4" = lock ] && one_of_twins; then
    # lockdep_acquire is the same tracepoint's: it says what lock_acquire does, and more
    for twin in "$T"/events/lock/*/; do
      twin=${twin%/}
      [ "${twin##*/}" = lock_acquire ] || EVENTS="$EVENTS lock:${twin##*/}"
    done
  elif [ -d "$T/events/${4%%:*}/${4#*:}" ] || [ -d "$T/events/$4" ]; then EVENTS="$EVENTS $4"
  else note "this kernel has no events $4"
  fi
}

# As text, addresses of lock_release are hashed where there is no option against it: lock_acquire is then what fits them.
one_of_twins() { [ -n "$DETAILED" ] && { [ -z "$TEXT" ] || [ -f "$I/options/hash-ptr" ]; }; }

set_up() {
  PROBES=0 EVENTS='' DETAILED='' LOSING=''
  FPROBES=$(grep -s -F 'f[:' "$T/README")
  # the functions that are probed, and what the compiler made of them; .cold is no clone, the function is whole without
  CLONES=$(awk -v sought="@FUNCTIONS@" 'BEGIN { n = split(sought, w, " "); for (i = 1; i <= n; i++) is[w[i]] = 1 }
    { f = $3; dot = index(f, "."); if (dot) f = substr(f, 1, dot - 1); if (f in is && !index($3, ".cold")) printf " %s ", $3 }' /proc/kallsyms)
  all_probes
  [ -z "$LOSING" ] || note "no probes: $WITHOUT: $(printf '%s\n' $LOSING | sort -u | tr '\n' ' ')lose by it"
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
  tail -c +$(($3 + $6 + 1)) "$1" | head -c "$7" | tr '\000' '\n' | awk -v first="$2" -v sought="@SOUGHT@" '
    BEGIN { n = split(sought, w, " "); for (i = 1; i <= n; i++) is[w[i]] = 1 }
    { if ($0 in is) print first + at, $0; at += length($0) + 1 }'
}

# Every structure once: a module may have several of one name, and of one more structure none (7.3's kvm.ko has struct
# kvm three times before it has kvm_arch).
btf_layout() { # FILE [BASE]: "STRUCT OFFSET MEMBER" of every member that is sought, of the structures in $missing
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
  { printf '%s\n--\n' "$names"; od -An -v -tu4 -w256 -j$(($2 + $3)) -N"$4" "$1"; } 2>/dev/null | awk -v structs="$missing" '
    BEGIN { each[4] = 3; each[5] = 3; each[6] = 2; each[13] = 2; each[15] = 3; each[19] = 3; fixed[1] = 1; fixed[3] = 3; fixed[14] = 1; fixed[17] = 1
            left_over = split(structs, w, " "); for (i = 1; i <= left_over; i++) is[w[i]] = 1
            mark["resampler_lock"] = "irqfds"; mark["queued"] = "async_pf" } # these have no name (include/linux/kvm_host.h)
    !types { if ($1 == "--") types = 1; else if (NF == 2) text[$1] = $2; next }
    { for (i = 1; i <= NF; i++) {
        if (skip > 0) { left = NF - i + 1; if (skip >= left) { skip -= left; next } i += skip; skip = 0 }
        h[++n] = $i
        if (n < 3) continue
        n = 0
        if (member > 0) {
          member--
          if (h[1] in text) {
            line = int((flag ? h[3] % 16777216 : h[3]) / 8) " " text[h[1]]
            if (of != "") print of, line
            else { lines = lines "\n" line; if (text[h[1]] in mark) owner = mark[text[h[1]]] }
          }
          if (member == 0 && of == "" && (owner in is)) { delete is[owner]; left_over--; m = split(lines, l, "\n"); for (j = 2; j <= m; j++) print owner, l[j] }
          if (member == 0 && left_over == 0) exit
          continue
        }
        kind = int(h[2] / 16777216) % 32; vlen = h[2] % 65536; flag = h[2] >= 2147483648
        if (kind == 4 && vlen > 0 && h[1] == 0) { of = owner = lines = ""; member = vlen }
        else if (kind == 4 && vlen > 0 && (h[1] in text) && (text[h[1]] in is)) { of = text[h[1]]; delete is[of]; left_over--; member = vlen }
        else skip = fixed[kind] + each[kind] * vlen } }'
}

layout_from_btf() {
  places=''
  missing='@STRUCTS@'
  for file in kvm kvm_amd kvm_intel vmlinux; do # vmlinux: built in, or something built in knows them (Debian's 6.1)
    [ -n "$missing" ] && [ -f "/sys/kernel/btf/$file" ] || continue
    base=/sys/kernel/btf/vmlinux
    [ "$file" != vmlinux ] || base=''
    places="$places
$(btf_layout "/sys/kernel/btf/$file" "$base")"
    still=''
    for struct in $missing; do
      case $places in *"
$struct "*) ;; *) still="$still $struct" ;; esac
    done
    missing=$still
  done
  printf '%s\n' "$places" | awk -v new=$((VERSION >= 5012)) -v paths="@PATHS@" '
    NF == 3 { at[$1 "." $3] = $2 }
    END {
      n = split(paths, path, " ")
      for (i = 1; i <= n; i++) {
        split(path[i], parts, "=")
        steps = split(parts[1], step, "/")
        offset = 0
        for (k = 1; k <= steps && offset >= 0; k++) offset = step[k] in at ? offset + at[step[k]] : -1
        if (offset < 0) continue
        name = parts[2] == "&(kvm)->mmu_lock" && !new ? "&kvm->mmu_lock" : parts[2]
        of = substr(step[1], 1, index(step[1], ".") - 1)
        if (length(text[of]) > 600) { print "lockscope: struct " of ":" text[of]; text[of] = "" }
        text[of] = text[of] " " offset "=" name
      }
      if (text["kvm"] != "") print "lockscope: struct kvm:" text["kvm"]
      if (text["kvm_vcpu"] != "") print "lockscope: struct kvm_vcpu:" text["kvm_vcpu"]
    }'
}

static_locks() {
  awk -v sought="@STATIC@" 'BEGIN { n = split(sought, w, " "); for (i = 1; i <= n; i++) is[w[i]] = 1 }
    $3 in is && $1 !~ /^0+$/ { s = s " 0x" $1 "=" $3 } END { if (s != "") print "lockscope: symbols:" s }' /proc/kallsyms
}

mark() {
  [ "$KERNELS" = stock ] || return 0
  while read -r line; do printf '%s\n' "$line" > "$I/trace_marker"; done < "$STATE/layout"
}

# --- recording

only_tasks_of() { # the process's tasks, what they fork, and kernel threads: vhost, kvm-nx-lpage-recovery, kswapd, workers
  [ -d "/proc/$PID/task" ] || die "there is no process $PID"
  pids="$(ls "/proc/$PID/task" | tr '\n' ' ') 2 $(grep -l '^PPid:[[:space:]]2$' /proc/[0-9]*/status 2>/dev/null | tr -dc '0-9\n' | tr '\n' ' ')"
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
  # -o before -B: behind it trace-cmd 3.1 makes "(null).cpuN" where it stands
  set -- -q -o "$OUT" -B "$GROUP" -b "$KB"
  for name in $EVENTS; do set -- "$@" -e "$name"; done
  [ -z "$STACKS" ] || set -- "$@" -T
  if command -v setsid >/dev/null 2>&1; then setsid trace-cmd record "$@" </dev/null > "$STATE/log" 2>&1 3<&- &
  else trace-cmd record "$@" </dev/null > "$STATE/log" 2>&1 3<&- &
  fi
  process $! > "$STATE/recorder"
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
  process $! > "$STATE/recorder"
  echo 1 > "$I/tracing_on"
}

run() { # the command, or a while; its status
  if [ $# -gt 0 ]; then
    "$@" <&3 3<&- &
  else
    sleep "$SECONDS_" </dev/null 3<&- &
  fi
  child=$!
  process $child > "$STATE/child"
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
    END { k = int(k < least ? least : k > 131072 ? 131072 : k); if (k > most && most > 1024) k = most; print k }')
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
    owner=$(of_state owner)
    ! alive $owner || die "process ${owner% *} is recording (hint: kill ${owner% *})"
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
