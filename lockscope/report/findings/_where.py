"""From a witness to its line in the trace: the command that shows it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lockscope.results.findings import TraceSummary, Witness
from lockscope.units import seconds

# trace-cmd prints these clocks as plain counts, without a point (trace-cmd 3.1; tsc2nsec converts some of them).
_COUNTING_CLOCKS = ("x86-tsc", "ppc-tb", "counter", "uptime")
_PACKED = ((".gz", "gzip", "z"), (".xz", "xz", "xz"), (".zst", "zstd", "zstd"))  # suffix, name, prefix of cat and grep


def locate(trace: TraceSummary, witnesses: Sequence[Witness]) -> str | None:
    """A shell command that prints the first witness and its neighbours on the CPUs of all of them.

    None where the trace was a pipe, or several files.
    """
    witness = witnesses[0]
    kind = trace.format.lower()
    if trace.path in ("", "-") or kind.startswith("merged"):
        return None
    if kind.startswith(("trace.dat", "perf.data")):
        unpack, path = _unpacked(trace.path)
        show = _perf if kind.startswith("perf.data") else _trace_cmd
        cpus = ",".join(map(str, sorted({w.cpu for w in witnesses})))
        return unpack + show(trace, witness, cpus, path)
    # Text has six digits or nine; without the colon both match.
    return f"{_grep(trace)} -F -C3 {seconds(witness.ts_ns)[:-3]} {shlex.quote(trace.path)}"


def _perf(_: TraceSummary, witness: Witness, cpus: str, path: str) -> str:
    span = f"{seconds(max(witness.ts_ns - 1000, 0))},{seconds(witness.ts_ns + 1000)}"
    return f"perf script --ns --time {span} -C {cpus} -i {path}"


def _trace_cmd(trace: TraceSummary, witness: Witness, cpus: str, path: str) -> str:
    return f"trace-cmd report -t --cpu {cpus} -i {path} | grep {_pattern(trace, witness)}"


def _pattern(trace: TraceSummary, witness: Witness) -> str:
    time = seconds(witness.ts_ns)
    if trace.clock not in _COUNTING_CLOCKS:
        return f"-F -C3 {time}:"
    whole, _, rest = time.partition(".")
    return f"-E -C3 '(^|[^0-9]){whole}\\.?{rest}:'" if whole != "0" else f"-E -C3 '[^0-9](0\\.)?0*{rest.lstrip('0')}:'"


def _unpacked(path: str) -> tuple[str, str]:
    """The command that unpacks a file which its tool cannot read packed, and the name to read; both quoted."""
    for suffix, _, prefix in _PACKED:
        if path.endswith(suffix):
            name = shlex.quote(path.rpartition("/")[2].removesuffix(suffix))
            return f"{prefix}cat {shlex.quote(path)} > {name}; ", name
    return "", shlex.quote(path)


def _grep(trace: TraceSummary) -> str:
    for suffix, name, prefix in _PACKED:
        if trace.path.endswith(suffix) or f"({name})" in trace.format:
            return f"{prefix}grep"
    return "grep"
