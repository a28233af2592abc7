"""From a witness to its line in the trace: the command that shows it."""

from __future__ import annotations

import shlex

from lockscope.findings import TraceSummary, Witness
from lockscope.units import seconds

# trace-cmd prints these clocks as plain counts, without a point (trace-cmd 3.1; tsc2nsec converts some of them).
_COUNTING_CLOCKS = ("x86-tsc", "ppc-tb", "counter", "uptime")


def locate(trace: TraceSummary, witness: Witness) -> str | None:
    """A shell command that prints the witness and its neighbours; None where the trace was a pipe."""
    if trace.path in ("", "-"):
        return None
    path, kind = shlex.quote(trace.path), trace.format.lower()
    if kind.startswith("perf.data"):
        span = f"{seconds(max(witness.ts_ns - 1000, 0))},{seconds(witness.ts_ns + 1000)}"
        return f"perf script --ns --time {span} -C {witness.cpu} -i {path}"
    if kind.startswith("trace.dat"):
        return f"trace-cmd report -t --cpu {witness.cpu} -i {path} | grep {_pattern(trace, witness)}"
    return f"{_grep(trace)} {_microseconds(witness)} {path}"


def _pattern(trace: TraceSummary, witness: Witness) -> str:
    time = seconds(witness.ts_ns)
    if trace.clock not in _COUNTING_CLOCKS:
        return f"-F -C3 {time}:"
    whole, _, rest = time.partition(".")
    return f"-E -C3 '(^|[^0-9]){whole}\\.?{rest}:'" if whole != "0" else f"-E -C3 '[^0-9](0\\.)?0*{rest.lstrip('0')}:'"


def _microseconds(witness: Witness) -> str:
    # Text has six digits or nine; without the colon both match.
    return f"-F -C3 {seconds(witness.ts_ns)[:-3]}"


def _grep(trace: TraceSummary) -> str:
    for suffix, name, command in ((".gz", "gzip", "zgrep"), (".xz", "xz", "xzgrep"), (".zst", "zstd", "zstdgrep")):
        if trace.path.endswith(suffix) or f"({name})" in trace.format:
            return command
    return "grep"
