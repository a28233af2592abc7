"""Jobs in this process, in a pool and on a cluster: the same records, also when workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockscope.errors import RuleError, UsageError
from lockscope.nightly import tables, workers
from lockscope.nightly.examine import Job, broken
from lockscope.nightly.history import History
from lockscope.nightly.sources import Source, find
from lockscope.nightly.workers import Where
from tests.builders.nights import children

ROOT = Path(__file__).parents[2]
TRACES = [str(ROOT / "sample_traces" / f"{name}.dat") for name in (
    "stacks", "big_endian", "dirty_log", "legacy_mmu", "lossy", "instances", "bug_slots_lock_then_kvm_lock",
    "bug_mutex_under_mmu_lock", "memslot_stress",
)]  # fmt: skip


def jobs(*names: str) -> list[Job]:
    return [Job(Source(name), "n1", "0") for name in names]


def small(job: Job) -> bytes:
    """A worker's work that costs nothing; "poison" takes its worker with it, "busy" is never done with."""
    if "poison" in job.source.path:
        os._exit(1)
    if "mistake" in job.source.path:
        raise RuleError("book.toml", 3, "wanted a name")
    while "busy" in job.source.path:
        pass
    return broken(job, "made up", job.source.path)


def errors(results: workers.Results) -> dict[str, str]:
    return {job.source.path: tables.unpack(packed)["traces"]["error"][0].as_py() for job, packed in results}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def history(folder: Path, results: workers.Results) -> dict[str, bytes]:
    made = History(folder)
    for _, packed in results:
        made.keep(packed)
    made.commit()
    return contents(folder)


def killing(results: workers.Results, pids: list[int]) -> workers.Results:
    """The results; after the first one these processes are killed."""
    for number, one in enumerate(results):
        if number == 0:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        yield one


@pytest.mark.all
def test_a_job_that_no_worker_survives_is_a_row() -> None:
    found = errors(workers.in_pool(jobs("a", "poison", "b", "c"), 2, small))
    told = "poison: no verdict: the worker process was killed 3 times while analysing this file (out of memory?)"
    assert found == {"a": "made up", "b": "made up", "c": "made up", "poison": told}


@pytest.mark.all
def test_a_job_that_is_never_done_is_a_row_and_no_process_is_left() -> None:
    """It costs nobody else's try, and its time is given once."""
    before = children(os.getpid())  # other tests of this process have some that stay
    found = errors(workers.in_pool(jobs("a", "busy", "b", "busy2", "c"), 2, small, limit_s=5))
    told = ": no verdict: not done after 5 s (--time-limit), given up; is the file damaged?"
    made = dict.fromkeys(("a", "b", "c"), "made up")
    assert found == made | {"busy": f"busy{told}", "busy2": f"busy2{told}"}
    assert set(children(os.getpid())) <= set(before)


@pytest.mark.all
def test_a_mistake_of_the_user_s_ends_the_night() -> None:
    before = children(os.getpid())
    with pytest.raises(RuleError, match=r"book\.toml:3: wanted a name") as raised:
        list(workers.in_pool(jobs("mistake", "busy"), 2, small))
    assert raised.value.line == 3
    assert set(children(os.getpid())) <= set(before)


def test_memory_files_exist_in_this_process_alone() -> None:
    said: list[str] = []
    list(workers.results(jobs("memory://a", "memory://b"), Where(2), said.append))
    assert said == ["memory:// files exist in this process alone: one process reads them"]


@pytest.mark.parametrize(("paths", "processes"), [(("a", "b", "c"), 2), (("a",), 1)])
def test_one_machine_has_a_pool(monkeypatch: pytest.MonkeyPatch, paths: tuple[str, ...], processes: int) -> None:
    """Also for one trace, which may kill its reader; and no cluster, which listens."""
    monkeypatch.setattr(
        workers, "in_pool", lambda todo, number, limit_s: iter([(todo[0], bytes([number, int(limit_s)]))])
    )
    monkeypatch.setattr(workers, "on_cluster", None)
    found = workers.results(jobs(*paths), Where(2, limit_s=9), str)
    assert [packed for _, packed in found] == [bytes([processes, 9])]


def test_a_scheduler_without_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(workers, "on_cluster", lambda todo, address, limit_s: iter(()))
    for address in ("tls://host:8786", "tcp://host:8786"):
        list(workers.results(jobs("a"), Where(scheduler=address), said.append))
    (line,) = said
    assert line.startswith("--scheduler tcp://host:8786: nothing in it is encrypted or authenticated")


@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="--scheduler nowhere: no Dask scheduler answers there"):
        list(workers.results(jobs("a"), Where(scheduler="nowhere"), str))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The history as one process makes it."""
    return history(tmp_path_factory.mktemp("alone") / "h", workers.here([Job(s, "n1", "0") for s in find(TRACES)]))


@pytest.mark.all
def test_a_pool_makes_the_same_history(tmp_path: Path, alone: dict[str, bytes]) -> None:
    todo = [Job(s, "n1", "0") for s in find(TRACES)]

    def pool() -> Iterator[tuple[Job, bytes]]:
        for number, one in enumerate(workers.in_pool(todo, 2)):
            if number == 0:
                os.kill(children(os.getpid())[0], signal.SIGKILL)
            yield one

    assert history(tmp_path / "h", pool()) == alone


@pytest.mark.all
@pytest.mark.filterwarnings("default")  # of a cluster that loses workers
def test_a_job_that_a_cluster_is_never_done_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker is begun anew and serves again: there is one alone."""
    from distributed import LocalCluster

    monkeypatch.setattr(workers, "START_S", 15)

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        found = errors(workers.on_cluster(jobs("a", "busy", "b"), cluster.scheduler_address, 1, small))
    told = "busy: no verdict: not done after 1 s (--time-limit), given up; is the file damaged?"
    assert found == {"a": "made up", "b": "made up", "busy": told}


@pytest.mark.all
@pytest.mark.filterwarnings("default")  # of a cluster that loses workers
def test_a_cluster_makes_the_same_history_and_loses_a_worker(tmp_path: Path, alone: dict[str, bytes]) -> None:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50)
    with cluster, Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        assert len(set(pids) | {os.getpid()}) == 4
        todo = [Job(s, "n1", "0") for s in find(TRACES)]
        results = workers.results(todo, Where(scheduler=cluster.scheduler_address), str)
        assert history(tmp_path / "h", killing(results, pids[:1])) == alone
        assert len(alone) == len(tables.TABLES)
