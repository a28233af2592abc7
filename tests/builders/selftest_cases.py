"""The 394 locking self-tests of Linux 6.12 (lib/locking-selftest.c) with the verdict that lockdep must give each.

What a test does is a line of words for ``selftests.Player``. "Good, all 394 testcases passed!", prints a kernel with
CONFIG_PROVE_RAW_LOCK_NESTING and CONFIG_QUEUED_RWLOCKS: lockdep's verdict on every one is the one here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple


class Case(NamedTuple):
    """``deadlock``: lockdep has to report it, else it must be silent."""

    name: str
    words: str
    deadlock: bool
    kind: str = ""
    soft: bool = False


KIND_NAMES = {"s": "spin", "W": "wlock", "R": "rlock", "m": "mutex", "w": "wsem", "r": "rsem", "t": "rtmutex"}

# What no recorded event shows, with the reason.
UNDECIDABLE = {
    "ww_test_unneeded_slow": "ww_mutex_lock_slow() traces what ww_mutex_lock() does",
    "ww_test_diff_class": "a context's ww_class is in no event",
    "ww_test_context_done_twice": "ww_acquire_done() traces nothing",
    "ww_test_context_lock_after_done": "ww_acquire_done() traces nothing",
    "ww_test_object_lock_unbalanced": "a context counts its locks unseen",
    "ww_test_object_lock_stale_context": "a ww_mutex's context is in no event",
    "spinlock_in_NOTTHREADED_HARDIRQ": "whether a handler is threaded is in no event",
}


def _pairs(text: str) -> str:
    """``AB BC``: B is taken and released under A, then C under B."""
    return " ".join(f"+{x} +{y} -{y} -{x}" for x, y in text.split())


_ONE_KIND = {  # words, whether readers of an rwlock deadlock too
    "AA": ("+X1 +X2", False),
    "ABBA": (_pairs("AB BA"), False),
    "ABBCCA": (_pairs("AB BC CA"), False),
    "ABCABC": (_pairs("AB CA BC"), False),
    "ABBCCDDA": (_pairs("AB BC CD DA"), False),
    "ABCDBDDA": (_pairs("AB CD BD DA"), False),
    "ABCDBCDA": (_pairs("AB CD BC DA"), False),
    "double_unlock": ("+A -A -A", True),
    "init_held": ("+A !A", True),
}
_X_THEN_Y = "{0}+X1 {1}+Y1 {1}-Y1 {0}-X1 {1}+Y1 {2}+X1 {2}-X1 {1}-Y1"
_MIXED = {
    "rlock_AA1": ("R+X1 R+X1", False),
    "rlock_AA1B": ("R+X1 R+X2", False),
    "rsem_AA1": ("r+X1 r+X1", True),
    "rsem_AA1B": ("r+X1 r+X2", True),
    "rlock_AA2": ("R+X1 W+X2", True),
    "rsem_AA2": ("r+X1 w+X2", True),
    "rlock_AA3": ("W+X1 R+X2", True),
    "rsem_AA3": ("w+X1 r+X2", True),
    "rlock_ABBA1": (_X_THEN_Y.format("R", "s", "W"), True),
    "rwsem_ABBA1": (_X_THEN_Y.format("r", "m", "w"), True),
    "rlock_ABBA2": (_X_THEN_Y.format("R", "s", "R"), False),
    "rwsem_ABBA2": (_X_THEN_Y.format("r", "m", "r"), True),
    "rlock_ABBA3": (_X_THEN_Y.format("W", "s", "W"), True),
    "rwsem_ABBA3": (_X_THEN_Y.format("w", "m", "w"), True),
    "rlock_chaincache_ABBA1": (_X_THEN_Y.format("R", "s", "R") + " s+Y1 W+X1 W-X1 s-Y1", True),
}


def _ring(text: str) -> tuple[str, str, str]:
    """``WW RR WR``: how X1 Y1, Y1 Z1, Z1 X1 are taken."""
    ends = (("X1", "Y1"), ("Y1", "Z1"), ("Z1", "X1"))
    one = (f"{a}+{x} {b}+{y} {b}-{y} {a}-{x}" for (a, b), (x, y) in zip(text.split(), ends, strict=True))
    first, second, third = one
    return first, second, third


_RINGS = {  # the names of the last two are swapped in the kernel's file as well
    "W1R2_W2R3_W3R1": (_ring("WR WR WR"), True),
    "W1W2_R2R3_W3R1": (_ring("WW RR WR"), True),
    "W1W2_R2R3_R3W1": (_ring("WR RR WW"), False),
    "W1R2_R2R3_W3W1": (_ring("WW RR RW"), False),
}
_IN_IRQ = "( +A -A )"
_IRQ_PAIRS = {  # name, the two parts
    "irqsafe1": (_IN_IRQ, "+A -A"),
    "irqsafe2B": (_IN_IRQ, "[ +A ] -A"),
}
_IRQ_TRIPLES = {
    "irqsafe3": ("+A +B -B -A", "+B -B", _IN_IRQ),
    "irqsafe4": ("[ +A +B -B -A ]", "+B -B", _IN_IRQ),
    "irq_inversion": ("[ W+A +B -B W-A ]", "+B -B", "( R+A R-A )"),
}
_READ_RECURSION = {
    "irq_read_recursion": ("[ W+A W-A ]", "R+A R-A", "( +A s+B s-B -A )"),
    "irq_read_recursion2": ("[ s+B +A -A s-B ]", "R+A R-A", "( s+B s-B )"),
    "irq_read_recursion3": ("[ W+B +A -A W-B ]", "R+A R-A", "( R+B R-B )"),
}
_STOLEN = "o<2 c+t o+1:t o%2:t"
_WW = {
    "fail_acquire": ("c+t o+1:t o%1:t2 o-1 o?1 o-1", False),
    "normal": ("c+t" + 3 * " o+1 o-1" + " o?1 o-1 o+1 o-1 o+1:t o-1", False),
    "unneeded_slow": ("c+t o+1:t", True),
    "two_contexts": ("c+t c+t2", True),
    "diff_class": ("c+t o+1:t", True),
    "context_done_twice": ("c+t c-t", True),
    "context_unlock_twice": ("c+t c-t c-t", True),
    "context_fini_early": ("c+t o+1:t c-t", True),
    "context_lock_after_done": ("c+t o+1:t", True),
    "object_unlock_twice": ("o+1 o-1 o-1", True),
    "object_lock_unbalanced": ("c+t o+1:t o-1 c-t", True),
    "object_lock_stale_context": ("c+t o+1:t", True),
    "edeadlk_normal": (f"{_STOLEN} o>2 o-1 o+2:t", False),
    "edeadlk_normal_slow": (f"{_STOLEN} o>2 o-1 o+2:t", False),
    "edeadlk_no_unlock": (f"{_STOLEN} o>2 o+2:t", True),
    "edeadlk_no_unlock_slow": (f"{_STOLEN} o>2 o+2:t", True),
    "edeadlk_acquire_more": (f"{_STOLEN} o+3:t", True),
    "edeadlk_acquire_more_slow": (f"{_STOLEN} o+3:t", True),
    "edeadlk_acquire_more_edeadlk": ("o<2 o<3 c+t o+1:t o%2:t o%3:t", True),
    "edeadlk_acquire_more_edeadlk_slow": ("o<2 o<3 c+t o+1:t o%2:t o+3:t", True),
    "edeadlk_acquire_wrong": (f"{_STOLEN} o-1 o+3:t", True),
    "edeadlk_acquire_wrong_slow": (f"{_STOLEN} o-1 o+3:t", True),
    "spin_nest_unlocked": ("s+A^B s-A", True),
    "spin_nest_lock": ("s+X1 s+Y1^X1 s+A s+Y2^X1 s-A s-Y2 s-Y1 s-X1", False),
    "context_block": ("c+t o+1:t o+2", True),
    "context_try": ("c+t o+1:t o?2 o-2 o-1", False),
    "context_context": ("c+t o+1:t o+2:t o-2 o-1", False),
    "try_block": ("o?1 o+2 o-2 o-1", True),
    "try_try": ("o?1 o?2 o-2 o-1", False),
    "try_context": ("o?1 c+t o+2:t", True),
    "block_block": ("o+1 o+2", True),
    "block_try": ("o+1 o?2", False),
    "block_context": ("o+1 c+t o+2:t", True),
    "spin_block": ("s+A s-A o+1 s+A s-A o-1 s+A o+1 o-1 s-A", True),
    "spin_try": ("s+A s-A o?1 s+A s-A o-1 s+A o?1 o-1 s-A", False),
    "spin_context": ("s+A s-A c+t o+1:t s+A s-A o-1 s+A o+1:t o-1 s-A", True),
}
_RECLAIM = "f+ n+ n- {} f-"  # fs_reclaim_acquire(GFP_KERNEL); might_alloc() of what may not enter the filesystem: n
_OTHERS = {
    "queued_read_lock_hardirq_RE_Er": ("h( Q+A W+B W-B Q-A h) h[ W+B Q+A Q-A W-B h]", True),
    "queued_read_lock_hardirq_ER_rE": ("h( W+B Q+A Q-A W-B h) h[ Q+A W+B W-B Q-A h]", False),
    "queued_read_lock_hardirq_inversion": ("h( W+B W-B h) h[ W+B Q+A Q-A W-B h] Q+A Q-A", True),
    "fs_reclaim_correct_nesting": (_RECLAIM.format("n+ n-"), False),
    "fs_reclaim_wrong_nesting": (_RECLAIM.format("f+ n+ n- f-"), True),
    "fs_reclaim_protected_nesting": (_RECLAIM.format("n+ n-"), False),
    "local_lock_2": ("l+A l-A h( s+A s-A h) h[ s+A l+A l-A s-A h]", False),
    "local_lock_3A": ("l+A s+B s-B l-A h( s+A s-A h) h[ s+A l+A l-A s-A h]", False),
    "local_lock_3B": ("l+A s+B s-B l-A h( s+A s-A h) h[ s+A l+A l-A s-A h] h[ s+A s+B s-B s-A", True),
    "hardirq_deadlock_softirq_not_deadlock": (
        "m+A h[ s+C s-C h] m-A h( s+A s-A h) h[ s+A s+B s-B s-A h] h[ s+B s+C s-C s-B h] z( s+D s-D z) "
        "z[ s+D s-D z] h[ s+C s+D s-D s-C h]",
        True,
    ),
}
_OUTER = {  # words around, what waits too long inside
    "HARDIRQ": ("h( {} h)", ("mutex",)),
    "NOTTHREADED_HARDIRQ": ("h( {} h)", ("spinlock", "mutex")),
    "SOFTIRQ": ("z( {} z)", ("mutex",)),
    "RCU": ("i+ {} i-", ("mutex",)),
    "RCU_BH": ("b+ {} b-", ("mutex",)),
    "RCU_SCHED": ("d+ {} d-", ("spinlock", "mutex")),
    "raw_spinlock": ("S+A {} S-A", ("spinlock", "mutex")),
    "spinlock": ("s+A {} s-A", ("mutex",)),
    "mutex": ("m+A {} m-A", ()),
}
_INNER = {"RCU": "i+ i-", "raw_spinlock": "S+B S-B", "spinlock": "s+B s-B", "mutex": "m+B m-B"}


def _orders(parts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """``123``, ``132`` ... and the words in that order."""
    for order in permutations(range(len(parts))):
        yield "".join(str(i + 1) for i in order), " ".join(parts[i] for i in order)


def _irq_cases() -> Iterator[Case]:
    for name, parts in (_IRQ_PAIRS | _IRQ_TRIPLES).items():
        for soft in (False, True):
            for kind in "sRW":
                for order, words in _orders(parts):
                    full = f"{name}_{'soft' if soft else 'hard'}_{KIND_NAMES[kind]}_{order}"
                    yield Case(full, words, kind != "R", kind, soft)
    for kind in "sWR":
        for order, words in _orders(("z( +A -A z)", "h[ +A h] -A")):
            yield Case(f"irqsafe2A_{KIND_NAMES[kind]}_{order}", words, kind != "R", kind)
    for name, parts in _READ_RECURSION.items():
        for soft in (False, True):
            for kind in "RW":
                for order, words in _orders(parts):
                    full = f"{name}_{'soft' if soft else 'hard'}_{KIND_NAMES[kind]}_{order}"
                    yield Case(full, words, kind == "W", kind, soft)


def all_cases() -> list[Case]:
    """The 394."""
    found = [
        Case(f"{name}_{KIND_NAMES[kind]}", words, kind != "R" or readers, kind)
        for name, (words, readers) in _ONE_KIND.items()
        for kind in KIND_NAMES
    ]
    found += [Case(name, words, deadlock) for name, (words, deadlock) in _MIXED.items()]
    for name, (parts, deadlock) in _RINGS.items():
        found += [Case(f"{name}_{order}", words, deadlock) for order, words in _orders(parts)]
    found += _irq_cases()
    found += [Case(f"ww_test_{name}", words, deadlock) for name, (words, deadlock) in _WW.items()]
    found += [Case(name, words, deadlock) for name, (words, deadlock) in _OTHERS.items()]
    for outer, (around, bad) in _OUTER.items():
        found += [Case(f"{i}_in_{outer}", around.format(w), i in bad) for i, w in _INNER.items()]
    return found
