"""The tables that checks and people read, beside the one of each event type."""

from __future__ import annotations

from lockscope.tables.schema import Column, TableSchema

_TS = Column("ts_ns", "int64", "ns", "time of the event, on the trace's clock")
_SEQ = Column("seq", "int64", "", "the event's place in the whole trace: the recorder's order among equal times")
_CPU = Column("cpu", "int32", "", "CPU of the event")
_PID = Column("pid", "int32", "", "task (an interrupt's events carry that of the task it interrupted)", about="pid")
_LOCK = Column("lock", "uint64", "address", "the lock's lockdep_map; the lock itself on a kernel without lockdep")
_NAME = Column("name", "text", "", "class name as the kernel spells it", about="class")
_FLAGS = Column("flags", "uint8", "bits", "0x01 irqs off, 0x08 hardirq, 0x10 softirq, 0x40 NMI, 0x80 BH off")
_CONTEXT = Column("context", "text", "", "task, softirq, hardirq or nmi", about="plain")
_VM = Column("vm", "int32", "", "number of the VM within the trace; null: none, or not known", unknown=-1)

TABLES = (
    TableSchema(
        "lock_events",
        "One lock operation as recorded.",
        (
            _TS,
            _SEQ,
            _CPU,
            _PID,
            _FLAGS,
            Column(
                "preempt_count", "uint8", "", "common_preempt_count: preemption depth, from 6.0 on with migrate-disable"
            ),
            Column("op", "text", "", "acquire, detail, acquired, contended, release, init", about="plain"),
            _LOCK,
            _NAME,
            Column("trylock", "bool", "", "a trylock that succeeded"),
            Column("read", "uint8", "", "0 exclusive, 1 read, 2 recursive read (plain events: any read is 1)"),
            Column("subclass", "uint8", "", "lockdep subclass (lockscope:lockdep_acquire alone has it, else 0)"),
            Column("ip", "uint64", "address", "caller; null: not recorded", unknown=0),
        ),
    ),
    TableSchema(
        "holds",
        "One lock held by one task, from the attempt to the release. Ends the trace does not show are not guessed.",
        (
            _SEQ,
            _PID,
            Column("comm", "text", "", "the task's name; null: not known", about="comm"),
            _LOCK,
            _NAME,
            _VM,
            Column("subclass", "uint8", "", "lockdep subclass"),
            Column("asked_ns", "int64", "ns", "when it was asked for"),
            Column(
                "acquired_ns",
                "int64",
                "ns",
                "when it was got; null: not recorded (no lock_acquired)",
                unknown=0,
            ),
            Column(
                "contended_ns",
                "int64",
                "ns",
                "when it was found taken, and the wait began; null: it was free",
                unknown=0,
            ),
            Column("end_ns", "int64", "ns", "when it was released, or when the trace stopped telling"),
            Column("wait_ns", "int64", "ns", "how long the task waited for it; null: not known"),
            Column("hold_ns", "int64", "ns", "how long it was held; null: not seen from begin to end"),
            Column(
                "begin_known",
                "bool",
                "",
                "false: held before the trace, or since a loss; asked_ns is then the release's time",
            ),
            Column("end_known", "bool", "", "false: still held at the trace's end, or cut by a loss"),
            Column("cpu", "int32", "", "CPU of the attempt"),
            Column("end_cpu", "int32", "", "CPU of the release"),
            _CONTEXT,
            Column("read", "uint8", "", "0 exclusive, 1 read, 2 recursive read"),
            Column("trylock", "bool", "", "got by a trylock"),
            Column("contended", "bool", "", "had to wait (lock_contended; contention_begin on a stock kernel)"),
            Column("waited_for", "bool", "", "others waited for it while it lasted"),
            Column("depth", "uint8", "", "locks the task held when it asked for this one"),
            Column("ip", "uint64", "address", "caller; null: not recorded", unknown=0),
            Column("caller", "text", "", "the caller's symbol; null: not known", about="symbol"),
        ),
    ),
    TableSchema(
        "order_edges",
        "Lock class `inner` asked for while `outer` was the innermost held lock in the same context.",
        (
            Column("outer", "text", "", "class held, with /subclass", about="class"),
            Column("inner", "text", "", "class asked for", about="class"),
            Column("outer_read", "uint8", "", "0 exclusive, 1 read, 2 recursive read"),
            Column("inner_read", "uint8", "", "likewise"),
            Column("trylock", "bool", "", "the inner one by a trylock"),
            Column("count", "int64", "", "how often"),
            Column("first_ns", "int64", "ns", "time of the first"),
            _CPU,
            _PID,
        ),
    ),
    TableSchema(
        "spte_changes",
        "One change of a shadow page table entry, as its event tells it.",
        (
            _TS,
            _SEQ,
            _CPU,
            _PID,
            Column("event", "text", "", "spte_tdp, spte_set, fast_pf, spte_mmio, spte_update", about="plain"),
            Column(
                "change",
                "text",
                "",
                "what it means: mapped, zapped, write-protected, made writable, access-tracked, aged, dirty cleared, "
                "remapped, page table, frozen, mmio, other; by old_spte, which spte_set and spte_mmio do not tell",
                about="plain",
            ),
            _VM,
            Column("as_id", "int32", "", "address space (1: SMM); null where the event has none", unknown=-1),
            Column("level", "int32", "", "1: 4 KiB, 2: 2 MiB, 3: 1 GiB; null where the event has none", unknown=0),
            Column("gfn", "uint64", "gfn", "guest frame; 0 where the event has none (fast_pf: by address, TDP MMU)"),
            Column(
                "sptep", "uint64", "address", "of the entry: physical in spte_set, virtual elsewhere; 0 where not told"
            ),
            Column("old_spte", "uint64", "bits", "value before; null where the event does not say it", about="spte"),
            Column("new_spte", "uint64", "bits", "value after", about="spte"),
            Column("mmu_lock", "text", "", "mode in which the task holds a mmu_lock: none, read, write", about="plain"),
        ),
    ),
    TableSchema(
        "tlb_flushes",
        "One call that asks vCPUs to flush (requests that flush nothing are there too: see req).",
        (
            _TS,
            _SEQ,
            _CPU,
            _PID,
            Column("event", "text", "", "request, flush, flush_range, flush_slot", about="plain"),
            Column("kvm", "uint64", "address", "struct kvm"),
            Column("req", "uint32", "bits", "of a request: 0x300 on x86 is a full TLB flush; else 0"),
            Column("gfn", "uint64", "gfn", "first frame of a range flush"),
            Column("nr_pages", "uint64", "pages", "of a range flush"),
        ),
    ),
    TableSchema(
        "required_flushes",
        "SPTE changes of one task in one critical section that require a TLB flush, and whether it came. Of more than "
        "65,536 only every n-th.",
        (
            Column("ts_ns", "int64", "ns", "time of the first change"),
            _SEQ,
            _CPU,
            _PID,
            _VM,
            Column("code", "text", "", "LS301 for rights to write, LS302 for mappings", about="plain"),
            Column("flow", "text", "", "what the task was doing: dirty logging, MMU notifier ...", about="plain"),
            Column(
                "outcome",
                "text",
                "",
                "in-time, late, by-another-task, too-small, missing (a vCPU ran without it), ended (none was seen to "
                "run), not-needed (the VM was going away), open and overdue (the trace ended)",
                about="plain",
            ),
            Column("sptes", "int64", "", "changes that require it"),
            Column("flushed_ns", "int64", "ns", "time of the flush; null where there was none", unknown=0),
        ),
    ),
    TableSchema(
        "srcu_events",
        "One entry to or exit from an SRCU read section, or a wait for readers, as recorded.",
        (
            _TS,
            _SEQ,
            _CPU,
            _PID,
            Column("op", "text", "", "srcu_lock, srcu_lock_entry, srcu_unlock, srcu_sync", about="plain"),
            Column("ssp", "uint64", "address", "struct srcu_struct; null where the event has none", unknown=0),
            Column("idx", "int32", "", "index returned or given back; null where the event has none", unknown=-1),
        ),
    ),
    TableSchema(
        "task_switches",
        "One sched_switch.",
        (
            _TS,
            _SEQ,
            _CPU,
            Column("prev_pid", "int32", "", "task switched out", about="pid"),
            Column("prev_comm", "text", "", "its name", about="comm"),
            Column("prev_state", "int64", "bits", "its state (0: still runnable, it was preempted)"),
            Column("next_pid", "int32", "", "task switched in", about="pid"),
            Column("next_comm", "text", "", "its name", about="comm"),
        ),
    ),
    TableSchema(
        "losses",
        "Events that are missing: gaps in the stream, what the recorder counted, and bytes that could not be read.",
        (
            Column(
                "ts_ns",
                "int64",
                "ns",
                "time of the first event after the gap; null for the recorder's own counts",
                unknown=0,
            ),
            _CPU,
            Column("buffer", "text", "", 'tracing instance, "" is the top one', about="instance"),
            Column("kind", "text", "", "gap, overrun, commit overrun, dropped, truncated, unparsed", about="plain"),
            Column("count", "int64", "events", "how many; null: not known", unknown=-1),
            Column("remedy", "text", "", "what to do about it", about="plain"),
        ),
    ),
    TableSchema(
        "lock_classes",
        "One lock class with its statistics over the trace.",
        (
            _NAME,
            Column("subclass", "uint8", "", "lockdep subclass"),
            Column("key", "uint64", "address", "class key; null: not known", unknown=0),
            Column(
                "kind",
                "text",
                "",
                'mutex, spinlock, rwlock ... inferred from the name; "" where not known',
                about="plain",
            ),
            Column(
                "wait_inner", "uint8", "", "lockdep wait type: 2 SPIN, 3 CONFIG, 4 SLEEP; 0 unchecked or not recorded"
            ),
            Column("wait_outer", "uint8", "", "likewise"),
            Column("acquired", "int64", "", "acquisitions (attempts of blocking locks, successes of trylocks)"),
            Column("reads", "int64", "", "of these for reading"),
            Column("trylocks", "int64", "", "of these by trylock"),
            Column("contended", "int64", "", "of these that had to wait (lock_contended)"),
            Column("wait_ns", "int64", "ns", "total time from attempt to lock_acquired"),
            Column("wait_max_ns", "int64", "ns", "longest such"),
            Column("hold_ns", "int64", "ns", "total time held"),
            Column("hold_max_ns", "int64", "ns", "longest hold"),
            Column("holds", "int64", "", "holds seen from begin to end"),
        ),
    ),
)
