"""Names for locks that no event names: those of a kernel without lockdep, which a probe knows by their address alone,
and classes that were given none.

A class without a name is called by the symbol that its key lies in, as lockdep calls it (__get_key_name(),
kernel/locking/lockdep.c): seqcounts that are all zero bytes, say, which are their own keys.

A lock of a VM has the name of its place (``lock_places``), a static lock its symbol, and one that only certain
functions of KVM take the name that they say (``kvm.places``). Any other is told by what kind of lock its function takes
and by the function that first asked for it: ``mutex of kvm_vm_ioctl``. Two locks may be named alike; they stay two
classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from lockscope.kvm.places import class_taken_by
from lockscope.tables.events import TraceInfo
from lockscope.tables.symbols import Symbols
from lockscope.walk.chains import Chains, LockClass

UNNAMED, NAMELESS = "lock 0x", "(null)"  # how the walk calls a lock that it knows by address; a class without a name
UNNAMED_SRCU = "srcu_struct at 0x"
_CLONE = re.compile(r"\.\d+$")  # static to a file, and the compiler made the name unique: kvm_debugfs_lock.4
_KINDS = (
    ("mutex", "mutex"),
    ("rt_mutex", "rtmutex"),
    ("down_", "rwsem"),
    ("raw_read", "rwlock"),
    ("raw_write", "rwlock"),
    ("raw_spin", "spinlock"),
    ("rt_read", "rwlock"),
    ("rt_write", "rwlock"),
    ("rt_spin", "spinlock"),
)


def kind_of_function(function: str, rt: bool) -> str:
    """What kind of lock a lock function takes: ``mutex_lock_killable_entry`` -> "mutex"; "" where that is not known.

    With PREEMPT_RT (``rt``) ``_raw_spin_lock()`` is of ``raw_spinlock_t`` alone; without, of ``spinlock_t`` too.
    """
    if rt and function.startswith("raw_spin"):
        return "raw_spinlock"
    return next((kind for prefix, kind in _KINDS if function.startswith(prefix)), "")


def named(
    classes: list[LockClass], chains: Chains, info: TraceInfo, placed: Callable[[int], str | None] = lambda _: None
) -> list[LockClass]:
    """The classes, with names for those that have only an address. ``placed``: the name by its place, if known."""
    if not any(c.name.startswith((UNNAMED, UNNAMED_SRCU)) or c.name == NAMELESS for c in classes):
        return classes
    callers, symbols = _callers(chains), info.symbols()
    named_by_key = [_by_key(c, symbols) for c in classes]
    return [_named(c, callers, symbols, placed(c.key)) if c.name.startswith(UNNAMED) else c for c in named_by_key]


def static_name(symbols: Symbols, address: int) -> str | None:
    """The name of the variable that a static lock or ``srcu_struct`` is, None where it is none that is known."""
    symbol = symbols.exact(address)
    return _CLONE.sub("", symbol.split(" ")[0]) if symbol is not None else None


def _by_key(c: LockClass, symbols: Symbols) -> LockClass:
    if c.name.startswith(UNNAMED_SRCU):
        name = static_name(symbols, c.key)
        return replace(c, name=name) if name is not None else c
    if c.name != NAMELESS:
        return c
    symbol = symbols.name(c.key & (1 << 64) - 1) if c.key else None
    return replace(c, name=symbol.split("+")[0]) if symbol else c


def _named(c: LockClass, callers: dict[int, list[int]], symbols: Symbols, place: str | None) -> LockClass:
    if place is not None:
        return replace(c, name=place)
    static = static_name(symbols, c.key)
    if static is not None:
        return replace(c, name=static)
    takers = [(symbols.name(ip) or "").split("+")[0] for ip in callers.get(c.index, ())]
    what = c.kind or "lock"
    name = f"{what} of {takers[0]}" if takers and takers[0] else f"{what} without a name"
    return replace(c, name=class_taken_by(what, takers) or name, unplaced=True)


def _callers(chains: Chains) -> dict[int, list[int]]:
    """Class to the callers that asked for a lock of it, the first of them first."""
    callers: dict[int, dict[int, None]] = {}
    for cls, ip in zip(chains.entries[:, 0].tolist(), chains.entries[:, 7].tolist(), strict=True):
        if ip:
            callers.setdefault(cls, {})[ip] = None
    return {cls: list(ips) for cls, ips in callers.items()}
