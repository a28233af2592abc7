"""The 6.12 model against recordings of 6.12.117: the same operations take the same locks in the same order."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from lockscope.simulate.parameters import Parameters
from lockscope.simulate.run import simulate
from tests.builders.operations import Sequence, operations, shown

SAMPLES = Path(__file__).parents[2] / "sample_traces"
FOLDER = Path(os.environ.get("LOCKSCOPE_TRACES", SAMPLES))
RECORDED = ("dirty_log.dat", "dirty_log_auto.dat", "memslot_stress.dat", "legacy_mmu.dat", "vcpu_state.dat")
MODEL = (
    ("quiet-mixed", None), ("quiet-dirty-log", None), ("quiet-dirty-log-auto", None), ("quiet-memslots", None),
    ("quiet-dirty-log-auto", "legacy"), ("quiet-dirty-log", "legacy"),
)  # fmt: skip

# What recordings have and the model has not: a pattern of the sequence, and why.
DIFFERENCES: dict[str, tuple[tuple[str, str], ...]] = {
    "page fault": (
        ("hv_lock", "the guest's clock is updated on the way back in: here only at the first run"),
        (r"-&kvm->srcu \+&kvm->srcu|\+&kvm->srcu -&kvm->srcu$|^\+&kvm->srcu -&kvm->srcu \+|-&kvm->srcu -&kvm->srcu",
         "the task is switched out on its way: steal time is told in a short read section of its own"),
        ("tdp_mmu_pages_lock", "a fault after a memslot's deletion loads the new root before the next entry"),
        ("gpc|vcpu->mutex|irqfds|apic|tsc_write", "the fault is the first of a KVM_RUN, with its setting up"),
        (r"\+srcu|mmu_notifier", "getting the page makes memory management call its own notifiers"),
        ("ioapic|irq_srcu", "an exit to the interrupt controller in the same stretch"),
    ),
    "destroy VM": (
        ("tdp_mmu_pages_lock", "vCPUs that never ran have no root to give back: the VM's own goes later"),
    ),
    "create vCPU": (
        ("hv_lock|xen_lock|gpc->lock", "state_test switches Hyper-V features on"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Sequence]]:
    """Every order of locks that the simulated host shows, by operation."""
    found: dict[str, set[Sequence]] = {}
    place = tmp_path_factory.mktemp("model") / "trace.dat"
    for name, mmu in MODEL:
        simulate(name, place, Parameters(duration_ms=10, mmu=mmu), format="dat7-none")
        for operation, sequences in operations(place).items():
            found.setdefault(operation, set()).update(sequences)
    return found


def unexplained(path: Path, model: dict[str, set[Sequence]]) -> tuple[Counter[str], list[str]]:
    """How many kinds of sequences agree, and those that neither agree nor are listed."""
    agreed: Counter[str] = Counter()
    odd = []
    for operation, sequences in operations(path).items():
        for sequence in sequences:
            if sequence in model[operation]:
                agreed[operation] += 1
            elif not any(re.search(pattern, shown(sequence)) for pattern, _ in DIFFERENCES.get(operation, ())):
                odd.append(f"{operation}: {shown(sequence)}")
    return agreed, odd


def test_the_samples_agree(model: dict[str, set[Sequence]]) -> None:
    agreed: Counter[str] = Counter()
    for name in ("dirty_log.dat", "memslot_stress.dat"):
        some, odd = unexplained(SAMPLES / name, model)
        assert odd == []
        agreed += some
    assert agreed["page fault"] >= 2


@pytest.mark.all
@pytest.mark.parametrize("name", RECORDED)
def test_whole_recordings_agree(name: str, model: dict[str, set[Sequence]]) -> None:
    path = FOLDER / name
    if not path.exists():
        path = SAMPLES / "dirty_log.dat"
    agreed, odd = unexplained(path, model)
    assert odd == []
    assert agreed.total() >= 2


def test_every_operation_is_in_the_model(model: dict[str, set[Sequence]]) -> None:
    assert {"create VM", "create irqchip", "create vCPU", "set memslot", "page fault", "notifier", "get dirty log",
            "clear dirty log", "destroy VM"} <= set(model)  # fmt: skip
