"""What can be recorded of a kernel: ``probes.toml`` as records, narrowed to a kernel and to the checks asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lockscope.kvm.versions import series

Series = tuple[int, int]  # a kernel's version, as far as probes ask: (6, 1)
GROUP = "lockscope"  # the group of all dynamic events (README, "Record a trace")
OLDEST: Series = (4, 14)


@dataclass(frozen=True, slots=True)
class Events:
    """Tracepoints of the kernel: a system, or one event of it."""

    name: str
    codes: frozenset[str]  # checks that need them; none: never needed, recorded when everything is
    kernels: str = ""  # "lockdep", "stock", "" both
    since: Series | None = None
    until: Series | None = None
    cost: str = "low"


@dataclass(frozen=True, slots=True)
class Probe:
    """A dynamic event.

    ``function``: where it is set, "" for a ``tracepoint``. ``args`` and ``returns`` as in ``probes.toml``. ``entry``:
    name of the event that has the arguments where a return probe sees none, "" for none. ``only``: "kprobe" where
    nothing else can do it, "lock" for a lock function, which is always a kprobe with its return probe.
    """

    event: str
    codes: frozenset[str]
    function: str = ""
    tracepoint: str = ""
    args: tuple[str, ...] = ()
    returns: str = ""
    entry: str = ""
    only: str = ""
    kernels: str = ""
    rt: bool | None = None  # only with PREEMPT_RT, only without it, or both
    mmu: str = ""
    since: Series | None = None
    until: Series | None = None
    cost: str = "low"
    instead: str = ""
    on_request: str = ""  # kind of lock that is probed on request only
    source: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All there is."""

    events: tuple[Events, ...]
    probes: tuple[Probe, ...]


@cache
def catalogue() -> Catalogue:
    """The shipped definitions."""
    text = resources.files(__package__).joinpath("probes.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    sets = {name: frozenset(codes) for name, codes in data["checks"].items()}
    events = tuple(_events(entry, sets) for entry in data["events"])
    probes = [_probe(entry, sets) for entry in data["probe"]]
    for entry in data["locks"]:
        probes.extend(_lock_probes(entry, sets))
    return Catalogue(events, tuple(probes))


def _codes(entry: dict[str, Any], sets: dict[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*(sets.get(word, frozenset({word})) for word in entry["for"]))


def _series(entry: dict[str, Any], key: str) -> Series | None:
    return series(entry[key]) if key in entry else None


def _events(entry: dict[str, Any], sets: dict[str, frozenset[str]]) -> Events:
    since, until = _series(entry, "since"), _series(entry, "until")
    return Events(entry["name"], _codes(entry, sets), entry.get("kernels", ""), since, until, entry.get("cost", "low"))


def _probe(entry: dict[str, Any], sets: dict[str, frozenset[str]]) -> Probe:
    pair = f"{entry['event']}_entry" if "returns" in entry and entry.get("pair", True) else ""
    return Probe(
        event=entry["event"],
        codes=_codes(entry, sets),
        function=entry.get("function", ""),
        tracepoint=entry.get("tracepoint", ""),
        args=tuple(entry["args"]),
        returns=entry.get("returns", ""),
        entry=pair,
        only=entry.get("with", ""),
        kernels=entry.get("kernels", ""),
        mmu=entry.get("mmu", ""),
        since=_series(entry, "since"),
        until=_series(entry, "until"),
        cost=entry.get("cost", "low"),
        instead=entry["instead"],
        source=entry["source"],
    )


def _lock_probes(entry: dict[str, Any], sets: dict[str, frozenset[str]]) -> Iterator[Probe]:
    kind = entry["kind"]
    for function in (*entry["take"], *entry["may_fail"], *entry["give"]):
        event = function.lstrip("_")
        gives = function in entry["give"]
        yield Probe(
            event=event,
            codes=_codes(entry, sets),
            function=function,
            args=("lock=1:x64",) if gives else ("lock=1:x64", "caller=+0(%sp):x64"),
            returns="ret:s32" if function in entry["may_fail"] else "",
            entry="" if gives else f"{event}_entry",
            only="lock",
            kernels="stock",
            rt=entry.get("rt"),
            since=_series(entry, "since"),
            until=_series(entry, "until"),
            cost=entry.get("cost", "low"),
            instead=f"lock:contention_begin and contention_end: a {kind} only where it was waited for",
            on_request=kind if entry.get("on_request") else "",
            source=entry["source"],
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to record. ``kernel`` None: any, the script looks for itself. ``codes`` None: for every check.

    ``lockdep``, ``rt`` (PREEMPT_RT) None: not known yet. ``locks``: kinds of locks that are only probed on request.
    """

    kernel: Series | None = None
    codes: frozenset[str] | None = None
    lockdep: bool | None = None
    locks: frozenset[str] = frozenset()
    rt: bool | None = None


def chosen_probes(wanted: Wanted) -> list[Probe]:
    """The probes that may be set."""
    return [p for p in catalogue().probes if _fits(p, wanted) and _asked(p, wanted)]


def chosen_events(wanted: Wanted) -> list[Events]:
    """The kernel's own events that are recorded. A system takes in its single events."""
    fits = [e for e in catalogue().events if _fits(e, wanted)]
    asked = [e for e in fits if wanted.codes is None or e.codes & wanted.codes]
    whole = {(e.name, e.kernels) for e in asked if ":" not in e.name}
    return [e for e in asked if ":" not in e.name or (e.name.partition(":")[0], e.kernels) not in whole]


def _asked(probe: Probe, wanted: Wanted) -> bool:
    if probe.on_request and probe.on_request not in wanted.locks:
        # A spinlock was KVM's mmu_lock before 5.12: the script decides.
        return probe.on_request == "spinlock" and (wanted.kernel is None or wanted.kernel < (5, 12))
    return wanted.codes is None or bool(probe.codes & wanted.codes)


def _fits(item: Events | Probe, wanted: Wanted) -> bool:
    if wanted.lockdep is not None and item.kernels == ("stock" if wanted.lockdep else "lockdep"):
        return False
    if isinstance(item, Probe) and item.rt is not None and wanted.rt not in (None, item.rt):
        return False
    if wanted.kernel is None:
        return True
    return (item.since or OLDEST) <= wanted.kernel and (item.until is None or wanted.kernel <= item.until)


def all_codes() -> frozenset[str]:
    """Every check that any event or probe is for."""
    every: Iterable[Events | Probe] = (*catalogue().events, *catalogue().probes)
    return frozenset().union(*(item.codes for item in every))
