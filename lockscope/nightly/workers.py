"""Where jobs are done: in a pool of processes, or by the workers of a Dask cluster that somebody runs.

Both yield each job's bytes as they come and keep no more than a few jobs under way for each worker. A worker that
dies (out of memory, killed) takes its jobs with it: they are given to others, and a job that has cost ``DEATHS``
workers their lives is itself the cause, and ends as a row. A single trace is read in a process of its own too: what
kills its reader must not kill the night.

The pool needs no port: its processes have pipes. Dask's local cluster listens on loopback, and runs what any local user
sends it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any

from lockscope.errors import UsageError
from lockscope.nightly.examine import Job, broken
from lockscope.nightly.examine import run as examine

DEATHS = 3
# A worker keeps what it has freed: to be given fresh memory for the next trace takes a fifth of a reading.
_HEAP = {"MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1, "MALLOC_MMAP_THRESHOLD_": 32 << 20, "MALLOC_ARENA_MAX": 1}
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_AHEAD = 2  # jobs a worker: one at work, one waiting

Results = Iterator[tuple[Job, bytes]]
Say = Callable[[str], None]
Work = Callable[[Job], bytes]


def results(jobs: Sequence[Job], workers: int | None, scheduler: str | None, say: Say) -> Results:
    """Every job with its record, in the order in which they are done. Raises ``UsageError`` for an unknown scheduler.

    ``workers``: None for as many as this process may use CPUs. ``say`` is told what was chosen where a user might have
    expected something else.
    """
    if scheduler is not None:
        if scheduler.partition("://")[0] != "tls":
            say(
                f"--scheduler {scheduler}: nothing in it is encrypted or authenticated: whoever reaches the scheduler"
                " or a worker can run code as their user, and read the traces; tls://... asks for certificates"
            )
        return on_cluster(jobs, scheduler)
    number = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    alone = [j for j in jobs if j.source.path.startswith("memory:")]
    if alone:
        if number > 1:
            say("memory:// files exist in this process alone: one process reads them")
        return here(jobs)
    return in_pool(jobs, number)


def here(jobs: Sequence[Job]) -> Results:
    """One after the other, in this process."""
    for job in jobs:
        yield job, examine(job)


def died(job: Job) -> bytes:
    """The record of a job that no worker survives."""
    text = f"{job.source.path}: no verdict: {DEATHS} workers died of it, one after the other (out of memory?)"
    return broken(job, text, "")


def in_pool(jobs: Sequence[Job], workers: int, work: Work = examine) -> Results:
    """In processes of this machine. When one dies the pool is gone: a new one goes on, and who was there is noted."""
    deaths = dict.fromkeys(range(len(jobs)), 0)
    left = list(range(len(jobs)))
    width = workers
    while left:
        done: list[int] = []
        suspects: list[int] = []
        for number, outcome in _one_pool(work, jobs, left, width, suspects):
            done.append(number)
            yield jobs[number], outcome
        for number in suspects:
            deaths[number] += 1
            if deaths[number] == DEATHS:
                done.append(number)
                yield jobs[number], died(jobs[number])
        left = [n for n in left if n not in done]
        # Who was under way when a pool broke goes next, one at a time: then the culprit dies alone.
        width = 1 if any(deaths[n] for n in left) else workers
        left.sort(key=lambda n: (-deaths[n], n))


def _one_pool(
    work: Work, jobs: Sequence[Job], left: Sequence[int], width: int, suspects: list[int]
) -> Iterator[tuple[int, bytes]]:
    waiting = list(reversed(left))
    most = _AHEAD * width if width > 1 else 1
    running: dict[Future[bytes], int] = {}
    context = get_context("spawn")  # not fork: this process has threads
    cpus = _cpus(width)
    with (
        _heap(),
        ProcessPoolExecutor(
            width, context, initializer=_begin, initargs=(os.getpid(), context.Value("i", 0), cpus)
        ) as pool,
    ):
        while waiting or running:
            while waiting and len(running) < most:
                number = waiting.pop()
                running[pool.submit(work, jobs[number])] = number
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                number = running.pop(future)
                try:
                    yield number, future.result()
                except BrokenProcessPool:
                    suspects.append(number)
            if suspects:
                suspects.extend(running.values())
                return


def _begin(parent: int, number: Any, cpus: list[int]) -> None:
    """In a worker, before its first job.

    It ends with the process that began it, however that ends: a worker that outlives its parent would read for nobody.
    A reading has three threads. With a worker for each CPU they take turns anyway, and a tenth of the time goes into
    that: bound to one CPU a reading does without them.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a reading at once, and without a traceback
    if cpus:
        with number.get_lock():
            mine = number.value
            number.value += 1
        os.sched_setaffinity(0, {cpus[mine % len(cpus)]})


@contextmanager
def _heap() -> Iterator[None]:
    """The environment in which workers are begun: the C library reads it once, as it starts."""
    before = {name: os.environ.get(name) for name in _HEAP}
    os.environ.update({name: str(value) for name, value in _HEAP.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def on_cluster(jobs: Sequence[Job], scheduler: str) -> Results:
    """By the workers of the cluster at ``scheduler``."""
    try:
        from distributed import Client
    except ImportError as missing:
        msg = "--scheduler needs dask.distributed: pip install 'lockscope[cluster]'"
        raise UsageError(msg) from missing
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(scheduler, timeout="10s"))
        except (OSError, ValueError) as unreachable:
            msg = f"--scheduler {scheduler}: no Dask scheduler answers there ({unreachable})"
            raise UsageError(msg) from unreachable
        yield from _by_client(client, jobs)


def _cpus(workers: int) -> list[int]:
    """The CPUs to bind workers to; none where some would be left idle."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus if workers >= len(cpus) else []


def _by_client(client: Any, jobs: Sequence[Job]) -> Results:
    from distributed import KilledWorker, as_completed

    waiting = list(reversed(jobs))
    running: dict[Any, Job] = {}
    completed = as_completed()

    def submit() -> None:
        slots = max(sum(client.nthreads().values()), 1)
        while waiting and len(running) < _AHEAD * slots:
            job = waiting.pop()
            future = client.submit(examine, job, pure=False)
            running[future] = job
            completed.add(future)

    submit()
    for future in completed:
        job = running.pop(future)
        try:
            yield job, future.result()
        except KilledWorker:
            yield job, died(job)
        future.release()
        submit()
