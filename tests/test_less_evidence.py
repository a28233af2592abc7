"""Less of a recording never says more: no new alarm, and none that is certain where the whole was not."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.formats.open import open_trace
from tests.builders.altered import Recording, alarms, fresh, report_of

SAMPLES = Path(__file__).parents[1] / "sample_traces"
CLEAN = ("dirty_log", "memslot_stress", "legacy_mmu", "stock61_dirty_log_auto")
BUGS = {
    "bug_clear_log_without_flush": "LS301",
    "bug_mutex_under_mmu_lock": "LS109",
    "bug_slots_lock_then_kvm_lock": "LS102",
    "bug_srcu_then_slots_lock": "LS204",
}
OTHERS = ("instances", "lossy", "stacks", "stock61_smm", "big_endian", *BUGS)
PLACES = 200


@cache
def recording(name: str) -> Recording:
    return Recording(str(SAMPLES / f"{name}.dat"))


@cache
def whole(name: str) -> dict[tuple[str, tuple[str, ...]], str]:
    of = recording(name)
    return alarms(report_of(of.paused(of.end + 1, of.end + 1)))


def pauses(name: str, number: int, seed: int = 11) -> list[tuple[int, int]]:
    """Times at which a recording was paused, for 0.2 to 50 ms: a write to tracing_on alone takes so long."""
    of, rng = recording(name), random.Random(seed)
    found = []
    for _ in range(number):
        begin = rng.randrange(of.begin, of.end)
        found.append((begin, begin + int(10 ** rng.uniform(5.3, 7.7))))
    return found


def test_nothing_is_doubted_in_whole_recordings() -> None:
    for name in CLEAN:
        report = report_of(recording(name).paused(0, 0))
        assert alarms(report) == {}
        assert report.traces[0].lost_events == 0


@pytest.mark.parametrize(("name", "code"), BUGS.items())
def test_what_is_wrong_stays_so(name: str, code: str) -> None:
    report = report_of(recording(name).paused(0, 0))
    assert code in {code for code, _ in alarms(report)}
    assert report.traces[0].lost_events == 0


# Each of these gave LS105, LS106, LS201, LS203, LS204 or LS303, some as certain, before pauses were recognised.
@pytest.mark.parametrize(
    ("name", "begin", "length"),
    [
        ("dirty_log", 10_330_493_979, 216_902),
        ("dirty_log", 10_302_505_155, 26_547_054),
        ("dirty_log", 10_477_635_601, 6_950_472),
        ("memslot_stress", 11_312_911_555, 1_276_375),
        ("legacy_mmu", 11_913_314_949, 1_491_875),
        # LS105: released where the task held others, which were taken after the pause; and where the preempt count
        # is that of another spinning lock. LS204: a lock around a grace period. LS104: a nest lock.
        ("memslot_stress", 11_322_283_425, 11_841_265),
        ("memslot_stress", 11_180_677_720, 704_938),
        ("memslot_stress", 11_330_664_898, 2_728_150),
        ("memslot_stress", 11_296_882_078, 565_099),
        ("memslot_stress", 11_245_471_522, 11_716_912),
    ],
)
def test_a_paused_recording_raises_no_alarm(name: str, begin: int, length: int) -> None:
    report = report_of(recording(name).paused(begin, begin + length))
    assert fresh(whole(name), alarms(report)) == []


def test_a_pause_that_events_contradict_is_said_to_be_one() -> None:
    of = recording("dirty_log")
    report = report_of(of.paused(10_407_660_061, 10_428_760_061))
    (kind,) = [lost["kind"] for lost in report.traces[0].coverage["lost"] if "paused" in lost["kind"]]
    assert kind == "no event on any CPU for 21.1 ms from 10.407660060: paused?"
    assert report.traces[0].lost_events is None
    assert {c.code for c in report.checks if str(c.verdict) == "clean"} <= {"LS901", "LS902", "LS903"}


@pytest.mark.parametrize("event", ["lock_release", "srcu_read_unlock", "srcu_read_lock"])
def test_an_event_switched_off_half_way(event: str) -> None:
    of = recording("dirty_log")
    (kind,) = [f.index for f in of.reader.formats if f.name == event]
    report = report_of(of.without(kind, (of.begin + of.end) // 2))
    assert alarms(report) == {}
    assert report.traces[0].lost_events is None
    assert any(f"{event} stopped coming" in lost["kind"] for lost in report.traces[0].coverage["lost"])


def test_an_event_that_never_came_was_not_recorded() -> None:
    of = recording("dirty_log")
    (kind,) = [f.index for f in of.reader.formats if f.name == "lock_release"]
    report = report_of(of.without(kind))
    assert alarms(report) == {}
    assert {c.code: str(c.status) for c in report.checks}["LS102"] == "skipped"


# trace-cmd split -e counts by buffer: the locks' one ended here, and LS401 was found in what followed.
@pytest.mark.parametrize("at", [70_374_000_000, 70_393_067_040, 70_411_545_055])
def test_a_buffer_that_ends_early_raises_no_alarm(at: int) -> None:
    report = report_of(recording("instances").ended(at, buffer=""))
    assert alarms(report) == {}
    (kind,) = [lost["kind"] for lost in report.traces[0].coverage["lost"] if "ends at" in lost["kind"]]
    assert kind.startswith("buffer top ends at 70.")
    assert "LS401" not in {c.code for c in report.checks if str(c.verdict) == "clean"}


def test_a_buffer_that_had_no_more_to_say_costs_nothing() -> None:
    """The VM's last event is long before the locks' last: nothing is found behind it, so nothing is doubted."""
    report = report_of(recording("instances").ended(70_420_000_000, buffer="kvm"))
    assert alarms(report) == {}
    assert report.traces[0].lost_events == 0


def test_two_buffers_that_are_90_s_apart_are_not_on_one_clock() -> None:
    """trace-cmd writes the top instance's clock for each: locks and VM then look as if one came after the other."""
    report = report_of(recording("instances").shifted(90_000_000_000, "kvm"))
    assert alarms(report) == {}
    (kind,) = [lost["kind"] for lost in report.traces[0].coverage["lost"] if "another clock" in lost["kind"]]
    assert kind == "buffer kvm is 89.874 s away from buffer top (another clock?): left out"
    assert {c.code for c in report.checks if str(c.verdict) == "clean"} <= {"LS901", "LS902", "LS903"}


def test_one_cpu_of_two_is_said_to_be_one() -> None:
    report = report_of(recording("memslot_stress").of_cpu(0))
    assert alarms(report) == {}
    assert report.traces[0].lost_events is None
    told = [lost["kind"] for lost in report.traces[0].coverage["lost"]]
    assert "none of CPU 1 is in the trace, and tasks may have run there" in told


def test_a_file_cut_before_its_first_buffer_is_not_clean(tmp_path: Path) -> None:
    whole_file = (SAMPLES / "dirty_log.dat").read_bytes()
    cut = tmp_path / "cut.dat"
    cut.write_bytes(whole_file[:60_000])
    report = report_of(open_trace(str(cut)))
    assert report.traces[0].lost_events is None
    assert {c.code for c in report.checks if str(c.verdict) == "clean" and c.code < "LS9"} == set()


def test_a_trace_without_events_has_no_verdict() -> None:
    """Every check skipped is exit status 2; LS2xx and LS3xx were in part."""
    report = report_of(recording("dirty_log").paused(0, 1 << 62))
    assert {str(c.status) for c in report.checks if c.code < "LS9"} == {"skipped"}
    assert report.verdict == "unknown"


def test_set_spte_alone_does_not_say_which_mmu_it_was() -> None:
    """LS303 was certain in recordings of the TDP MMU without its own event."""
    of = recording("bug_srcu_then_slots_lock")
    (kind,) = [f.index for f in of.reader.formats if f.name == "kvm_tdp_mmu_spte_changed"]
    report = report_of(of.without(kind))
    assert {code for code, _ in alarms(report)} == {"LS204"}
    (run,) = [c for c in report.checks if c.code == "LS303"]
    assert (str(run.status), str(run.verdict)) == ("partial", "unknown")
    assert "does not say which MMU it was" in (run.reason or "")


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("name", [*CLEAN, *OTHERS])
def test_cuts_anywhere(name: str, tmp_path: Path) -> None:
    data, bad = (SAMPLES / f"{name}.dat").read_bytes(), []
    for i in range(1, PLACES):
        cut = tmp_path / "cut.dat"
        cut.write_bytes(data[: len(data) * i // PLACES])
        try:
            report = report_of(open_trace(str(cut)))
        except FormatError:
            continue  # not even its head is there
        clean = [c.code for c in report.checks if str(c.verdict) == "clean" and c.code < "LS9"]
        if fresh(whole(name), alarms(report)) or (clean and report.traces[0].lost_events == 0):
            bad.append((i, alarms(report), clean))
    assert bad == []


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("name", [*CLEAN, *OTHERS])
def test_pauses_anywhere(name: str) -> None:
    of = recording(name)
    bad = [
        (at, found) for at in pauses(name, PLACES) if (found := fresh(whole(name), alarms(report_of(of.paused(*at)))))
    ]
    assert bad == []


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("name", [*CLEAN, *OTHERS])
def test_one_cpu_ends_early(name: str) -> None:
    of, bad = recording(name), []
    for cpu in sorted({s.cpu for s in of.reader.info.streams}):
        for at, _ in pauses(name, PLACES // 2, seed=cpu):
            if found := fresh(whole(name), alarms(report_of(of.ended(at, cpu=cpu)))):
                bad.append((cpu, at, found))
    assert bad == []


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("buffer", ["", "kvm"])
def test_one_buffer_ends_early(buffer: str) -> None:
    of = recording("instances")
    ends = [(at, alarms(report_of(of.ended(at, buffer=buffer)))) for at, _ in pauses("instances", PLACES)]
    assert [(at, bad) for at, found in ends if (bad := fresh(whole("instances"), found))] == []


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("name", [*CLEAN, *OTHERS])
def test_one_cpu_and_one_task(name: str) -> None:
    of = recording(name)
    less = [of.of_cpu(cpu) for cpu in sorted({s.cpu for s in of.reader.info.streams})]
    less += [of.of_task(pid) for pid in of.tasks]
    assert [fresh(whole(name), alarms(report_of(r))) for r in less] == [[]] * len(less)


# A flush that was not seen, of a kernel where one event tells of them, is what a bug looks like.
_NO_PARTNER = ("kvm_flush_remote_tlbs",)


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("name", [*CLEAN, *OTHERS])
def test_one_type_of_events_lost_alone(name: str) -> None:
    of = recording(name)
    bad = []
    for kind in of.kinds:
        for at in (0, *((of.begin * (4 - q) + of.end * q) // 4 for q in (1, 2, 3))):
            found = fresh(whole(name), alarms(report_of(of.without(kind, at))))
            if found and not (name.startswith("stock") and of.reader.formats[kind].name in _NO_PARTNER):
                bad.append((of.reader.formats[kind].name, at, found))
    assert bad == []
