"""The probes as a bpftrace program that prints ftrace's text, for kernels where dynamic events cannot do it.

Above all lockdep's arguments before 6.4: a raw tracepoint gives them. Lines are those of tracefs with the option
irq-info off, so that lockscope reads them (``lockscope analyze -``). Lock functions and SRCU return values are joined
by thread. Written for bpftrace 0.17 and later; tried with 0.17 on Debian's 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from lockscope.recording.catalogue import Probe, Wanted
from lockscope.recording.host import Host
from lockscope.recording.listing import probes_for

_OTHERS = '/comm != "bpftrace"/'  # each line that it writes is a system call, which would be another line
_ANY = (6, 4)  # dynamic events have tracepoints since then; bpftrace had them always
_HEAD = '"%s-%d [%03d] %llu.%09llu: '
_WHO = "comm, tid, cpu, nsecs / 1000000000, nsecs % 1000000000"
_DEREFERENCE = re.compile(r"^\+(\d+)\((.*)\)$")
_SHOWN = {"string": '\\"%s\\"', "x64": "0x%llx"}  # in a C string
_SIZES = {"u8": "uint8", "u32": "uint32", "s32": "int32", "u64": "uint64", "x64": "uint64"}

# Attach point, whether only lockdep has it, text, values.
_KERNELS_OWN = (
    ("rawtracepoint:lock_release", True, "lock_release: 0x%llx %s", "arg0, str(*(uint64 *)(arg0 + 24))"),
    (
        "tracepoint:sched:sched_switch",
        False,
        "sched_switch: prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s ==> next_comm=%s next_pid=%d next_prio=%d",
        'args->prev_comm, args->prev_pid, args->prev_prio, args->prev_state == 0 ? "R" : "S", args->next_comm, '
        "args->next_pid, args->next_prio",
    ),
    ("tracepoint:raw_syscalls:sys_exit", False, "sys_exit: NR %d = %lld", "args->id, args->ret"),
)


def program(wanted: Wanted, host: Host | None = None) -> Iterator[str]:
    """The program, line by line."""
    yield "#!/usr/bin/env bpftrace"
    # "Lost 12 events" goes to standard error: only in the trace does it count. -B line keeps its lines whole there.
    yield "// BPFTRACE_PERF_RB_PAGES=4096 bpftrace -B line THIS > trace.txt 2>&1; lockscope analyze trace.txt"
    for place, of_lockdep, text, values in _KERNELS_OWN:
        if wanted.lockdep or not of_lockdep:
            others = "" if place.endswith("sched_switch") else f" {_OTHERS}"
            yield f'{place}{others} {{ printf({_HEAD}{text}\\n", {_WHO}, {values}); }}'
    for probe in probes_for(replace(wanted, kernel=max(wanted.kernel or _ANY, _ANY)), host):
        if probe.tracepoint:
            yield from _attached(probe)
    for probe in probes_for(wanted, host):
        if not probe.tracepoint:
            yield from _attached(probe)


def _attached(probe: Probe) -> Iterator[str]:
    if probe.tracepoint:
        yield f"rawtracepoint:{probe.tracepoint} {_OTHERS} {{ {_print(probe, probe.event, probe.args)} }}"
        return
    if not probe.returns and not probe.entry:
        yield f"kprobe:{probe.function} {_OTHERS} {{ {_print(probe, probe.event, probe.args)} }}"
        return
    if probe.entry:
        yield f"kprobe:{probe.function} {_OTHERS} {{ {_print(probe, probe.entry, probe.args)} }}"
    name = probe.returns.partition(":")[0]
    returned = f" {name}=%d" if name else ""
    value = ", (int32)retval" if name else ""
    text = f'{_HEAD}{probe.event}: (0 <- 0){returned}\\n", {_WHO}{value}'
    yield f"kretprobe:{probe.function} {_OTHERS} {{ printf({text}); }}"


def _print(probe: Probe, event: str, args: tuple[str, ...]) -> str:
    words, values = [], []
    for word in args:
        name, _, rest = word.partition("=")
        place, _, kind = rest.rpartition(":")
        words.append(f"{name}={_SHOWN.get(kind, '%d')}")
        values.append(_value(place, kind))
    shown = " ".join(words)
    opening = "" if probe.tracepoint else "(0) "
    return f'printf({_HEAD}{event}: {opening}{shown}\\n", {_WHO}, {", ".join(values)});'


def _value(place: str, kind: str) -> str:
    if place == "+0(%sp)":
        return '*(uint64 *)reg("sp")'
    if kind == "string":
        inner = place.removeprefix("+0(").removesuffix(")")
        return f"str({_value(inner, 'x64')})"
    found = _DEREFERENCE.match(place)
    if found is None:
        cast = "" if kind == "x64" else f"({_SIZES[kind]})"
        return f"{cast}arg{int(place) - 1}"
    return f"*({_SIZES[kind]} *)({_value(found[2], 'x64')} + {found[1]})"
