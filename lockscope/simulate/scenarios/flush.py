"""SPTEs lose rights, and the flush is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import GFN, Scene
from lockscope.simulate.kvm import dirty, memslots, notifiers
from lockscope.simulate.kvm.vm import Vcpu, Vm
from lockscope.simulate.parameters import KERNEL_NAMES
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, ioctl, mapped, planted, pushed, writable, written
from lockscope.simulate.world import Mix, World

_Ready = Callable[[World, Task, Vm], Generator[int, None, list[int] | None]]
_Act = Callable[[Task, Vm, list[int], bool], Work]


def _no_change(vm: Vm, v: Vcpu) -> None:
    del vm, v


@dataclass(frozen=True, slots=True)
class _Flush:
    """``ready``: waits until there is something to take away, and says which gfns if ``act`` is to be told; ``act``
    takes it away, and flushes if its last argument says so. ``function``: whose ioctl it is, if ``act`` does not say.

    ``writes``: in the small scene for ``--explore`` a vCPU writes the same page so often while ``who`` acts; 0: there
    is no scene. ``prepare``: makes the VM and the vCPU of that scene ready.
    """

    name: str
    summary: str
    why: str
    near: str
    ready: _Ready
    act: _Act
    log: str
    code: str = "LS301"
    rule: str = "from writable to read-only, all TLBs are flushed"
    kernels: tuple[str, ...] = KERNEL_NAMES
    function: str = ""
    writes: int = 0
    who: str = "user space"
    prepare: Callable[[Vm, Vcpu], None] = _no_change


def _switched_off(world: World, t: Task, vm: Vm) -> Generator[int, None, list[int] | None]:
    """The slot is not logged for a while: its memory is writable by then."""
    yield from memslots.log_dirty(t, vm, vm.slots[1], on=False)
    yield from world.sleep(t, 1_500_000)
    yield from writable(world, t, vm)
    return None


def _write_protected_by_get(vm: Vm, v: Vcpu) -> None:
    del v
    vm.manual = False


def _one_page_in_the_ring(vm: Vm, v: Vcpu) -> None:
    vm.rings, v.ring = True, [(1, GFN)]


_FLUSHES = (
    _Flush(
        "clear-dirty-log",
        "KVM_CLEAR_DIRTY_LOG write-protects, and no flush follows",
        "CLEAR_DIRTY_LOG without a flush",
        "the flush comes after mmu_lock is released, as KVM has it: the window is slots_lock",
        written,
        lambda t, vm, _, flush: dirty.clear_dirty_log(t, vm, vm.slots[1], flush=flush),
        "manual",
        kernels=RECENT,
        writes=3,
    ),
    _Flush(
        "enable-dirty-log",
        "dirty logging is switched on, and no flush follows",
        "dirty logging switched on without a flush",
        "the flush comes after mmu_lock is released, as KVM has it",
        _switched_off,
        lambda t, vm, _, flush: memslots.log_dirty(t, vm, vm.slots[1], on=True, flush=flush),
        "auto",
    ),
    _Flush(
        "get-dirty-log",
        "KVM_GET_DIRTY_LOG write-protects, and no flush follows",
        "GET_DIRTY_LOG without a flush",
        "the flush comes after mmu_lock is released, and in 4.14 even after the bitmap was copied out",
        written,
        lambda t, vm, _, flush: dirty.get_dirty_log(t, vm, vm.slots[1], flush=flush),
        "auto",
        writes=3,
        prepare=_write_protected_by_get,
    ),
    # Memory management takes pages away and gives them to somebody else; a vCPU still writes to them.
    _Flush(
        "notifier-unmap",
        "an MMU notifier takes pages away, and no flush follows",
        "a notifier that does not flush",
        "the flush comes under mmu_lock, in the same section",
        mapped,
        lambda t, vm, gfns, flush: notifiers.unmap(t, vm, gfns, flush=flush),
        "manual",
        code="LS302",
        rule="what the page tables no longer say, all TLBs are flushed",
        kernels=RECENT,
        writes=2,
        who="kswapd",
    ),
    _Flush(
        "reset-dirty-rings",
        "KVM_RESET_DIRTY_RINGS write-protects, and no flush follows",
        "RESET_DIRTY_RINGS without a flush",
        "the flush comes after slots_lock is released: this ioctl's window is the ioctl",
        pushed,
        lambda t, vm, _, flush: dirty.reset_dirty_rings(t, vm, flush=flush),
        "ring",
        kernels=RECENT,
        writes=3,
        prepare=_one_page_in_the_ring,
    ),
    # W and MMU-writable go; that flush has to come under mmu_lock.
    _Flush(
        "write-track",
        "a guest page table is write-protected, and no flush follows",
        "write tracking without a flush",
        "the flush comes before mmu_lock is released",
        partial(mapped, count=2),
        lambda t, vm, gfns, flush: dirty.write_track(t, vm, gfns, flush=flush),
        "manual",
        kernels=RECENT,
        function="kvm_write_track_add_gfn",
    ),
)


def _plant(case: _Flush, world: World) -> None:
    """One of several goes wrong."""

    def plan(t: Task, vm: Vm) -> Work:
        gfns = (yield from case.ready(world, t, vm)) or []
        if world.near:
            yield from case.act(t, vm, gfns, True)
            return
        with planted(world, t, case.why, (case.code, ())):
            yield from case.act(t, vm, gfns, False)

    if case.function:
        ioctl(world, case.function, plan)
    else:
        world.plans.append(plan)


def _scene(case: _Flush, stage: Scene) -> None:
    """A vCPU writes the same page a few times while its right to do so is taken away."""
    case.prepare(stage.vm, stage.writer(case.writes))
    stage.task(case.who, lambda t: case.act(t, stage.vm, [GFN], stage.near))


SCENARIOS = tuple(
    Scenario(
        f"flush-{case.name}",
        case.summary,
        f"2. Exception, 3) flush tlbs due to spte updated: {case.rule}",
        partial(_plant, case),
        Mix(log=case.log, write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
        near=case.near,
        kernels=case.kernels,
        explore=partial(_scene, case) if case.writes else None,
    )
    for case in _FLUSHES
)
