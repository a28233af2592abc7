"""Rulebooks: what the kernel promises about its locks, as data with sources.

The records that ``lockscope/rules/load.py`` makes of ``lockscope/rules/*.toml`` or of a user's file. A book that was
chosen for a kernel holds only the rules that are known to hold for that kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lockscope.kvm import locks
from lockscope.kvm.versions import KernelVersion

Value = str | int | bool | tuple[str, ...] | tuple[int, ...]


class Scope(StrEnum):
    """Between which instances a rule holds."""

    VM = "vm"  # both locks of one VM: two VMs' locks are unrelated
    GLOBAL = "global"


class SrcuKind(StrEnum):
    """What an SRCU rule says of its lock."""

    NOT_INSIDE = "not-inside"  # held around synchronize_srcu(): must not be taken inside a read section
    NOT_AROUND = "not-around"  # taken inside read sections: synchronize_srcu() must not be called while it is held
    INSIDE = "inside"  # may be taken inside a read section


@dataclass(frozen=True, slots=True)
class When:
    """For which kernels of its book a rule is known to hold: series bounds (inclusive), or stable levels.

    ``stable``: from these levels of these series on, and in no other series.
    """

    since: tuple[int, int] | None = None
    until: tuple[int, int] | None = None
    stable: tuple[tuple[int, int, int], ...] = ()

    def holds(self, kernel: KernelVersion | None) -> bool:
        """Whether the rule is known to hold: never, where it depends on what the kernel does not tell."""
        if self == When():
            return True
        if kernel is None:
            return False
        in_range = (self.since is None or kernel.series >= self.since) and (
            self.until is None or kernel.series <= self.until
        )
        return in_range and (not self.stable or any(kernel.has_stable(*level) for level in self.stable))

    def __str__(self) -> str:
        parts = [f"from {self.since[0]}.{self.since[1]}"] if self.since else []
        parts += [f"to {self.until[0]}.{self.until[1]}"] if self.until else []
        parts += [" or ".join(f"{a}.{b}.y from {a}.{b}.{c}" for a, b, c in self.stable)] if self.stable else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all rules have. ``source``: document or code, version, place. ``arch``: "any" or "x86".

    Lock names are kept as the book spells them: canonical (``kvm->lock``) or a class name (``&foo->lock``);
    ``Rulebook.canonical`` makes them comparable with a trace's.
    """

    id: str
    source: str
    scope: Scope = Scope.VM
    arch: str = "any"
    when: When = field(default_factory=When)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRule(Rule):
    """``outer`` is taken before ``inner``: taking ``outer`` while ``inner`` is held breaks the rule (LS102)."""

    outer: str
    inner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafRule(Rule):
    """No lock is taken inside ``lock``, but for those in ``inner`` (LS103).

    Of what one task really holds in one irq context; not along paths of the dependency graph. ``inner`` is complete:
    what is taken inside an allowed lock is listed too. ``notifiers``: the book's ``notifiers`` are allowed as well.
    ``switched``: the book's ``preempted`` are: its holder may be switched out, as that of a spinlock_t or rwlock_t is
    on PREEMPT_RT (``Rulebook.for_kernel``).
    ``sleeping``: whether sleeping locks of other subsystems may be taken. ``judge``: "kvm" looks at KVM's locks (and
    sleeping ones) only, because slab, RCU and scheduler locks are taken everywhere; "all" at every lock but RCU,
    seqcounts and lockdep's own maps.
    """

    lock: str
    inner: tuple[str, ...] = ()
    notifiers: bool = False
    sleeping: bool = True
    judge: str = "kvm"
    switched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SrcuRule(Rule):
    """How ``lock`` and the read side and ``synchronize_srcu()`` of ``srcu`` go together (LS204)."""

    srcu: str
    lock: str
    kind: SrcuKind


@dataclass(frozen=True, slots=True, kw_only=True)
class MustHoldRule(Rule):
    """``lock`` is only taken while one of ``held`` is held."""

    lock: str
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference(Rule):
    """An entry of the reference table: a lock, its type in the kernel's words, and what it protects (LS401)."""

    lock: str
    type: str
    protects: tuple[str, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Rule):
    """A way in which KVM takes rights from SPTEs, and by when the TLB flush must come: what LS301 and LS302 cite.

    They judge by ``core/kvm_flush.py``.

    ``loss``: "W" writable to read-only, "M" MMU-writable cleared, "zap" present to non-present, "A", "D", "RWX" (made
    non-present for access tracking). ``window``, where the flush is due:
    "mmu_lock" before that section ends or yields; "slots_lock" before it is released; "ioctl" before the ioctl returns;
    "before" the event; "around" it: before, or after within the mmu_lock section; "deferred" to the next flush; "none".
    ``ioctls``: request numbers that mark the flow; ``evidence``: events that do.
    """

    flow: str
    loss: tuple[str, ...]
    window: str
    ioctls: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Rule):
    """A fact about the kernel's code that checks are parametrised by, under a dotted name."""

    about: str
    value: Value


_NO_LOCK = frozenset({"rcu", "map", "seqcount"})
_SLEEPING = frozenset({"mutex", "rwsem", "percpu_rwsem"})


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The rules of a range of kernels.

    ``kernels``: first and last series, inclusive, None = unbounded. ``document``, ``version``: what most of it is from.
    ``notifiers``: locks that MMU, reclaim and preempt notifiers take, and so may turn up in any lock slept under;
    ``preempted``: those of the preempt notifiers, which may turn up in any lock that its holder is switched out under.
    ``speaks_of``: of a user's file, each of its own rules' ids with each lock that it names and does not declare by a
    ``[[reference]]``: such a lock has to be known.
    """

    name: str
    title: str = ""
    kernels: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)
    document: str = ""
    version: str = ""
    notifiers: tuple[str, ...] = ()
    preempted: tuple[str, ...] = ()
    orders: tuple[OrderRule, ...] = ()
    leaves: tuple[LeafRule, ...] = ()
    srcu: tuple[SrcuRule, ...] = ()
    must_hold: tuple[MustHoldRule, ...] = ()
    reference: tuple[Reference, ...] = ()
    flows: tuple[Flow, ...] = ()
    facts: tuple[Fact, ...] = ()
    speaks_of: tuple[tuple[str, str], ...] = ()
    _orders: dict[tuple[str, str], OrderRule] = field(init=False, repr=False, compare=False, default_factory=dict)
    _leaves: dict[str, tuple[LeafRule, frozenset[str]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _facts: dict[str, Fact] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._orders.update({(self.canonical(r.outer), self.canonical(r.inner)): r for r in self.orders})
        for leaf in self.leaves:
            # A lock inside itself is recursion (LS104), no matter of order.
            allowed = [leaf.lock, *leaf.inner]
            allowed += self.notifiers if leaf.notifiers else self.preempted if leaf.switched else ()
            self._leaves[self.canonical(leaf.lock)] = leaf, frozenset(map(self.canonical, allowed))
        self._facts.update({r.about: r for r in self.facts})

    @staticmethod
    def canonical(class_name: str) -> str:
        """One name for a lock, by whatever spelling: ``kvm->slots_lock``; the class name itself for foreign locks."""
        return locks.canonical(class_name) or locks.plain(class_name)

    def rules(self) -> Iterator[Rule]:
        """Every rule of the book."""
        for group in (
            self.orders, self.leaves, self.srcu, self.must_hold, self.reference, self.flows, self.facts,
        ):  # fmt: skip
            yield from group

    def for_kernel(self, kernel: KernelVersion | None) -> Rulebook:
        """The book with only the rules that are known to hold for this kernel, and as they do there."""
        rt = kernel is not None and kernel.rt
        return replace(
            self,
            orders=tuple(r for r in self.orders if r.when.holds(kernel)),
            leaves=tuple(
                replace(r, switched=rt and locks.sleeps(locks.kind_of(r.lock), rt))
                for r in self.leaves
                if r.when.holds(kernel)
            ),
            srcu=tuple(r for r in self.srcu if r.when.holds(kernel)),
            must_hold=tuple(r for r in self.must_hold if r.when.holds(kernel)),
            reference=tuple(r for r in self.reference if r.when.holds(kernel)),
            flows=tuple(r for r in self.flows if r.when.holds(kernel)),
            facts=tuple(r for r in self.facts if r.when.holds(kernel)),
        )

    def order_broken(self, held: str, taken: str) -> OrderRule | None:
        """The order that taking ``taken`` while ``held`` is held goes against. Class names in any spelling.

        Says nothing of instances: for a rule of scope VM the caller makes sure that both are of one VM.
        """
        return self._orders.get((self.canonical(taken), self.canonical(held)))

    def leaf_broken(self, held: str, taken: str) -> LeafRule | None:
        """The leaf rule that taking ``taken`` while ``held`` is held, in the same irq context, goes against."""
        found = self._leaves.get(self.canonical(held))
        if found is None or self.canonical(taken) in found[1]:
            return None
        rule = found[0]
        kind = locks.kind_of(taken)
        if locks.is_kvm(taken) or (rule.judge == "all" and kind not in _NO_LOCK):
            return rule
        return rule if not rule.sleeping and kind in _SLEEPING else None

    def srcu_rule(self, srcu: str, lock: str, kind: SrcuKind) -> SrcuRule | None:
        """The rule of this kind for a lock and an SRCU domain, if there is one."""
        pair = self.canonical(srcu), self.canonical(lock)
        of_kind = (r for r in self.srcu if r.kind is kind)
        return next((r for r in of_kind if (self.canonical(r.srcu), self.canonical(r.lock)) == pair), None)

    def fact(self, about: str) -> Fact | None:
        """The fact under this name, None where the book does not know it (for this kernel)."""
        return self._facts.get(about)

    def value(self, about: str) -> Value | None:
        """A fact's value."""
        found = self._facts.get(about)
        return found.value if found else None
