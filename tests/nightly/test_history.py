"""The history: what is committed, by whom, in what order, and what an accident leaves."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.nightly import tables
from lockscope.nightly.history import History
from tests.builders.nights import LOCK, SLOTS, add, check, classes, edge, finding, trace_row


def fill(history: History, hosts: str, night: str = "n1") -> None:
    for host in hosts:
        add(history, night, host, findings=[finding(night, host, "f" * 16, LOCK)], checks=[check(night, host, "LS101")],
            classes=classes(night, host, {LOCK: [1000, 2000]}),
            edges=[edge(LOCK, SLOTS, night=night, host=host)])  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def test_nothing_counts_before_the_commit(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    fill(history, "ab")
    assert history.nights() == []
    (run,) = history.commit()
    assert run.startswith("n1-")
    assert history.nights() == ["n1"]
    assert history.table("traces").num_rows == 2
    assert list((tmp_path / "h" / "pending").iterdir()) == []


def test_the_same_traces_give_the_same_bytes_whatever_their_order(tmp_path: Path) -> None:
    for name, hosts in (("one", "abc"), ("two", "cab")):
        history = History(tmp_path / name)
        fill(history, hosts)
        history.commit()
    assert contents(tmp_path / "one") == contents(tmp_path / "two") != {}


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    fill(History(tmp_path / "h"), "a")  # and the process ends here
    history = History(tmp_path / "h")
    digests, _ = history.known("0")
    assert digests == {"a-n1"}
    fill(history, "b")
    assert len(history.commit()) == 1
    assert history.table("traces").column("host").to_pylist() == ["a", "b"]


def test_a_commit_that_ended_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    fill(history, "a")
    history.commit()
    # findings of a run whose traces never came, and a file that was being written
    orphan = tmp_path / "h" / "findings" / "n1-000000000000.parquet"
    orphan.write_bytes(next((tmp_path / "h" / "findings").glob("*.parquet")).read_bytes())
    (tmp_path / "h" / "edges" / ".new-x").write_bytes(b"half")
    os.utime(tmp_path / "h" / "edges" / ".new-x", (1, 1))
    assert history.table("findings").num_rows == 1
    fill(history, "b")
    history.commit()
    assert not orphan.exists()
    assert [p.name for p in (tmp_path / "h" / "edges").glob(".*")] == []


def test_a_trace_counts_once(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    fill(history, "a")
    history.commit()
    fill(history, "a")
    assert history.commit() == []
    assert history.table("traces").num_rows == 1


def test_a_broken_file_is_looked_at_again_by_another_version(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    row = trace_row("n1", "a", "d1", error="broken", stamp="1:1")
    history.keep(tables.pack(tables.record({"traces": [row]})))
    history.commit()
    assert history.known("0") == ({"d1"}, {("a/d1.dat", "1:1")})
    assert history.known("1") == (frozenset(), frozenset())
    history.keep(tables.pack(tables.record({"traces": [trace_row("n2", "a", "d1")]})))
    assert len(history.commit()) == 1


def test_rows_of_one_host_add_up(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    for digest, holds in (("d1", [100] * 9), ("d2", [9000])):
        record = {
            "traces": [trace_row("n1", "a", digest)],
            "classes": classes("n1", "a", {LOCK: holds}),
            "edges": [edge(LOCK, SLOTS, host="a", guards=["!G", "H"] if digest == "d1" else ["G"])],
        }
        history.keep(tables.pack(tables.record(record)))
    history.commit()
    (row,) = history.table("classes").to_pylist()
    assert (row["holds"], row["hold_ns"], row["hold_max"]) == (10, 9900, 9000)
    assert 96 <= row["hold_p50"] <= 104
    (one,) = history.table("edges").to_pylist()
    assert (one["count"], one["hosts"], one["guards"]) == (2, 1, ["G"])


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(FormatError, match="is no history of lockscope nightly"):
        History(tmp_path)
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "history.json").write_text('{"schema": "lockscope-history/9"}')
    with pytest.raises(FormatError, match=r"wanted lockscope-history/1"):
        History(tmp_path / "h")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    fill(history, "a")
    history.commit()
    next((tmp_path / "h" / "edges").glob("*.parquet")).write_bytes(b"PAR1 no more")
    with pytest.raises(FormatError, match=r"edges/n1-\w+\.parquet: cannot be read"):
        history.table("edges")


def test_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    (tmp_path / "h" / "pending" / "d.arrow").write_bytes(b"no")
    assert history.known("0") == (frozenset(), frozenset())
    assert history.commit() == []


def _commit(folder: str, hosts: str, start: object) -> None:
    start.wait(60)
    history = History(folder)
    for host in hosts:
        fill(history, host)
        history.commit()


def test_two_at_once_on_one_history(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    both = [
        context.Process(target=_commit, args=(str(tmp_path / "h"), hosts, start)) for hosts in ("abcdefgh", "efghijkl")
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [p.exitcode for p in both] == [0, 0]
    history = History(tmp_path / "h")
    assert sorted(history.table("traces").column("host").to_pylist()) == list("abcdefghijkl")
    assert history.table("findings").num_rows == history.table("classes").num_rows == 12
