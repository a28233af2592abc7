"""Facts about a recording that a trace.dat holds as text: comms, the machine, what the recorder lost."""

from __future__ import annotations

import re

from lockscope.tables.events import LossNote

_MOST_COMMS = 8 << 20  # bytes; the kernel remembers at most one comm a pid
_COMM = re.compile(r"^(\d{1,9}) (.+)$", re.MULTILINE)
_COUNTS = re.compile(r"^(overrun|commit overrun|dropped events):\s*(\d{1,18})\s*$", re.MULTILINE)
_REMEDY = "record with a larger buffer (trace-cmd record -b KB) or fewer events"


# Every kernel with events has these; somebody who records KVM or locks hardly switches on all three.
_EVERYWHERE = frozenset({"sched:sched_wakeup", "irq:irq_handler_entry", "timer:timer_start"})


def only_enabled(names: frozenset[str]) -> bool:
    """Whether the formats in the file (``names``: system:name) are those of the events that were switched on.

    ``trace-cmd record -e`` saves the formats of what ``-e`` names, and of nothing else but ``ftrace``; with ``-e all``,
    without ``-e``, and in ``trace-cmd extract`` it saves all that the kernel has (trace-output.c, ``read_event_files``,
    and trace-record.c, ``list_event``; trace-cmd 3.1). ``-v`` switches some off again and leaves no mark.
    """
    return bool(names) and not names >= _EVERYWHERE


def uname(text: str | None) -> tuple[str | None, str | None, str | None]:
    """(release, machine, host) of "Linux HOST RELEASE MACHINE"."""
    parts = (text or "").split()
    if len(parts) < 4:
        return None, None, None
    return parts[-2], parts[-1], " ".join(parts[1:-2])


def comms(cmdlines: bytes) -> dict[int, str]:
    """pid to comm, from the lines of saved_cmdlines."""
    text = cmdlines[:_MOST_COMMS].decode("utf-8", "replace")
    return {int(pid): comm for pid, comm in _COMM.findall(text)}


def lost(cpustats: list[str]) -> list[LossNote]:
    """What the CPUSTAT options count as lost: each is a CPU's ``stats`` file, or names the buffer that follows."""
    notes = []
    buffer = ""
    for i, text in enumerate(cpustats):
        named = re.search(r"^Buffer: (.*)$", text, re.MULTILINE)
        buffer = named[1] if named else buffer
        cpu_line = re.match(r"CPU:\s*(\d{1,9})\b", text)
        for kind, number in _COUNTS.findall(text):
            if int(number):
                kind_of = "dropped" if kind == "dropped events" else kind
                notes.append(LossNote(kind_of, int(cpu_line[1]) if cpu_line else i, int(number), _REMEDY, buffer))
    return notes
