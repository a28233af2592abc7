"""``make kernels`` without a kernel: each comparison on what has not changed, and on what has."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.kvm.spte_layouts import LAYOUTS
from lockscope.rules.load import choose
from tests.lab.compare import document, events, functions, lockdep, sptes

SWITCH = """name: kvm_age_hva
ID: 700
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long start;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned long end;\toffset:16;\tsize:8;\tsigned:0;

print fmt: "mmu notifier age hva: %#016lx -- %#016lx", REC->start, REC->end
"""
LOCKDEP_TYPES = """
enum lockdep_wait_type {
	LD_WAIT_INV = 0,	/* not checked, catch all */

	LD_WAIT_FREE,		/* wait free, rcu etc.. */
	LD_WAIT_SPIN,		/* spin loops, raw_spinlock_t etc.. */

#ifdef CONFIG_PROVE_RAW_LOCK_NESTING
	LD_WAIT_CONFIG,		/* preemptible in PREEMPT_RT, spinlock_t etc.. */
#else
	LD_WAIT_CONFIG = LD_WAIT_SPIN,
#endif
	LD_WAIT_SLEEP,		/* sleeping locks, mutex_t etc.. */

	LD_WAIT_MAX,		/* must be last */
};

enum lockdep_lock_type {
	LD_LOCK_NORMAL = 0,	/* normal, catch all */
	LD_LOCK_PERCPU,		/* percpu */
	LD_LOCK_WAIT_OVERRIDE,	/* annotation */
	LD_LOCK_MAX,
};

struct lockdep_map {
	struct lock_class_key		*key;
	struct lock_class		*class_cache[NR_LOCKDEP_CACHING_CLASSES];
	const char			*name;
	u8				wait_type_outer; /* can be taken in this context */
	u8				wait_type_inner; /* presents this context */
	u8				lock_type;
	/* u8				hole; */
#ifdef CONFIG_LOCK_STAT
	int				cpu;
	unsigned long			ip;
#endif
};
"""
LOCK_EVENT = """
TRACE_EVENT(lock_acquire,

	TP_PROTO(struct lockdep_map *lock, unsigned int subclass,
		int trylock, int read, int check,
		struct lockdep_map *next_lock, unsigned long ip),

	TP_ARGS(lock, subclass, trylock, read, check, next_lock, ip),
"""
DOCUMENT = """1. Acquisition Orders
---------------------

- cpus_read_lock() is taken outside kvm_lock

- kvm->lock is taken outside kvm->slots_lock and kvm->irq_lock

- kvm->slots_lock is taken outside kvm->irq_lock, though acquiring
  them together is quite rare.

3. Reference
------------

``kvm_lock``
^^^^^^^^^^^^

:Type:		mutex
:Arch:		any

``kvm_arch::tsc_write_lock``
^^^^^^^^^^^^^^^^^^^^^^^^^^^^

:Type:		raw_spinlock_t
"""
ROLE = """
union kvm_mmu_page_role {
	u32 word;
	struct {
		unsigned level:4;
		unsigned has_4_byte_gpte:1;
		unsigned quadrant:2;
		unsigned direct:1;
		/* 4 since 7.3 */
		unsigned access:3;
	};
};
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    for name, text in (
        ("release", "6.12.3 #1 SMP\n"),
        ("source/include/linux/lockdep_types.h", LOCKDEP_TYPES),
        ("source/include/trace/events/lock.h", LOCK_EVENT),
        ("source/Documentation/virt/kvm/locking.rst", DOCUMENT),
        ("source/arch/x86/include/asm/kvm_host.h", ROLE),
        ("events/kvm/kvm_age_hva/format", SWITCH),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_events(kernel: Path) -> None:
    now = events.of_kernel(kernel)
    assert list(events.differences(now, now)) == []
    place = kernel / "events/kvm/kvm_age_hva/format"
    changed = SWITCH.replace("unsigned long end;\toffset:16;\tsize:8", "u32 count;\toffset:16;\tsize:4")
    place.write_text(changed)
    (kernel / "events/kvm/kvm_new").mkdir()
    (kernel / "events/kvm/kvm_new/format").write_text(SWITCH.replace("kvm_age_hva", "kvm_new"))
    said = [str(e) for e in events.differences(events.of_kernel(kernel), now)]
    where = "lockscope/tables/sources_kvm.py"
    assert said == [
        f"{where}: kvm:kvm_age_hva has a new field count (u32, 4 bytes)",
        f"{where}: kvm:kvm_age_hva has no field end any more",
        "lockscope/recording/probes.toml (recorded, not read): kvm:kvm_new is new: start, end",
    ]
    gone = [str(e) for e in events.differences({"kvm:kvm_other": now["kvm:kvm_age_hva"]}, now)]
    assert f"{where}: kvm:kvm_age_hva is gone" in gone
    other = {"kvm:kvm_age_hva": now["kvm:kvm_age_hva"] | {"print": '"%lx", REC->start'}}
    assert [e.where for e in events.differences(other, now)] == ["lockscope/formats (the text of an event)"]


def test_a_field_that_is_read_and_gone() -> None:
    fields = {"prev_comm": "char[16], 16 bytes", "next_pid": "pid_t, 4 bytes, signed"}
    made = {"raw_syscalls:sys_enter": {"fields": fields, "print": ""}}
    assert [e.what for e in events.differences(made, made)] == [
        "raw_syscalls:sys_enter has no field args, read as arg0",
        "raw_syscalls:sys_enter has no field args, read as arg1",
    ]


def test_lock_functions(kernel: Path) -> None:
    names = ["mutex_lock", "mutex_unlock", "_raw_spin_lock_new", "vfs_read"]
    (kernel / "kallsyms").write_text("".join(f"ffffffff81000000 T {n}\n" for n in names))
    (kernel / "available_filter_functions").write_text("\n".join(names) + "\n")
    found = functions.of_kernel(kernel)
    assert found["others"] == ["_raw_spin_lock_new"]
    assert "mutex_lock" not in found["missing"]
    assert "mutex_trylock" in found["missing"]
    assert list(functions.differences(found, found)) == []
    before = {"missing": [*found["missing"][1:], "mutex_lock"], "others": []}
    said = [e.what for e in functions.differences(found, before)]
    assert said == [
        f"{found['missing'][0]} cannot be probed any more: renamed, inlined or gone (until = ...)",
        "mutex_lock is there (again)",
        "_raw_spin_lock_new() is a lock function that is not probed",
    ]


def test_lockdeps_structures(kernel: Path) -> None:
    assert list(lockdep.differences(kernel)) == []
    types = kernel / "source/include/linux/lockdep_types.h"
    changed = LOCKDEP_TYPES.replace("\tconst char", "\tunsigned long\t\t\tseq;\n\tconst char")
    types.write_text(changed.replace("LD_WAIT_SLEEP,", "LD_WAIT_NEW,\n\tLD_WAIT_SLEEP,"))
    said = [e.what for e in lockdep.differences(kernel)]
    assert "name is fetched from offset 24; lockdep_map.name is at 32" in said
    assert "wait_inner is fetched from offset 33; lockdep_map.wait_type_inner is at 41" in said
    assert any("LD_WAIT_CONFIG, LD_WAIT_NEW, LD_WAIT_SLEEP" in line for line in said)
    event = kernel / "source/include/trace/events/lock.h"
    event.write_text(LOCK_EVENT.replace("int trylock, int read,", "int read, int trylock,"))
    said = [e.what for e in lockdep.differences(kernel)]
    assert sum("is argument" in line for line in said) == 2


def test_the_document(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "KNOWN", kernel / "known.json")
    document.accept(kernel)
    stated = set(document.orders(DOCUMENT))
    assert stated == {("cpu_hotplug_lock", "kvm_lock"), ("kvm->lock", "kvm->slots_lock"),
                      ("kvm->lock", "kvm->irq_lock"), ("kvm->slots_lock", "kvm->irq_lock")}  # fmt: skip
    assert document.reference(DOCUMENT) == {"kvm_lock": "mutex", "kvm_arch::tsc_write_lock": "raw_spinlock_t"}
    gone = {e.what for e in document.differences(kernel)}
    book, _ = choose("6.12.3")
    others = {
        (r.outer, r.inner) for r in book.orders if r.source.startswith("1.") and "follows" not in r.source
    } - stated
    assert gone == {f"the document no longer has {a} outside {b} (drop it)" for a, b in others}
    place = kernel / "source/Documentation/virt/kvm/locking.rst"
    place.write_text(DOCUMENT.replace("- cpus_read_lock", "- kvm->new is taken outside kvm->lock\n\n- cpus_read_lock"))
    new = {e.what for e in document.differences(kernel)} - gone
    assert new == {"the document has kvm->new outside kvm->lock: no such [[order]]",
                   "not read yet: - kvm->new is taken outside kvm->lock"}  # fmt: skip


def headers(frozen: str = "(SHADOW_NONPRESENT_VALUE | 0x5a0ULL)", host: int = 57) -> str:
    return f"""
#define SPTE_MMU_PRESENT_MASK\t\tBIT_ULL(11)
#define SPTE_TDP_AD_SHIFT\t\t52
#define SPTE_TDP_AD_MASK\t\t(3ULL << SPTE_TDP_AD_SHIFT)
#define SPTE_TDP_AD_DISABLED\t\t(1ULL << SPTE_TDP_AD_SHIFT)
#define SPTE_TDP_AD_WRPROT_ONLY\t\t(2ULL << SPTE_TDP_AD_SHIFT)
#define SHADOW_ACC_TRACK_SAVED_BITS_SHIFT 54
#define DEFAULT_SPTE_HOST_WRITABLE\tBIT_ULL(9)
#define DEFAULT_SPTE_MMU_WRITABLE\tBIT_ULL(10)
#define EPT_SPTE_HOST_WRITABLE\t\tBIT_ULL({host})
#define EPT_SPTE_MMU_WRITABLE\t\tBIT_ULL(58)
#ifdef CONFIG_X86_64
#define SHADOW_NONPRESENT_VALUE\tBIT_ULL(63)
#else
#define SHADOW_NONPRESENT_VALUE\t0ULL
#endif
#define FROZEN_SPTE\t{frozen}
"""


RESULTS = """enum {
	RET_PF_CONTINUE = 0,
	RET_PF_RETRY,
	RET_PF_EMULATE,
	RET_PF_WRITE_PROTECTED,
	RET_PF_INVALID, /* not what is needed */
	RET_PF_FIXED,
	RET_PF_SPURIOUS,
};
"""


def test_sptes(kernel: Path) -> None:
    mmu = kernel / "source/arch/x86/kvm/mmu"
    mmu.mkdir(parents=True)
    (mmu / "spte.h").write_text(headers())
    (mmu / "mmu_internal.h").write_text(RESULTS)
    assert list(sptes.differences(kernel)) == []
    (mmu / "spte.h").write_text(headers("(SHADOW_NONPRESENT_VALUE | 0x1a0ULL)", 53))
    ept = next(lay for lay in reversed(LAYOUTS) if lay.ept and lay.since <= (6, 12))
    npt = next(lay for lay in reversed(LAYOUTS) if not lay.ept and lay.since <= (6, 12))
    assert [e.what for e in sptes.differences(kernel)] == [
        f"EPT_SPTE_HOST_WRITABLE is 0x20000000000000; {ept.name} has host_writable = 0x200000000000000",
        f"FROZEN_SPTE is 0x80000000000001a0; {ept.name} has frozen = 0x80000000000005a0",
        f"FROZEN_SPTE is 0x80000000000001a0; {npt.name} has frozen = 0x80000000000005a0",
    ]
    (mmu / "spte.h").write_text(headers())
    (mmu / "mmu_internal.h").write_text(RESULTS.replace("RET_PF_INVALID,", "RET_PF_NEW,\n\tRET_PF_INVALID,"))
    (kernel / "source/arch/x86/include/asm/kvm_host.h").write_text(ROLE.replace("level:4", "level:5"))
    assert [e.what for e in sptes.differences(kernel)] == [
        "RET_PF_FIXED is 6; the rulebook has 5", "role.direct begins at bit 8, not 7",
    ]  # fmt: skip


def test_what_was_accepted_is_whole() -> None:
    known = events.known()
    assert {"kvm:kvm_entry", "kvmmmu:kvm_tdp_mmu_spte_changed", "lock:contention_begin", "lock:lock_acquire",
            "sched:sched_switch", "raw_syscalls:sys_exit"} <= known.keys()  # fmt: skip
    assert list(events.differences(known, known)) == []
