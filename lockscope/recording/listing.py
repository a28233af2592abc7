"""Probes as lines for ``dynamic_events``, with what cannot be probed as comments (the kernel skips ``#`` lines:
trace_parse_run_command(), kernel/trace/trace.c).
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.recording.catalogue import Probe, Series, Wanted, chosen_events, chosen_probes
from lockscope.recording.definitions import Way, ways
from lockscope.recording.host import Host, missing, split

_FPROBES: Series = (6, 4)
_ARGUMENTS_AT_RETURN: Series = (6, 9)


def tracefs_lines(wanted: Wanted, host: Host | None = None) -> Iterator[str]:
    """What to write, one line at a time, for a named kernel or for the host that was looked at."""
    yield from comments(wanted, host)
    for probe in probes_for(wanted, host):
        if host is None or missing(probe, host) is None:
            yield from best_way(probe, wanted.kernel or _ARGUMENTS_AT_RETURN, host is None or host.fprobes)


def probes_for(wanted: Wanted, host: Host | None) -> list[Probe]:
    """The probes that concern this host: those of the legacy MMU only where it is in use."""
    return [p for p in chosen_probes(wanted) if not (p.mmu and host is not None and not host.legacy_mmu)]


def comments(wanted: Wanted, host: Host | None) -> Iterator[str]:
    """What to switch on beside the probes, and what is lost."""
    names = [e.name for e in chosen_events(wanted)]
    yield f"# beside them: {' '.join(names)}"
    for probe in probes_for(wanted, host):
        why = missing(probe, host) if host is not None else None
        if why:
            codes = " ".join(sorted(probe.codes))
            yield f"# cannot be probed: {probe.event} ({why}): {codes} lose by it; next best: {probe.instead}"
        clone = split(probe, host) if host is not None else None
        if clone:
            yield f"# {probe.event}: calls of which the compiler inlined the beginning go to {clone}, unseen"


def best_way(probe: Probe, kernel: Series, fprobes: bool) -> Way:
    """The first way that such a kernel takes."""
    for way in ways(probe):
        by_fprobe = way[0].startswith(("f:", "t:"))
        late = "%return" in way[0] and by_fprobe
        needs = _ARGUMENTS_AT_RETURN if late else _FPROBES
        if by_fprobe and (kernel < needs or not fprobes):
            continue
        if not by_fprobe and "$arg" in way[0] and kernel < _FPROBES:
            continue
        return way
    return ()
