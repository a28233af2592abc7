"""Processes of this machine that look at traces, one trace at a time each.

A process that dies (out of memory, killed) or takes too long costs its own job and no other: it is replaced. They have
pipes and no port. A single trace is read in a process of its own too: what kills its reader must not kill the night.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from subprocess import DEVNULL, Popen
from typing import Any

from lockscope.nightly.examine import Job, broken
from lockscope.nightly.examine import run as examine

DEATHS = 3  # a trace that has cost so many processes their lives is given up
TIME_LIMIT_S = 3600.0
START_S = 600.0  # what a worker loads, and the first time compiles, is not the trace's time
_READY = b""
_BEGIN = """\
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal; the parent ends its workers
from multiprocessing.connection import Connection
from lockscope import heap
from lockscope.nightly.pool import serve
heap.keep_freed()
serve(Connection(int(sys.argv[1])))
"""
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

Results = Iterator[tuple[Job, bytes]]
Work = Callable[[Job], bytes]


def died(job: Job) -> bytes:
    """The record of a job that no worker survives."""
    why = f"the worker process was killed {DEATHS} times while analysing this file (out of memory?)"
    return broken(job, f"{job.source.path}: no verdict: {why}", "")


def too_long(job: Job, limit_s: float) -> bytes:
    """The record of a job that was given up. Nothing is remembered of it, so that a longer limit may be tried."""
    text = f"{job.source.path}: no verdict: not done after {limit_s:g} s (--time-limit), given up; is the file damaged?"
    return broken(job, text, "")


class _DiedError(Exception):
    """A worker is dead."""


@dataclass(slots=True)
class _Worker:
    process: Popen[bytes]
    pipe: Connection
    number: int = -1  # of the job at hand
    until: float = 0.0
    ready: bool = False

    def give(self, number: int, job: Job, limit_s: float) -> None:
        self.number, self.until = number, time.monotonic() + limit_s + (0 if self.ready else START_S)
        with contextlib.suppress(OSError):  # it is dead already: that is seen when it is listened to
            self.pipe.send(job)

    def heard(self, limit_s: float) -> bytes | None:
        """A record, if there is one. Raises ``_DiedError``, and what its work raised."""
        try:
            found = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            raise _DiedError from None
        if isinstance(found, Exception):
            raise found
        if found == _READY:
            self.ready, self.until = True, time.monotonic() + limit_s
            return None
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def in_pool(jobs: Sequence[Job], workers: int, work: Work = examine, limit_s: float = TIME_LIMIT_S) -> Results:
    """Every job with its record, in the order in which they are done. What ``work`` raises is raised here."""
    waiting, deaths = deque(range(len(jobs))), Counter[int]()
    idle: list[_Worker] = []
    busy: list[_Worker] = []
    start = _starter(workers, work)
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(idle.pop() if idle else start())
                busy[-1].give(waiting[0], jobs[waiting.popleft()], limit_s)
            wait([w.pipe for w in busy], max(min(w.until for w in busy) - time.monotonic(), 0))
            for worker in list(busy):
                job, record = jobs[worker.number], None
                try:
                    record = worker.heard(limit_s)
                except _DiedError:
                    deaths[worker.number] += 1
                    if deaths[worker.number] < DEATHS:
                        waiting.appendleft(worker.number)
                    else:
                        record = died(job)
                else:
                    if record is not None:
                        idle.append(worker)
                    elif time.monotonic() < worker.until:
                        continue
                    else:
                        record = too_long(job, limit_s)
                busy.remove(worker)
                if worker not in idle:
                    worker.end()
                if record is not None:
                    yield job, record
    finally:
        for worker in (*idle, *busy):
            worker.end()


def _starter(workers: int, work: Work) -> Callable[[], _Worker]:
    cpus, begun = _cpus(workers), iter(range(1 << 62))

    def start() -> _Worker:
        # A new interpreter, not a fork: this process has threads. Not multiprocessing's either: it writes a traceback
        # where its parent is killed, or somebody presses Ctrl-C, while it loads.
        ours, theirs = Pipe()
        with theirs:  # then the only other end is the worker's: when it dies the pipe ends
            command = [sys.executable, *_interpreter_flags(), "-c", _BEGIN, str(theirs.fileno())]
            process = Popen(command, stdin=DEVNULL, env=_environment(), pass_fds=[theirs.fileno()])
        with contextlib.suppress(OSError):
            ours.send((work, os.getpid(), cpus[next(begun) % len(cpus)] if cpus else None))
        return _Worker(process, ours)

    return start


def _interpreter_flags() -> list[str]:
    """What this interpreter was told on its command line of where to look for modules, and of warnings."""
    told = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site,
            "-S": sys.flags.no_site, "-B": sys.flags.dont_write_bytecode}  # fmt: skip
    return [*(flag for flag, on in told.items() if on), *(f"-W{option}" for option in sys.warnoptions)]


def serve(pipe: Connection) -> None:
    """In a worker: one job after the other, for as long as somebody asks.

    It ends with the process that began it, however that ends: a worker that outlives its parent would read for nobody.
    A reading has three threads. With a worker for each CPU they take turns anyway, and a tenth of the time goes into
    that: bound to one CPU a reading does without them.
    """
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        work, parent, cpu = pipe.recv()
        if os.getppid() != parent:
            return
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        pipe.send(_READY)
        while True:
            pipe.send(_done(work, pipe.recv()))


def _done(work: Work, job: Job) -> Any:
    try:
        return work(job)
    except Exception as error:
        return error


def _environment() -> dict[str, str]:
    """Where a worker finds what is found here."""
    path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
    return os.environ | {"PYTHONPATH": path}


def _cpus(workers: int) -> list[int]:
    """The CPUs to bind workers to; none where some would be left idle."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus if workers >= len(cpus) else []
