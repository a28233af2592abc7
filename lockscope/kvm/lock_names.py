"""Kinds of well-known locks outside KVM, by class name. Checked against recorded wait types of 6.12.

Only names that one lock (or one kind of lock) has: ``lock``, ``key``, ``&s->lock`` and their like are not here.
"""

from __future__ import annotations

_TABLE = {
    "rcu": ("rcu_read_lock", "rcu_read_lock_bh", "rcu_read_lock_sched"),
    "map": ("rcu_callback", "fs_reclaim"),
    "raw_spinlock": ("&rq->__lock", "&p->pi_lock", "hrtimer_bases.lock", "rcu_node_0"),
    "rwsem": ("&mm->mmap_lock",),
}

_BY_NAME = {name: kind for kind, names in _TABLE.items() for name in names}


def kind(name: str) -> str:
    """The kind of the lock with this class name, "" if it is not known."""
    return _BY_NAME.get(name, "")
