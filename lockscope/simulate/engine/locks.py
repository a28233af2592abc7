"""Taking and releasing locks. Each function is a piece of a task's work: ``yield from mutex_lock(t, lock)``.

Fair where the kernel's are: queued spinlocks and rwlocks go to whoever came first, a writer that waits keeps new
readers out (kernel/locking/qspinlock.c, qrwlock.c); mutexes are handed over in order, and do not spin on their owner.
"""

from __future__ import annotations

from lockscope.simulate.engine.classes import ACQUIRE, ACQUIRED, CONTENDED, GIVES, GOT, MIGHT, RELEASE, TRY, Lock
from lockscope.simulate.engine.tasks import BLOCK, IRQS_OFF, SPIN, UNINTERRUPTIBLE, Task, Work


def _attempt(t: Task, lock: Lock, read: int) -> tuple[int, bool]:
    """What an attempt takes, and whether it succeeded at once."""
    if lock.taken(read):
        # The burst of a waiting attempt is another one: the key has no bit for it, so it is made apart.
        b = lock.make(t, ACQUIRE, read)
        return t.write(b), False
    b = lock.burst(t, ACQUIRE, read)
    if read:
        lock.readers += 1
    else:
        lock.owner = t
    return t.write(b), True


def _write(t: Task, lock: Lock, op: int, read: int = 0) -> int:
    b = lock.burst(t, op, read)
    return t.write(b)


def _hand_over(t: Task, lock: Lock) -> None:
    """Whoever waits first gets it; readers that wait in a row all do."""
    while lock.waiters:
        waiter, shared = lock.waiters[0]
        if lock.owner is not None or (lock.readers and not shared):
            return
        lock.waiters.popleft()
        if shared:
            lock.readers += 1
        else:
            lock.owner = waiter
        if waiter.cpu.spinning and waiter.cpu.task is waiter:
            t.cpu.machine.resume(waiter.cpu)
        else:
            t.cpu.machine.wake(waiter)
        if not shared:
            return


def _has(t: Task, lock: Lock, read: int) -> bool:
    """Whether it was handed to a waiter."""
    return not any(waiter is t for waiter, _ in lock.waiters) and (bool(read) or lock.owner is t)


def _late(t: Task, lock: Lock, read: int) -> bool:
    """It was freed while the attempt was written: take it."""
    if lock.taken(read):
        return False
    if read:
        lock.readers += 1
    else:
        lock.owner = t
    return True


def mutex_lock(t: Task, lock: Lock) -> Work:
    """mutex_lock(); also the write side of an rwsem (down_write())."""
    return _sleeping(t, lock, 0)


def down_read(t: Task, lock: Lock) -> Work:
    """down_read(), cpus_read_lock()."""
    return _sleeping(t, lock, 1)


def _sleeping(t: Task, lock: Lock, read: int) -> Work:
    if t.cpu.machine.exploring:
        t.point = (lock,), f"takes {lock.cls.name}"
        yield 0
    took, done = _attempt(t, lock, read)
    yield took
    if done:
        return
    if not _late(t, lock, read):
        lock.waiters.append((t, bool(read)))
        yield _write(t, lock, CONTENDED, read)
        while not _has(t, lock, read):
            t.state = UNINTERRUPTIBLE
            yield BLOCK
        t.state = 0
        yield _write(t, lock, ACQUIRED, read)
    else:
        yield _write(t, lock, GOT, read)


def mutex_unlock(t: Task, lock: Lock) -> Work:
    """mutex_unlock(), up_write()."""
    yield _write(t, lock, RELEASE)
    if lock.tells:
        yield _write(t, lock, GIVES)
    if lock.owner is t:
        lock.owner = None
    _hand_over(t, lock)


def up_read(t: Task, lock: Lock) -> Work:
    """up_read(), cpus_read_unlock()."""
    yield _write(t, lock, RELEASE, 1)
    if lock.tells:
        yield _write(t, lock, GIVES)
    lock.readers = max(lock.readers - 1, 0)
    _hand_over(t, lock)


def spin_lock(t: Task, lock: Lock) -> Work:
    """spin_lock(), raw_spin_lock(), write_lock()."""
    return _spinning(t, lock, 0)


def read_lock(t: Task, lock: Lock) -> Work:
    """read_lock() of a queued rwlock: not recursive outside of interrupts."""
    return _spinning(t, lock, 1)


def _spinning(t: Task, lock: Lock, read: int) -> Work:
    if t.cpu.machine.exploring:
        t.point = (lock,), f"takes {lock.cls.name}"
        yield 0
    t.pc += 1
    took, done = _attempt(t, lock, read)
    yield took
    if done:
        return
    if _late(t, lock, read):
        yield _write(t, lock, GOT, read)
        return
    lock.waiters.append((t, bool(read)))
    yield _write(t, lock, CONTENDED, read)
    while not _has(t, lock, read):
        t.cpu.spinning = True
        yield SPIN
    yield _write(t, lock, ACQUIRED, read)


def spin_trylock(t: Task, lock: Lock) -> Work:
    """spin_trylock() that succeeds; see ``Lock.taken`` before."""
    t.pc += 1
    lock.owner = t
    yield _write(t, lock, TRY)


def spin_unlock(t: Task, lock: Lock) -> Work:
    """spin_unlock(), raw_spin_unlock(), write_unlock()."""
    yield _write(t, lock, RELEASE)
    if lock.tells:
        yield _write(t, lock, GIVES)
    t.pc -= 1
    if lock.owner is t:
        lock.owner = None
    _hand_over(t, lock)


def read_unlock(t: Task, lock: Lock) -> Work:
    """read_unlock()."""
    yield _write(t, lock, RELEASE, 1)
    t.pc -= 1
    lock.readers = max(lock.readers - 1, 0)
    _hand_over(t, lock)


def irqs_off(t: Task) -> int:
    """local_irq_save(): returns the flags to give back to ``irqs_back``."""
    before = t.flags & IRQS_OFF
    t.flags |= IRQS_OFF
    return before


def irqs_back(t: Task, before: int) -> None:
    """local_irq_restore()."""
    t.flags = t.flags & ~IRQS_OFF | before


def map_acquire(t: Task, lock: Lock, read: int = 0) -> Work:
    """A lockdep annotation, or an RCU read section: nobody waits for it."""
    yield _write(t, lock, ACQUIRE, read)


def might_lock_read(t: Task, lock: Lock) -> Work:
    """might_lock_read(): lockdep is told of an acquisition that does not happen."""
    yield _write(t, lock, MIGHT, 1)
    yield _write(t, lock, RELEASE, 1)


def map_release(t: Task, lock: Lock) -> Work:
    """Its end."""
    yield _write(t, lock, RELEASE)
