"""The recorder as one POSIX shell script: ``record.sh`` with the probes, events and places of locks filled in."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from importlib import resources

from lockscope.kvm.places import STATIC, ways_to_locks
from lockscope.recording.catalogue import Events, Probe, Series, Wanted, chosen_events, chosen_probes
from lockscope.recording.definitions import ways as ways_to_set

_FIRST, _LAST = 0, 999_999


def shell_script(wanted: Wanted, version: str, layout: Iterable[str] | None = None) -> str:
    """The script.

    ``version`` of lockscope. ``layout``: markers with the places of locks (``kvm.places``), where they are known
    beforehand; None: the script reads the host's BTF itself.
    """
    text = resources.files(__package__).joinpath("record.sh").read_text(encoding="utf-8")
    ways = list(ways_to_locks())
    pairs = [step.split(".") for steps, _ in ways for step in steps]  # structure, member
    for mark, value in (
        ("@VERSION@", version),
        ("@FOR@", _for(wanted)),
        ("@LOCKS@", " ".join(sorted(wanted.locks))),
        ("@PROBES@", "\n".join(_probe(p) for p in chosen_probes(wanted))),
        ("@EVENTS@", "\n".join(_events(e) for e in chosen_events(wanted))),
        ("@LAYOUT@", "  layout_from_btf" if layout is None else _layout(layout)),
        ("@PATHS@", " ".join(f"{'/'.join(steps)}={name}" for steps, name in ways)),
        ("@STRUCTS@", " ".join(dict.fromkeys(pair[0] for pair in pairs))),
        ("@SOUGHT@", " ".join(dict.fromkeys((*(word for pair in pairs for word in pair), "queued")))),
        ("@FUNCTIONS@", " ".join(sorted({p.function for p in chosen_probes(wanted) if p.function}))),
        ("@STATIC@", " ".join(STATIC)),
    ):
        text = text.replace(mark, value)
    return text


def _for(wanted: Wanted) -> str:
    kernel = "any kernel from 4.14 on" if wanted.kernel is None else "Linux {}.{}".format(*wanted.kernel)
    checks = "" if wanted.codes is None else f", for {' '.join(sorted(wanted.codes))}"
    return f"x86-64, {kernel}{checks}"


def _number(series: Series | None, otherwise: int) -> int:
    return otherwise if series is None else series[0] * 1000 + series[1]


def _gate(item: Events | Probe) -> list[str]:
    kind = item.kernels or "any"
    if isinstance(item, Probe) and item.rt is not None:
        kind = "rt" if item.rt else "no-rt"
    return [kind, str(_number(item.since, _FIRST)), str(_number(item.until, _LAST))]


def _probe(probe: Probe) -> str:
    words = [
        *_gate(probe),
        probe.mmu or "any",
        probe.on_request or "-",
        probe.event,
        probe.function or probe.tracepoint,
        " ".join(sorted(probe.codes)),
        probe.instead,
    ]
    lines = ["  probe " + shlex.join(words)]
    lines += ["    " + shlex.quote(";".join(way)) for way in ways_to_set(probe)]
    return " \\\n".join(lines)


def _events(events: Events) -> str:
    return "  events " + shlex.join([*_gate(events), events.name])


def _layout(layout: Iterable[str]) -> str:
    return "\n".join(f"  printf '%s\\n' {shlex.quote(line)}" for line in layout) or "  :"
