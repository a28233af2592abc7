"""Where jobs are done: in this process, in a pool of processes, or by the workers of a Dask cluster.

All three yield each job's bytes as they come and keep no more than a few jobs under way for each worker. A worker that
dies (out of memory, killed) takes its jobs with it: they are given to others, and a job that has cost ``DEATHS``
workers their lives is itself the cause, and ends as a row.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any

from lockscope.errors import UsageError
from lockscope.nightly.examine import Job, broken
from lockscope.nightly.examine import run as examine

DEATHS = 3
# A worker keeps what it has freed: Dask lets the C library give all of it back after each job, and to be given fresh
# memory for the next one takes a fifth of a reading.
_HEAP = {"MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1, "MALLOC_MMAP_THRESHOLD_": 32 << 20, "MALLOC_ARENA_MAX": 1}
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
        return on_cluster(jobs, scheduler)
    number = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    alone = [j for j in jobs if j.source.path.startswith("memory:")]
    if number > 1 and alone:
        say("memory:// files exist in this process alone: one process reads them")
        number = 1
    if number <= 1:
        return here(jobs)
    if importlib.util.find_spec("distributed") is None:
        say(f"dask.distributed is not installed (pip install 'lockscope[cluster]'): a pool of {number} processes")
        return in_pool(jobs, number)
    return on_cluster(jobs, None, number)


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
    # Not fork: this process has threads. A worker that outlives its parent would go on reading for nobody.
    with ProcessPoolExecutor(width, get_context("spawn")) as pool:
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


def on_cluster(jobs: Sequence[Job], scheduler: str | None, workers: int = 0) -> Results:
    """By the workers of the cluster at ``scheduler``; None: a local one of ``workers`` processes, for this run."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as missing:
        msg = "--scheduler needs dask.distributed: pip install 'lockscope[cluster]'"
        raise UsageError(msg) from missing
    with ExitStack() as stack:
        if scheduler is None:
            heap = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in _HEAP.items()}
            stack.enter_context(dask.config.set(heap))
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=50,
                )
            )
            client = stack.enter_context(Client(cluster))
            # A reading has three threads. With a worker for each CPU they take turns anyway, and a tenth of the time
            # goes into that: bound to one CPU a reading does without them.
            for cpu, worker in zip(_cpus(workers), client.nthreads(), strict=False):
                client.run(os.sched_setaffinity, 0, {cpu}, workers=[worker])
        else:
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
