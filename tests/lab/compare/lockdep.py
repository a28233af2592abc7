"""lockdep's structures and tracepoint, from headers: a distribution's kernel is built without it, and so is its BTF.

Belief: the offsets that ``lockscope:lockdep_acquire`` fetches (``recording/probes.toml``), the order of arguments of
lock_acquire() there, and the wait types that ``kvm.locks`` and the walk go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lockscope.recording.catalogue import catalogue
from tests.lab.compare.edits import Edit

_WHERE = "lockscope/recording/probes.toml, lockdep_acquire"
_SIZES = {"u8": 1, "u16": 2, "short": 2, "int": 4, "unsigned int": 4, "u32": 4, "unsigned long": 8, "u64": 8}
# Field of the event: member of struct lockdep_map, argument of the tracepoint (include/trace/events/lock.h, 6.12)
_MEMBERS = {"key": "key", "wait_outer": "wait_type_outer", "wait_inner": "wait_type_inner", "lock_type": "lock_type",
            "name": "name"}  # fmt: skip
_ARGUMENTS = {"lock": "lock", "subclass": "subclass", "trylock": "trylock", "read": "read", "check": "check",
              "nest": "next_lock", "ip": "ip"}  # fmt: skip
# enum lockdep_wait_type with CONFIG_PROVE_RAW_LOCK_NESTING, enum lockdep_lock_type: lockdep_types.h, 6.12 and 7.3
_WAIT_TYPES = ["LD_WAIT_INV", "LD_WAIT_FREE", "LD_WAIT_SPIN", "LD_WAIT_CONFIG", "LD_WAIT_SLEEP", "LD_WAIT_MAX"]
_LOCK_TYPES = ["LD_LOCK_NORMAL", "LD_LOCK_PERCPU", "LD_LOCK_WAIT_OVERRIDE", "LD_LOCK_MAX"]


def differences(folder: Path) -> Iterator[Edit]:
    """Compare the headers below ``folder/source``."""
    types = _without_comments((folder / "source/include/linux/lockdep_types.h").read_text())
    event = _without_comments((folder / "source/include/trace/events/lock.h").read_text())
    fetched = dict(arg.split("=") for p in catalogue().probes if p.event == "lockdep_acquire" for arg in p.args)
    offsets = member_offsets(types)
    for name, member in _MEMBERS.items():
        believed = int(re.findall(r"\+(\d+)\(", fetched[name])[-1])
        if offsets.get(member) != believed:
            yield Edit(
                _WHERE, f"{name} is fetched from offset {believed}; lockdep_map.{member} is at {offsets.get(member)}"
            )
    arguments = trace_arguments(event)
    for name, argument in _ARGUMENTS.items():
        place = int(fetched[name].partition(":")[0])
        if arguments[place - 1 : place] != [argument]:
            yield Edit(
                _WHERE, f"{name} is argument {place} of lock_acquire; the tracepoint has ({', '.join(arguments)})"
            )
    for enum, believed_names, where in (
        ("lockdep_wait_type", _WAIT_TYPES, "lockscope/kvm/locks.py, lockscope/core/walk_*.py (wait types)"),
        ("lockdep_lock_type", _LOCK_TYPES, "lockscope/core/walk_*.py (lock types)"),
    ):
        names = enumerators(types, enum)
        if names != believed_names:
            yield Edit(where, f"enum {enum} is {', '.join(names)}; it was {', '.join(believed_names)}")


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


def member_offsets(types: str) -> dict[str, int]:
    """Offsets in ``struct lockdep_map`` as a 64-bit kernel lays it out, without CONFIG_LOCK_STAT's members behind."""
    body = re.search(r"struct lockdep_map \{\s*struct lock_class_key(.*?)\n\};", types, re.DOTALL)
    found: dict[str, int] = {}
    at = 0
    for declaration in ("struct lock_class_key" + body[1]).split(";") if body else ():
        plain = " ".join(line for line in declaration.splitlines() if not line.startswith("#")).strip()
        match = re.fullmatch(r"(?P<type>.*?[\s*])(?P<name>\w+)(?:\[(?P<count>\w+)\])?", plain)
        if match is None:
            continue
        pointer = "*" in match["type"]
        size = 8 if pointer else _SIZES.get(match["type"].strip(), 8)
        at = -(-at // size) * size
        found[match["name"]] = at
        # NR_LOCKDEP_CACHING_CLASSES is 2 (lockdep_types.h)
        at += size * (2 if match["count"] and not match["count"].isdigit() else int(match["count"] or 1))
    return found


def trace_arguments(event: str) -> list[str]:
    """Names of the arguments of the tracepoint lock_acquire."""
    proto = re.search(r"TRACE_EVENT\(lock_acquire,\s*TP_PROTO\((.*?)\),\s*TP_ARGS", event, re.DOTALL)
    return [a.split()[-1].lstrip("*") for a in proto[1].split(",")] if proto else []


def enumerators(types: str, enum: str) -> list[str]:
    """The names of an enum in order; of what depends on the configuration the first way."""
    body = re.search(rf"enum {enum} \{{(.*?)\}}", types, re.DOTALL)
    text = re.sub(r"#else.*?#endif", "", body[1], flags=re.DOTALL) if body else ""
    return re.findall(r"^\s*(LD_\w+)", text, re.MULTILINE)
