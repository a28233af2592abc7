"""What ``trace-cmd report -t -R -N`` says of a file, event by event: our reader is held against it.

The text is that of trace-cmd 3.1 with libtraceevent 1.7 (tep_print_fields() in src/event-parse.c): a field is printed
by its type, or, where the event's print format names a conversion for it, by that conversion.
"""

from __future__ import annotations

import re
import subprocess
from array import array
from dataclasses import dataclass, field
from pathlib import Path

_EVENT = re.compile(r"^\s*(.*?)-(-?\d+)\s+\[(\d+)\]\s*([\d.]+): (\S+):\s*(.*)$", re.DOTALL)
_DROPPED = re.compile(r"^\s*CPU:(\d+) \[(?:(\d+) )?EVENTS DROPPED\]$")


@dataclass
class ReportedStream:
    """One CPU's lines of one buffer, in order. A loss has the name "" and its count in ``pid`` (-1: not known)."""

    ts: array[int] = field(default_factory=lambda: array("q"))
    pid: array[int] = field(default_factory=lambda: array("q"))
    name: list[str] = field(default_factory=list)
    comm: list[str] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)  # by event: what follows the name, line by line


def run(*args: object) -> None:
    """Runs trace-cmd; its complaint is the assertion's message."""
    done = subprocess.run([str(a) for a in ("trace-cmd", *args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _nanoseconds(text: str) -> int:
    seconds, dot, rest = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(rest) if dot else int(seconds)


def report(path: Path, buffers: list[str], *options: str) -> dict[tuple[str, int], ReportedStream]:
    """Every event of the file, by (buffer, CPU). ``buffers``: the names of its instances beside the top one."""
    streams: dict[tuple[str, int], ReportedStream] = {}
    prefixes = [(f"{b}:", b) for b in buffers if b]
    command = ["trace-cmd", "report", "-t", "-R", "-N", *options, "-i", str(path)]
    names: dict[str, str] = {}
    last: list[str] | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw[:-1].decode("utf-8", "surrogateescape")
            buffer = next((b for p, b in prefixes if line.startswith(p)), "")
            body = line[len(buffer) + 1 :] if buffer else line
            found = _EVENT.match(body)
            if found:
                comm, pid, cpu, time, name, rest = found.groups()
                name = names.setdefault(name, name)
                s = streams.setdefault((buffer, int(cpu)), ReportedStream())
                s.ts.append(_nanoseconds(time))
                s.pid.append(int(pid))
                s.name.append(name)
                s.comm.append(names.setdefault(comm, comm))
                last = s.fields.setdefault(name, [])
                last.append(rest)
                continue
            lost = _DROPPED.match(body)
            if lost:
                s = streams.setdefault((buffer, int(lost[1])), ReportedStream())
                s.ts.append(-1)
                s.pid.append(int(lost[2]) if lost[2] else -1)
                s.name.append("")
                s.comm.append("")
            elif last is not None:
                last[-1] += "\n" + line  # text that holds a line break goes on
    assert process.returncode == 0
    return streams
