"""Tracepoints: events that came and went, fields, and how they are printed.

Beliefs: ``known/events.json`` (of the last kernel that was accepted), and ``tables/sources_*.py``, which says what
lockscope reads of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lockscope.formats.event_format import parse_format
from lockscope.recording.catalogue import GROUP, catalogue
from lockscope.tables.events import EventFormat
from lockscope.tables.tape import source_of, sources
from tests.lab.compare.edits import Edit

KNOWN = Path(__file__).with_name("known") / "events.json"
_TEXT = "lockscope/formats (the text of an event)"

Events = dict[str, dict[str, object]]  # "kvm:kvm_exit": {"fields": {name: declaration}, "print": text}


def of_kernel(folder: Path) -> Events:
    """The format files below ``folder/events/SYSTEM/EVENT``."""
    found: Events = {}
    for place in sorted(folder.glob("events/*/*/format")):
        parsed = parse_format(place.read_text(errors="replace"))
        if parsed is not None:
            found[f"{place.parent.parent.name}:{place.parent.name}"] = described(
                EventFormat(0, 0, place.parent.parent.name, place.parent.name, parsed.fields, parsed.print_fmt)
            )
    return found


def described(event: EventFormat) -> dict[str, object]:
    """What is compared of an event: offsets are the kernel's own business, and every trace says them."""
    fields = {f.name: f"{f.ctype}, {f.size} bytes{', signed' if f.signed else ''}" for f in event.fields}
    return {"fields": fields, "print": event.print_fmt}


def differences(kernel: Events, known: Events) -> Iterator[Edit]:
    """What is to be done. An event that this kernel was not built with (lockdep's) is no difference."""
    for name in sorted(kernel.keys() | known.keys()):
        system = name.partition(":")[0]
        if name not in kernel:
            if any(other.startswith(f"{system}:") for other in kernel) and not _of_lockdep(name):
                yield Edit(_reader_of(name), f"{name} is gone")
        elif name not in known:
            if any(other.startswith(f"{system}:") for other in known) and not _of_lockdep(name):
                yield Edit(_reader_of(name), f"{name} is new: {', '.join(_fields(kernel[name])) or 'no fields'}")
        else:
            yield from _changed(name, kernel[name], known[name])
    yield from _unread(kernel)


def _fields(event: dict[str, object]) -> dict[str, str]:
    fields = event["fields"]
    assert isinstance(fields, dict)
    return fields


def _changed(name: str, now: dict[str, object], before: dict[str, object]) -> Iterator[Edit]:
    new, old = _fields(now), _fields(before)
    for field in sorted(new.keys() | old.keys()):
        if field not in old:
            yield Edit(_reader_of(name), f"{name} has a new field {field} ({new[field]})")
        elif field not in new:
            yield Edit(_reader_of(name), f"{name} has no field {field} any more")
        elif new[field] != old[field]:
            yield Edit(_reader_of(name), f"{name}: {field} is {new[field]}; it was {old[field]}")
    if now["print"] != before["print"]:
        yield Edit(_TEXT, f"{name} is printed as {now['print']}; it was {before['print']}")


def _unread(kernel: Events) -> Iterator[Edit]:
    """Fields that lockscope reads and the kernel has not, of events that the kernel has."""
    for source in sources():
        event = kernel.get(source.event)
        for slot, spelling in source.slots.items() if event is not None else ():
            wanted = spelling if isinstance(spelling, tuple) else (spelling,)
            names = [w.partition("[")[0] for w in wanted if isinstance(w, str) and w != "@" and "(" not in w]
            if names and event is not None and not set(names) & _fields(event).keys():
                yield Edit(
                    _reader_of(source.event), f"{source.event} has no field {' or '.join(names)}, read as {slot}"
                )


def _of_lockdep(name: str) -> bool:
    return name in ("lock:lock_acquire", "lock:lock_acquired", "lock:lock_contended", "lock:lock_release")


def _reader_of(name: str) -> str:
    system, _, event = name.partition(":")
    read = source_of(EventFormat(0, 0, system, event, ())) is not None
    recorded = any(e.name in (system, name) for e in catalogue().events) or system == GROUP
    if not read:
        return "lockscope/recording/probes.toml (recorded, not read)" if recorded else "lockscope/tables (not read)"
    return f"lockscope/tables/sources_{'kvm' if system in ('kvm', 'kvmmmu') else 'lock'}.py"


def known() -> Events:
    """What was accepted last."""
    read: Events = json.loads(KNOWN.read_text())
    return read


def accept(kernel: Events) -> None:
    """Keep this kernel's, and what it was not built with."""
    kept = {name: event for name, event in known().items() if _of_lockdep(name)} if KNOWN.is_file() else {}
    KNOWN.write_text(json.dumps(kept | kernel, indent=1, sort_keys=True) + "\n")
