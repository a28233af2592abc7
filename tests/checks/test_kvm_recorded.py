"""The KVM checks on real recordings, as they are and with stretches of events dropped."""

from __future__ import annotations

import os
import random
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

import lockscope
from lockscope.evidence.gather import GatherOptions, gather
from lockscope.formats.open import open_trace
from lockscope.pipeline import judged, selected_checks
from lockscope.results.findings import Severity, Status
from lockscope.rules.load import choose
from lockscope.tables.events import LOSS, EventBatch, EventFormat, Reader, TraceInfo

SAMPLES = Path(__file__).parents[2] / "sample_traces"
KVM = ("LS2", "LS3", "LS4")
CORRECT = ("dirty_log", "instances", "legacy_mmu", "lossy", "memslot_stress", "stacks", "stock61_dirty_log_auto",
           "stock61_smm")  # fmt: skip
DROPS = 200  # of each recording, four at a time


def loud(name: str, **options: object) -> dict[str, int]:
    report = lockscope.analyze([str(SAMPLES / f"{name}.dat")], lockscope.AnalyzeOptions(select=KVM, **options))
    return {f.code: f.count for f in report.findings if f.severity is not Severity.INFO}


@pytest.mark.parametrize("name", CORRECT)
@pytest.mark.parametrize("excluded", [(), ("lockscope:*",), ("lock:*",), ("lockscope:lockdep_acquire",)])
def test_correct_kernels_are_quiet(name: str, excluded: tuple[str, ...]) -> None:
    events = [f.full_name for f in open_trace(str(SAMPLES / f"{name}.dat")).formats]
    here = tuple(p for p in excluded if any(fnmatchcase(e, p) for e in events))  # what matches nothing is refused
    assert loud(name, exclude_events=here) == {}


def test_planted_defects() -> None:
    assert loud("bug_clear_log_without_flush") == {"LS301": 2048}
    assert set(loud("bug_srcu_then_slots_lock")) == {"LS204"}
    assert loud("bug_mutex_under_mmu_lock") == {}  # LS109
    assert loud("bug_slots_lock_then_kvm_lock") == {}  # LS102


def statuses(name: str, **options: object) -> dict[str, tuple[str, str]]:
    report = lockscope.analyze([str(SAMPLES / f"{name}.dat")], lockscope.AnalyzeOptions(**options))
    return {c.code: (c.status.value, c.verdict.value) for c in report.checks}


@pytest.mark.parametrize("code", ["LS304", "LS305", "LS306", "LS307", "LS401"])
def test_an_event_that_was_switched_on_and_quiet_counts_as_recorded(code: str) -> None:
    """No fast page fault in it, and the file says that they were recorded."""
    assert statuses("memslot_stress", select=KVM)[code] == ("ran", "clean")
    left_out = statuses("memslot_stress", select=KVM, exclude_events=("kvmmmu:*", "kvm:*"))
    assert left_out[code] == ("skipped", "unknown")


STOCK = {
    "dirty_log": {"LS204", "LS206", "LS303", "LS304", "LS307", "LS401"},
    "legacy_mmu": {"LS204", "LS206", "LS303", "LS304", "LS305", "LS307", "LS401"},
    "stock61_dirty_log_auto": {"LS304", "LS306", "LS307", "LS401"},  # no lockdep: without probes no lock is seen
}


@pytest.mark.parametrize("name", sorted(STOCK))
def test_tracepoints_alone_decide_some_and_say_what_others_lack(name: str) -> None:
    options = lockscope.AnalyzeOptions(select=KVM, exclude_events=("lockscope:*",))
    checks = lockscope.analyze([str(SAMPLES / f"{name}.dat")], options).checks
    assert {c.code for c in checks if c.verdict.value == "clean"} == STOCK[name]
    others = [c for c in checks if c.code not in STOCK[name]]
    assert {c.status for c in others} <= {Status.PARTIAL, Status.SKIPPED}
    lacks = {c.code: c.reason or "" for c in others}
    assert all("lockscope:" in lacks[code] for code in ("LS201", "LS202", "LS203", "LS205", "LS301", "LS302"))
    assert all(lacks.values())


def test_the_legacy_mmus_zaps_are_not_seen() -> None:
    found = statuses("legacy_mmu", select=KVM)
    assert (found["LS301"], found["LS302"]) == (("ran", "clean"), ("partial", "unknown"))
    without = statuses("legacy_mmu", select=KVM, exclude_events=("lockscope:mmu_spte_update*",))
    assert {without[code] for code in ("LS301", "LS302", "LS306")} == {("skipped", "unknown")}


def test_a_pid_filter_shows_in_a_short_cut() -> None:
    assert statuses("bug_clear_log_without_flush", select=("LS105",))["LS105"] == ("partial", "unknown")


class Kept:
    """A trace that was read already."""

    name = "kept"

    def __init__(self, info: TraceInfo, formats: list[EventFormat], batches: list[EventBatch]) -> None:
        self.info, self.formats, self._batches = info, formats, batches

    def batches(self, wanted: object = None, *, rows: int = 0) -> list[EventBatch]:
        return self._batches


def dropped(batch: EventBatch, rng: random.Random, drops: int) -> EventBatch:
    """Stretches of one stream's events become a loss before its next event."""
    keep, losses = np.ones(len(batch), bool), set()
    for _ in range(drops):
        rows = np.flatnonzero(batch.stream == rng.choice(np.unique(batch.stream).tolist()))
        length = min(int(2 ** rng.uniform(0, 11)), len(rows) // 2)
        begin = rng.randrange(len(rows) - length)
        keep[rows[begin : begin + length]] = False
        losses.add(int(rows[begin + length]))
    places = np.concatenate((np.flatnonzero(keep), np.array(sorted(losses))))
    is_loss = np.arange(len(places)) >= np.count_nonzero(keep)
    order = np.lexsort((~is_loss, places))
    places, is_loss = places[order], is_loss[order]
    kind, at = batch.kind[places].copy(), batch.at[places].copy()
    kind[is_loss], at[is_loss] = LOSS, -1
    return EventBatch(
        batch.data, batch.ts_ns[places], at, batch.size[places], kind, batch.stream[places], 0, batch.layout
    )


def losing(path: Path) -> None:
    """Drops raise no alarm, and no check is said to have run in full."""
    reader: Reader = open_trace(str(path))
    (whole,) = [batch for batch in reader.batches(None, rows=1 << 22) if len(batch)]
    rules, _ = choose(reader.info.kernel)
    checks = selected_checks(KVM)
    facts = tuple(sorted({fact for check in checks for fact in check.facts}))
    for seed in range(DROPS // 4):
        lossy = Kept(reader.info, reader.formats, [dropped(whole, random.Random(seed), 4)])
        runs, found = judged(gather(lossy, rules, GatherOptions(facts)).evidence, checks)
        assert [(f.code, f.message) for f in found if f.severity is not Severity.INFO] == [], f"{path.name} seed {seed}"
        assert {run.status for run in runs} <= {Status.PARTIAL, Status.SKIPPED}


@pytest.mark.all
@pytest.mark.parametrize("name", ["dirty_log", "legacy_mmu", "memslot_stress", "stock61_dirty_log_auto"])
def test_losses_raise_no_alarm(name: str) -> None:
    losing(SAMPLES / f"{name}.dat")


@pytest.mark.all
def test_losses_raise_no_alarm_in_other_recordings() -> None:
    """Those of LOCKSCOPE_TRACES that are not of a planted defect."""
    folder = Path(os.environ.get("LOCKSCOPE_TRACES", SAMPLES))
    paths = [
        p for p in sorted(folder.glob("*.dat")) if not p.name.startswith("bug_") and p.name != "selftest_train.dat"
    ]
    assert paths
    for path in paths:
        losing(path)


@pytest.mark.parametrize("name", ["dirty_log", "memslot_stress"])
@pytest.mark.parametrize("share", [0.55, 0.8, 0.95])
def test_a_file_that_breaks_off(name: str, share: float, tmp_path: Path) -> None:
    """One CPU's data lies behind the other's: of the last one all is missing from somewhere on, or there is none."""
    whole = (SAMPLES / f"{name}.dat").read_bytes()
    cut = tmp_path / "cut.dat"
    cut.write_bytes(whole[: int(len(whole) * share)])
    report = lockscope.analyze([str(cut)])
    assert [(f.code, f.message) for f in report.findings if f.severity is not Severity.INFO] == []
    assert {c.verdict.value for c in report.checks if c.code < "LS9"} == {"unknown"}
