"""Whether files are of one recording: clocks, machines, guests, and events that two of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockscope.errors import UsageError
from lockscope.tables.events import TraceInfo

# The clocks of perf record -k are the kernel's own; ftrace has them under the names that the perf.data reader uses
# (kernel/trace/trace.c, trace_clocks[], v6.12). ftrace's "perf" is perf's default (Documentation/trace/ftrace.rst).
_COMPARABLE = frozenset({"mono", "mono_raw", "boot", "tai", "perf", "global", "local", "x86-tsc", "tsc2nsec", "uptime"})


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a file has events, and which."""

    first: int
    last: int
    names: frozenset[str]


def guests_of(infos: Sequence[TraceInfo]) -> list[str]:
    """Of each file the guest's name, "" for the host's: trace-cmd notes in a guest's file whose clock it was set to.

    Raises ``UsageError`` where only guests' files are given, or that of another host.
    """
    by_id = {i.options["trace_id"]: i for i in infos if i.options.get("trace_id")}
    known = {peer: name for i in infos for name, peer, _ in i.options.get("guests", ())}
    found = []
    for info in infos:
        peer = info.options.get("peer")
        if peer is None:
            found.append("")
        elif peer in by_id:
            found.append(known.get(info.options.get("trace_id"), info.host or "guest"))
        else:
            msg = f"--merge: {info.path}: its times are set to a host whose trace ({peer:#x}) is not among the files"
            raise UsageError(msg)
    return found


def check_clocks(infos: Sequence[TraceInfo], guests: Sequence[str]) -> None:
    """Raise ``UsageError``, with the reason and what to record, where times of two files can't be compared."""
    hosts = [info for info, guest in zip(infos, guests, strict=True) if not guest]
    first = hosts[0]
    for info in hosts:
        clocks = {info.clock, *(s.clock for s in info.streams)} - {None}
        if not clocks:
            _refuse(info, "nothing says which clock its times are of", "a text names no clock: merge the binary files")
        if len(clocks) > 1:
            _refuse(info, f"its own buffers use different clocks ({', '.join(sorted(map(str, clocks)))})", _SAME)
        if info.clock not in _COMPARABLE:
            _refuse(info, f"the clock {info.clock!r} counts no time that another file has", _SAME)
    for info in hosts[1:]:
        for what, ours, theirs in (("host", info.host, first.host), ("kernel", info.kernel, first.kernel)):
            if ours and theirs and ours != theirs:
                _refuse(info, f"{what} {ours!r}, but {first.path} is of {theirs!r}", "merge files of one boot")
        if info.clock != first.clock:
            _refuse(info, f"clock {info.clock!r}, but {first.path} has {first.clock!r}", _SAME)


_SAME = "record with trace-cmd record -C mono and perf record -k mono"


def _refuse(info: TraceInfo, why: str, hint: str) -> None:
    msg = f"--merge: {info.path}: {why} (hint: {hint})"
    raise UsageError(msg)


def twice_recorded(
    paths: Sequence[str], spans: Sequence[Span], guests: Sequence[str]
) -> tuple[list[frozenset[str]], list[str]]:
    """Of each file the events that an earlier one has of the same time, and notes that say so.

    Files that follow one another (perf record --switch-output) may overlap a little at their ends: what counts is
    whether most of the shorter one's time is the other's too.
    """
    left_out: list[frozenset[str]] = []
    notes = []
    for i, span in enumerate(spans):
        gone: set[str] = set()
        for j, other in enumerate(spans[:i]):
            if guests[i] != guests[j] or not span.names or not other.names:
                continue
            shared = min(span.last, other.last) - max(span.first, other.first)
            shorter = min(span.last - span.first, other.last - other.first)
            both = span.names & other.names
            if both and 2 * shared > shorter:
                gone |= both
                some = ", ".join(sorted(both)[:3]) + (f" and {len(both) - 3} more" if len(both) > 3 else "")
                notes.append(f"{some}: in {paths[j]} and {paths[i]} alike; the latter's are left out")
        left_out.append(frozenset(gone))
    return left_out, notes
