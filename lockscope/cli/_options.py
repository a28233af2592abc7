"""The options that commands share, each declared once: its name, what it takes, its help. A command names the ones it
has; spellings from before go on working and are not shown.

Which part of a trace is meant is said by ``--from``, ``--to``, ``--task``, ``--vm``, ``--cpu``, ``--lock`` and
``--event`` everywhere, in Python by keyword arguments of the same names (``from_`` for ``--from``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

Words = list[str] | None

Traces = Annotated[list[str], typer.Argument(metavar="TRACE...", help="Traces to read; - is standard input.")]
Merge = Annotated[bool, typer.Option("--merge", help="Read all traces as one recording, of one host and time.")]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to FILE instead of standard output (-)."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what exists.")]
Redact = Annotated[
    bool,
    typer.Option("--redact", help="Replace task names, pids, hosts, directories and addresses by pseudonyms."),
]

From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Only from this time on: 10.3 (seconds), 350us, +5ms after the start."),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Only before this time; -5ms: before the end of the trace."),
]
Task = Annotated[Words, typer.Option("--task", metavar="TASKS", help="Only these tasks, by pid or name.")]
Vm = Annotated[int | None, typer.Option("--vm", metavar="NUMBER", help="Only this VM.")]
Cpu = Annotated[Words, typer.Option("--cpu", metavar="NUMBERS", help="Only these CPUs.")]
Lock = Annotated[
    Words,
    typer.Option(
        "--lock", metavar="LOCKS", help="Only these locks: patterns of classes (kvm->*) or addresses (0x...)."
    ),
]
Event = Annotated[Words, typer.Option("--event", metavar="PATTERNS", help="Read only these events: lock:*,kvm:*.")]
ExcludeEvent = Annotated[Words, typer.Option("--exclude-event", metavar="PATTERNS", help="Leave out these events.")]
Color = Annotated[
    str, typer.Option("--color", metavar="WHEN", help="Use colours: auto (on terminals), always or never.")
]
Limit = Annotated[int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="Show at most N.")]

Rules = Annotated[
    str,
    typer.Option(
        "--rules", metavar="NAME", help="Rulebook: auto (by the trace's kernel), kvm-4.14, ..., or FILE.toml."
    ),
]
Select = Annotated[
    Words, typer.Option("--select", metavar="CODES", help="Run only these checks: LS101,LS2xx or names.")
]
Ignore = Annotated[
    Words, typer.Option("--ignore", metavar="CODES", help="Leave out these checks, or findings by their ids.")
]
Suppressions = Annotated[
    str | None,
    typer.Option("--suppressions", metavar="FILE.toml", help="File of known findings to hide, each with a reason."),
]
FailOn = Annotated[
    str,
    typer.Option(
        "--fail-on",
        metavar="SEVERITY",
        help="Exit with status 1 for a finding of at least this severity: error, warning, info; or never.",
    ),
]
Assume = Annotated[
    Words,
    typer.Option("--assume", metavar="NAME", help="selftest-softirq, recursive-read-locks (kernel's lock self-tests)."),
]
WindowStart = Annotated[
    str | None,
    typer.Option(
        "--window-start", metavar="REGEX", help="Regular expression for the marker that opens a judged window."
    ),
]
WindowEnd = Annotated[
    str | None,
    typer.Option("--window-end", metavar="REGEX", help="Regular expression for the marker that closes it."),
]

# Spellings of the first releases, by command: they are read as the new ones.
_PART = {"--start": "--from", "--end": "--to"}
_EVENTS = {"--events": "--event", "--exclude-events": "--exclude-event"}
_FORMER = {
    "analyze": _EVENTS,
    "graph": {**_EVENTS, "--classes": "--lock"},
    "locks": {
        **_PART,
        "--classes": "--lock",
        "--locks": "--lock",
        "--tasks": "--task",
        "--cpus": "--cpu",
        "--vms": "--vm",
        "--callers": "--caller",
        "--contexts": "--context",
    },
    "export": _PART,
    "plot": {"--top": "--limit"},
    "info": {"--json": "--format=json"},
}


def current(arguments: Sequence[str]) -> list[str]:
    """The arguments with the names that options have now. What stands behind ``--`` is not looked at."""
    command = next((a for a in arguments if not a.startswith("-")), "")
    former = _FORMER.get(command, {})
    found: list[str] = []
    for place, word in enumerate(arguments):
        if word == "--":
            return [*found, *arguments[place:]]
        name, equals, value = word.partition("=")
        found.append(former[name] + equals + value if name in former else word)
    return found
