"""Access tracking, on a CPU without A bits: what is saved of a page's rights, or given back, is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import faults, notifiers
from lockscope.simulate.kvm.vm import Vcpu, Vm
from lockscope.simulate.parameters import KERNEL_NAMES
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, mapped, planted
from lockscope.simulate.world import DATA, DATA_PAGES, Mix, World

_QUIET = DATA + DATA_PAGES - 5  # a page that nobody else touches


def _save(world: World, careless: str, why: str) -> None:
    """Pages are aged: what is saved of their rights is wrong."""

    def plan(t: Task, vm: Vm) -> Work:
        gfns = (yield from mapped(world, t, vm, 2))[:1]
        if world.near:
            yield from notifiers.age(t, vm, gfns, flush=True)
            return
        with planted(world, t, why, ("LS307", ())):
            yield from notifiers.age(t, vm, gfns, flush=True, careless=careless)

    world.plans.append(plan)


def _restore(world: World, careless: str, why: str) -> None:
    """A page is aged, and much later read again: what it gets back is wrong."""
    state = {"step": 0}

    def touch(t: Task, v: Vcpu) -> Work:
        yield from faults.page_fault(t, v, _QUIET, write=True)
        state["step"] = 1

    def back(t: Task, v: Vcpu) -> Work:
        if world.near:
            yield from faults.page_fault(t, v, _QUIET, write=False)
        else:
            with planted(world, t, why, ("LS307", ())):
                yield from faults.page_fault(t, v, _QUIET, write=False, careless=careless)
        state["step"] = 2

    def plan(t: Task, vm: Vm) -> Work:
        world.inject(touch)
        while not state["step"]:
            yield from world.sleep(t, 200_000)
        yield from world.sleep(t, 300_000)
        yield from notifiers.age(t, vm, [_QUIET], flush=True)
        # The event of the fast path is written long after its cmpxchg, and what it prints as the new value may be
        # somebody else's by then: only what was quiet long before and after can be judged.
        yield from world.sleep(t, 12_000_000)
        world.inject(back)
        while state["step"] < 2:
            yield from world.sleep(t, 200_000)
        yield from world.sleep(t, 12_000_000)

    world.plans.append(plan)


@dataclass(frozen=True, slots=True)
class _Tracking:
    """``wrong``: what goes wrong, ``when``, and by what the simulated KVM knows it (``careless``)."""

    name: str
    wrong: str
    rule: str
    when: Callable[[World, str, str], None]
    careless: str
    why: str
    near: str
    kernels: tuple[str, ...] = KERNEL_NAMES


_CASES = (
    _Tracking(
        "loses-x",
        "access tracking does not save X",
        "the original R and X bits are stored",
        _save,
        "loses-x",
        "X not saved",
        "R and X are saved",
        kernels=RECENT,
    ),
    _Tracking(
        "saves-w",
        "access tracking saves W as well",
        "the W bit is not saved",
        _save,
        "saves-w",
        "W saved with R and X",
        "R and X are saved",
        kernels=("6.12",),  # on 7.2 and later W would go where host-writable is: a static_assert() of spte.h forbids it
    ),
    _Tracking(
        "restores-wrong",
        "the fast page fault gives other rights back than were saved",
        "the saved R/X bits are restored",
        _restore,
        "bad-restore",
        "restored by other bits than were saved",
        "what was saved is given back",
    ),
    _Tracking(
        "w-on-read",
        "the fast page fault gives W back on a read access",
        "the W bit is set depending on whether or not it was a write access",
        _restore,
        "w-on-read",
        "W given by a read access",
        "a read access gives R and X back, and no W",
    ),
)


def _plant(case: _Tracking, world: World) -> None:
    world.prepare.append(lambda vm: setattr(vm.sptes, "ad", False))
    case.when(world, case.careless, case.why)


SCENARIOS = tuple(
    Scenario(
        f"track-{case.name}",
        case.wrong,
        f"2. Exception, lockless access tracking: {case.rule}",
        partial(_plant, case),
        Mix(log="manual", write=12, read=8, main=(("tsc", 1),), ksm=False),
        near=case.near,
        kernels=case.kernels,
        vendor="intel",
    )
    for case in _CASES
)
