"""Recordings of simulated hosts: the same for the same seed, readable, lossy where the buffer is small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lockscope
from lockscope.errors import UsageError
from lockscope.simulate import world as world_module
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.parameters import Parameters
from lockscope.simulate.run import simulate
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World

QUICK = Parameters(duration_ms=3)


@pytest.mark.parametrize("form", ["dat7", "dat7-none", "dat7-zlib", "dat6", "text", "perf"])
def test_same_seed_same_bytes(tmp_path: Path, form: str) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    for path, seed in zip(files, (5, 5, 6), strict=True):
        simulate("quiet-mixed", path, Parameters(duration_ms=2, seed=seed), format=form)
    one, again, other = (path.read_bytes() for path in files)
    assert one == again
    assert one != other


@pytest.mark.parametrize("form", ["dat7", "dat7-none", "dat7-zlib", "dat6", "text", "perf"])
def test_every_event_is_read_back(tmp_path: Path, form: str) -> None:
    done = simulate("quiet-mixed", tmp_path / "trace", QUICK, format=form)
    trace = lockscope.load(str(tmp_path / "trace"))
    assert trace.info()["events"] == done.events > 5_000
    switches = trace.events("sched_switch").to_pandas()
    assert {"qemu-kvm", "CPU 0/KVM", "ksmd"} <= set(switches.next_comm)
    assert switches.ts_ns.is_monotonic_increasing


def test_a_small_buffer_loses_what_the_recorder_says_it_lost(tmp_path: Path) -> None:
    done = simulate("quiet-mixed", tmp_path / "lossy.dat", Parameters(duration_ms=40, buffer_kib=64))
    whole = simulate("quiet-mixed", tmp_path / "whole.dat", Parameters(duration_ms=40))
    assert done.lost > 1_000
    assert done.events + done.lost == whole.events
    report = lockscope.analyze([str(tmp_path / "lossy.dat")])
    assert report.traces[0].lost_events == done.lost
    assert [f.code for f in report.findings if f.severity != "info"] == []


def test_the_truth_is_written_beside(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    simulate("order-slots-lock-then-kvm-lock", tmp_path / "trace.dat", QUICK, truth=truth)
    told = json.loads(truth.read_text())
    assert told["schema"] == "lockscope-truth/1"
    assert told["parameters"]["seed"] == 1
    assert [f["codes"] for f in told["findings"]] == [["LS102"], ["LS101"]]
    assert told["findings"][0]["classes"] == ["&kvm->slots_lock", "&kvm->lock"]
    ((pid, begin, end),) = told["findings"][0]["where"]
    assert pid > 1000
    assert 1_000_000_000 < begin < end


def test_a_skewed_local_clock_shifts_whole_cpus(tmp_path: Path) -> None:
    plain, skewed = tmp_path / "plain.dat", tmp_path / "skewed.dat"
    simulate("quiet-mixed", plain, QUICK)
    simulate("quiet-mixed", skewed, Parameters(duration_ms=3, clock="local", skew_ns=50_000))
    tables = [lockscope.load(str(p)).events("kvm_entry").to_pandas() for p in (plain, skewed)]
    first = [table.groupby("cpu").ts_ns.min() for table in tables]
    shift = first[1] - first[0]
    assert shift[0] == 0
    assert shift[1:].between(0, 50_000).all()
    assert shift.max() > 0
    assert lockscope.load(str(skewed)).info()["clock"] == "local"


@pytest.mark.parametrize("kernel", ["4.14", "6.12", "7.3"])
def test_stock_tracepoints_have_no_lock_events(tmp_path: Path, kernel: str) -> None:
    simulate("quiet-mixed", tmp_path / "trace.dat", Parameters(duration_ms=3, fidelity="stock", kernel=kernel))
    names = set(lockscope.load(str(tmp_path / "trace.dat")).all_events())
    assert "kvm:kvm_entry" in names
    assert not {n for n in names if n.startswith(("lockscope:", "lock:lock_"))}


def owned(path: Path, *, contention: bool) -> dict[tuple[int, str], tuple[int, int]]:
    """By owner and kind of lock: how many waits, and how long it made others wait."""
    kinds = {"&vcpu->mutex": "mutex", "&kvm->slots_lock": "mutex", "&ioapic->lock": "spinlock"}
    table = lockscope.load(str(path)).locks("owner", "class", contention=contention).to_pandas()
    table["kind"] = table["class"] if contention else table["class"].map(kinds)
    table = table[table.kind.isin({"mutex", "spinlock"})]
    sums = table.groupby(["owner_pid", "kind"])[["acquired", "wait_total_ns"]].sum()
    return {key: (int(n), int(ns)) for key, (n, ns) in zip(sums.index, sums.to_numpy().tolist(), strict=True)}


def test_contended_releases_name_the_owners_that_lock_events_name(tmp_path: Path) -> None:
    """Of the waits that both tell of; the two ways begin and end a wait some hundred ns apart."""
    simulate("quiet-mixed", tmp_path / "trace.dat", Parameters(duration_ms=60, kernel="7.3"))
    by_events = owned(tmp_path / "trace.dat", contention=False)
    by_contention = owned(tmp_path / "trace.dat", contention=True)
    assert sum(n for n, _ in by_contention.values()) > 300
    assert set(by_contention) == set(by_events)
    for who, (number, ns) in by_contention.items():
        assert abs(number - by_events[who][0]) <= 0.1 * by_events[who][0]
        assert abs(ns - by_events[who][1]) <= 0.1 * by_events[who][1]


@pytest.mark.parametrize(("kernel", "releases"), [("6.12", False), ("7.3", True)])
def test_contended_releases_came_with_7_2(tmp_path: Path, kernel: str, releases: bool) -> None:
    simulate("quiet-mixed", tmp_path / "trace.dat", Parameters(duration_ms=20, fidelity="stock", kernel=kernel))
    names = set(lockscope.load(str(tmp_path / "trace.dat")).all_events())
    assert ("lock:contended_release" in names, "lock:contention_begin" in names) == (releases, True)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"kernel": "5.4"}, "--kernel 5.4: not known (one of 4.14, 6.12, 7.3)"),
        ({"cpus": 0}, "--cpus 0: must be from 1 to 256"),
        ({"skew_ns": 5}, "only the clock 'local'"),
        ({"mmu": "tdp", "kernel": "4.14"}, "kernel 4.14 has not got it"),
        ({"near_miss": True}, "it has no near miss"),
    ],
)
def test_parameters_that_do_not_fit(tmp_path: Path, how: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace(")", r"\)")):
        simulate("quiet-mixed", tmp_path / "trace.dat", Parameters(**how))


def test_an_unknown_scenario_is_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean quiet-mixed"):
        simulate("quiet-mixd", tmp_path / "trace.dat")


def test_a_scenario_that_waits_for_ever_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plant(world: World) -> None:
        def plan(t: Task, vm: Vm) -> Work:
            while vm is not None:
                yield from world.sleep(t, 10_000_000)

        world.plans.append(plan)

    monkeypatch.setattr(world_module, "_PATIENCE", 1)
    endless = Scenario("endless", "a task waits for what never comes", "", plant, Mix(interrupts=False, ksm=False))
    with pytest.raises(RuntimeError, match="does not come to its end: 0 of its steps and 1 plans are left"):
        simulate(endless, tmp_path / "t.dat", Parameters(duration_ms=1))
