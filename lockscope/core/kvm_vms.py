"""Which VM each row of the tape is about: by the lock held, the probe's argument, the vCPU, or the task's last one."""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, Row, Rows, loop, ref, step
from lockscope.core.hashing import known, number
from lockscope.core.kvm_tables import C_HOW, C_OWN, C_PID, C_ROW, C_TS
from lockscope.core.machine import mix, plus

# What a row is to this loop (``how``).
BY_LOCK, BY_ARGUMENT, BIRTH, DEATH, USER = range(5)
VCPU_MUTEX = 6


C_ARGUMENT = C_OWN  # slot with a pointer to struct kvm, -1
# Options, then by role the distance from that lock to mmu_lock, then whether it is known.
O_KVM, O_KVM_KNOWN, O_DISTANCES, O_KNOWN = 0, 1, 2, 20


class Vm(Row):
    """A VM."""

    key: int
    kvm: int
    born: int
    died: int
    killer: int  # the task that destroyed it
    gone: int  # whether that one has left the system call
    first: int
    rows: int


@step
def _of_key(key: int, born: int, ts: int, pid: int, keys: Ints, current: Ints, vms: Rows[Vm], made: Ints) -> int:
    """The VM now living at a key; after its death another one, once a different task or a later syscall uses it."""
    n = number(keys, key)
    vm = current[n] - 1
    if vm >= 0 and not born:
        dead = vms[vm].died != 0
        if not dead or (pid == vms[vm].killer and vms[vm].gone == 0):
            return vm
    vm = made[0]
    made[0] += 1
    v = ref(vms[vm])
    v.kvm, v.born, v.died, v.killer, v.gone, v.rows = 0, 0, 0, 0, 0, 0
    v.key, v.first = key, ts
    if born:
        vms[vm].born = ts
    current[n] = vm + 1
    return vm


@loop
def attribute(
    cols: Grid, slots: Grid, held: Grid, prefer: Ints, options: Ints, keys: Ints, current: Ints, vms: Rows[Vm],
    made: Ints, tasks: Ints, task_vm: Ints, out: Ints, begin: int,
) -> int:  # fmt: skip
    """Fill ``out[row]`` with the VM's number + 1 (0: unknown), from row ``begin`` on; return where it ran out of room.

    ``prefer``: roles, the surest sign of a VM first.
    """
    rows = cols.shape[1]
    for r in range(begin, rows):
        full = keys[0] + 1 >= len(current) or 4 * keys[0] + 8 > len(keys) or made[0] + 1 >= len(vms)
        if full or tasks[0] + 2 >= len(task_vm) or 4 * tasks[0] + 12 > len(tasks):
            return r
        i = cols[C_ROW, r]
        p, ts = cols[C_PID, r], cols[C_TS, r]
        kind = cols[C_HOW, r]
        task = number(tasks, mix(p, 1))
        if kind == USER:
            last = task_vm[task] - 1
            if last >= 0 and vms[last].killer == p and vms[last].died != 0:
                vms[last].gone = 1
            continue
        if kind == BIRTH:
            _of_key(slots[i, 0], 1, ts, p, keys, current, vms, made)
            continue
        key = 0
        kvm = 0
        if cols[C_ARGUMENT, r] >= 0:
            kvm = slots[i, cols[C_ARGUMENT, r]]
            if options[O_KVM_KNOWN]:
                key = plus(kvm, options[O_KVM])
        if key == 0:
            for k in range(len(prefer)):
                role = prefer[k]
                if held[i, role] != 0 and options[O_KNOWN + role]:
                    key = plus(held[i, role], options[O_DISTANCES + role])
                    break
        mutex = held[i, VCPU_MUTEX]
        vm = -1
        if key != 0:
            vm = _of_key(key, 0, ts, p, keys, current, vms, made)
            task_vm[task] = vm + 1
            if mutex != 0:
                task_vm[number(tasks, mix(mutex, 2))] = vm + 1
        else:
            at = known(tasks, mix(mutex, 2)) if mutex != 0 else -1
            if at >= 0:
                vm = task_vm[at] - 1
            if vm < 0:
                vm = task_vm[task] - 1
            if vm < 0 and made[0] == 1:
                vm = 0  # the only VM that the trace has shown
        if vm >= 0:
            if kvm != 0:
                vms[vm].kvm = kvm
            if kind == DEATH:
                vms[vm].died, vms[vm].killer = ts, p
            vms[vm].rows += 1
        out[i] = vm + 1
    return rows
