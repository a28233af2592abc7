"""What is recorded: the probe pack of the contract, narrowed to kernels and checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lockscope.checks.check import all_checks
from lockscope.recording.catalogue import Wanted, all_codes, catalogue, chosen_events, chosen_probes
from lockscope.recording.definitions import ways
from lockscope.recording.listing import best_way, tracefs_lines
from lockscope.tables.events import EventFormat, Field
from lockscope.tables.tape import source_of

PACKS = Path(__file__).parents[2] / "docs/probes"
STOCK = Wanted((6, 1), lockdep=False)
LOCKDEP = Wanted((6, 12), lockdep=True)


def events_of(wanted: Wanted) -> list[str]:
    return [p.event for p in chosen_probes(wanted)]


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("x86-lockdep.events", LOCKDEP),
        ("x86-stock.events", STOCK),
        ("x86-rt.events", Wanted((6, 1), lockdep=False, rt=True)),
    ],
)
def test_the_lines_are_those_of_the_documented_packs(file: str, wanted: Wanted) -> None:
    documented = set((PACKS / file).read_text().splitlines())
    written = {line for line in tracefs_lines(wanted) if not line.startswith("#")}
    assert documented <= written
    every = {e for p in catalogue().probes for e in (p.event, p.entry)}
    assert {re.split(r"[ /]", line)[1] for line in written - documented} <= every


def test_every_check_is_for_something_and_everything_for_a_check() -> None:
    judging = {code for code, check in all_checks().items() if not check.notice}
    assert all_codes() == judging


@pytest.mark.parametrize("probe", catalogue().probes, ids=[f"{p.event}-{p.since}" for p in catalogue().probes])
def test_what_is_recorded_is_read(probe) -> None:
    """Each way gives fields that a source knows; what is left of a pair without its arguments is only looked at."""
    for way in ways(probe):
        for line in way:
            kind, _, name = line.split(maxsplit=1)[0].partition(":")
            fields = [word.partition("=")[0] for word in line.split()[2:]]
            fields += ["__probe_func", "__probe_ret_ip"] if kind == "r" or "%return" in line else ["__probe_ip"]
            made = tuple(Field(f, "u64", 8 + 8 * i, 8, False) for i, f in enumerate(fields))
            event = EventFormat(2, 1000, *name.split("/"), made)
            read = source_of(event) is not None
            assert read or line.startswith(("r:lockscope/mmu_spte_update ", "p:lockscope/kvm_arch_flush_")), line


def test_versions_choose_functions() -> None:
    assert "kvm_flush_remote_tlbs_range" in events_of(LOCKDEP)
    assert "kvm_flush_remote_tlbs_with_address" not in events_of(LOCKDEP)
    assert "kvm_flush_remote_tlbs_with_address" in events_of(STOCK)
    old = {p.event: p.function for p in chosen_probes(Wanted((5, 10), lockdep=True))}
    assert old["lockdep_init"] == "lockdep_init_map_waits"
    assert "lockdep_acquire" not in old


def test_codes_narrow() -> None:
    few = Wanted((6, 1), frozenset({"LS202"}), lockdep=False)
    assert events_of(few) == ["srcu_read_lock", "srcu_read_unlock", "synchronize_srcu", "synchronize_srcu_expedited",
                              "kvm_arch_vcpu_ioctl_run", "kvm_destroy_vm"]  # fmt: skip
    assert [e.name for e in chosen_events(few)] == [
        "sched:sched_switch", "sched:sched_process_exit", "raw_syscalls", "kvm:kvm_entry", "kvm:kvm_exit",
    ]  # fmt: skip
    assert "kvm:kvm_entry" not in [e.name for e in chosen_events(STOCK)]


def test_spinlocks_on_request_and_where_mmu_lock_is_one() -> None:
    assert "raw_spin_lock" not in events_of(STOCK)
    assert "raw_spin_lock" in events_of(Wanted((6, 1), lockdep=False, locks=frozenset({"spinlock"})))
    assert "raw_spin_lock" in events_of(Wanted((5, 10), lockdep=False))
    assert "down_read" not in events_of(Wanted((5, 10), lockdep=False))


def test_the_attempt_is_set_last() -> None:
    """So that it runs first, while the caller still stands where the return probe puts its trampoline."""
    pairs = [way for p in catalogue().probes for way in ways(p) if p.entry and way[0][0] in "pr"]
    assert {tuple(line[0] for line in way) for way in pairs} == {("r", "p")}
    assert sum("caller=+0(%sp)" in way[1] for way in pairs) == len(pairs) - 1  # all but SRCU's


def test_functions_of_preempt_rt() -> None:
    rt, plain = (set(events_of(Wanted((6, 12), lockdep=False, rt=rt))) for rt in (True, False))
    assert {e for e in rt - plain if e.startswith("rt_")} == rt - plain == {
        f"rt_{kind}_{what}" for kind in ("read", "write") for what in ("lock", "trylock", "unlock")
    }  # fmt: skip
    assert {e.split("_")[1] for e in plain - rt} == {"read", "write"}
    spin = {"locks": frozenset({"spinlock"}), "lockdep": False}
    rt, plain = (set(events_of(Wanted((6, 12), rt=rt, **spin))) for rt in (True, False))
    assert {e for e in rt if "spin" in e} - {e for e in plain if "spin" in e} == {
        "rt_spin_lock", "rt_spin_trylock", "rt_spin_trylock_bh", "rt_spin_unlock",
    }  # fmt: skip
    assert "raw_spin_lock" in rt & plain
    assert events_of(Wanted((6, 12), lockdep=True, rt=True)) == events_of(LOCKDEP)


def test_ways_by_what_the_kernel_has() -> None:
    srcu = next(p for p in catalogue().probes if p.event == "srcu_read_lock")
    returned, entry = ways(srcu)[1]
    assert best_way(srcu, (6, 9), True)[0].startswith("f:lockscope/srcu_read_lock __srcu_read_lock%return ssp=$arg1")
    assert best_way(srcu, (6, 8), True) == (returned, entry)
    assert best_way(srcu, (6, 12), False) == (returned, entry)
    assert entry == "p:lockscope/srcu_read_lock_entry __srcu_read_lock ssp=%di:x64"
    assert returned == "r:lockscope/srcu_read_lock __srcu_read_lock idx=$retval:s32"
