"""Where jobs are done: in a pool of processes, or by the workers of a Dask cluster that somebody runs.

Both yield each job's record as it comes. A worker that dies (out of memory, killed) costs its job another try; a job
that has cost ``DEATHS`` workers their lives is itself the cause, and ends as a row; so does one that takes too long.

The pool needs no port. Dask's local cluster listens on loopback, and runs what any local user sends it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from lockscope.errors import UsageError
from lockscope.nightly.examine import Job
from lockscope.nightly.examine import run as examine
from lockscope.nightly.pool import START_S, TIME_LIMIT_S, Results, Work, died, in_pool, too_long

Say = Callable[[str], None]
_LOOK_S = 1.0  # how often it is asked whether a job has no time left
_RESTART_S = 60


@dataclass(frozen=True, slots=True)
class Where:
    """``workers``: processes, None for one a CPU. ``scheduler``: a Dask cluster instead. ``limit_s``: of a trace."""

    workers: int | None = None
    scheduler: str | None = None
    limit_s: float = TIME_LIMIT_S


def results(jobs: Sequence[Job], where: Where, say: Say) -> Results:
    """Every job with its record, in the order in which they are done. Raises ``UsageError`` for an unknown scheduler.

    ``say`` is told what was chosen where a user might have expected something else.
    """
    scheduler = where.scheduler
    if scheduler is not None:
        if scheduler.partition("://")[0] != "tls":
            say(
                f"--scheduler {scheduler}: nothing in it is encrypted or authenticated: whoever reaches the scheduler"
                " or a worker can run code as their user, and read the traces; tls://... asks for certificates"
            )
        return on_cluster(jobs, scheduler, where.limit_s)
    number = min(where.workers or len(os.sched_getaffinity(0)), len(jobs))
    alone = [j for j in jobs if j.source.path.startswith("memory:")]
    if alone:
        if number > 1:
            say("memory:// files exist in this process alone: one process reads them")
        return here(jobs)
    return in_pool(jobs, number, limit_s=where.limit_s)


def here(jobs: Sequence[Job]) -> Results:
    """One after the other, in this process."""
    for job in jobs:
        yield job, examine(job)


def on_cluster(jobs: Sequence[Job], scheduler: str, limit_s: float = TIME_LIMIT_S, work: Work = examine) -> Results:
    """By the workers of the cluster at ``scheduler``."""
    try:
        from distributed import Client
    except ImportError as missing:
        msg = "--scheduler needs dask.distributed: pip install distributed"
        raise UsageError(msg) from missing
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(scheduler, timeout="10s"))
        except (OSError, ValueError) as unreachable:
            msg = f"--scheduler {scheduler}: no Dask scheduler answers there ({unreachable})"
            raise UsageError(msg) from unreachable
        yield from _by_client(client, jobs, limit_s, work)


def _by_client(client: Any, jobs: Sequence[Job], limit_s: float, work: Work) -> Results:
    """No more jobs than the cluster has threads are given to it, so that none waits there: its time is its own.

    A worker may have to load lockscope first: nobody says when it has.
    """
    from distributed import KilledWorker, wait

    waiting = list(reversed(jobs))
    running: dict[Any, tuple[Job, float]] = {}
    while waiting or running:
        while waiting and len(running) < max(sum(client.nthreads().values()), 1):
            job = waiting.pop()
            running[client.submit(work, job, pure=False)] = (job, time.monotonic() + START_S + limit_s)
        with suppress(TimeoutError):
            wait(list(running), _LOOK_S, "FIRST_COMPLETED")
        for future, (job, until) in list(running.items()):
            if future.done():
                try:
                    record = future.result()
                except KilledWorker:
                    record = died(job)
            elif time.monotonic() < until:
                continue
            else:
                _give_up(client, future)
                record = too_long(job, limit_s)
            del running[future]
            future.release()
            yield job, record


def _give_up(client: Any, future: Any) -> None:
    """Dask cannot stop what runs: its worker is begun anew, if it has a nanny; what else it did is done again."""
    busy = [worker for worker, keys in client.processing().items() if future.key in keys]
    future.cancel(force=True)
    with suppress(TimeoutError, ValueError, RuntimeError):
        client.restart_workers(busy, timeout=_RESTART_S, raise_for_error=False)
