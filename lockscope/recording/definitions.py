"""Probes as lines of ``dynamic_events``: for each, the ways that kernels offer, the best first.

Syntax: Documentation/trace/kprobetrace.rst and fprobetrace.rst, 6.12. ``f:`` (fprobe) needs 6.4, and arguments at a
function's return 6.9; ``t:`` 6.4. A kprobe at a function's entry finds the arguments in registers on every kernel
(``$argN`` is of 4.20), so that x86-64's registers are named.
"""

from __future__ import annotations

import re

from lockscope.recording.catalogue import GROUP, Probe

_REGISTERS = ("%di", "%si", "%dx", "%cx", "%r8", "%r9")  # System V AMD64 ABI, as the kernel is compiled
_ARGUMENT = re.compile(r"(?<![\w+])(\d)(?=[):])")

Way = tuple[str, ...]  # lines that are set together


def ways(probe: Probe) -> list[Way]:
    """The ways to set a probe; the first that a kernel takes is the best it has."""
    if probe.tracepoint:
        return [(f"t:{GROUP}/{probe.event} {probe.tracepoint} {_fetched(probe, '$arg')}",)]
    if probe.only == "lock":
        return [_by_kprobe(probe)]
    if probe.only == "kprobe":
        how = f"p:{GROUP}/{probe.event} {probe.function}"
        return [(f"{how} {_fetched(probe, '$arg')}",), (f"{how} {_fetched(probe)}",)]
    return [_by_fprobe(probe), _by_kprobe(probe)]


def _by_fprobe(probe: Probe) -> Way:
    at = f"{probe.function}%return" if probe.returns else probe.function
    returned = f" {_returned(probe)}" if probe.returns else ""
    return (f"f:{GROUP}/{probe.event} {at} {_fetched(probe, '$arg')}{returned}",)


def _by_kprobe(probe: Probe) -> Way:
    if not probe.entry and not probe.returns:
        return (f"p:{GROUP}/{probe.event} {probe.function} {_fetched(probe)}",)
    returns = f"r:{GROUP}/{probe.event} {probe.function} {_returned(probe)}".rstrip()
    # Of several probes at one address the one set last runs first (list_add_rcu() of add_new_kprobe(),
    # kernel/kprobes.c, 4.14 to 7.3). A return probe puts its trampoline where the caller stands: it must not be first.
    return (returns, f"p:{GROUP}/{probe.entry} {probe.function} {_fetched(probe)}") if probe.entry else (returns,)


def _returned(probe: Probe) -> str:
    if not probe.returns:
        return ""
    name, kind = probe.returns.split(":")
    return f"{name}=$retval:{kind}"


def _fetched(probe: Probe, prefix: str = "") -> str:
    """The arguments: ``kvm=1:x64`` is ``kvm=%di:x64``, or ``kvm=$arg1:x64`` with the prefix ``$arg``."""

    def fetch(number: re.Match[str]) -> str:
        return f"{prefix}{number[1]}" if prefix else _REGISTERS[int(number[1]) - 1]

    words = []
    for word in probe.args:
        name, _, rest = word.partition("=")
        place = rest if rest.startswith("+0(%sp)") else _ARGUMENT.sub(fetch, rest)
        words.append(f"{name}={place}")
    return " ".join(words)
