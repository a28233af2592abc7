"""Which VM each row of the tape is about: by the lock held, the probe's argument, the vCPU, or the task's last one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.kvm_tables import C_HOW, C_OWN, C_PID, C_ROW, C_TS, helper, known, mix, number
from lockscope.kernels.outer import outer
from lockscope.kernels.views import matrix, vector

# Columns of a VM.
V_KEY, V_KVM, V_BORN, V_DIED, V_KILLER, V_GONE, V_FIRST, V_ROWS, V_WIDTH = range(9)
# What a row is to this loop (``how``).
BY_LOCK, BY_ARGUMENT, BIRTH, DEATH, USER = range(5)
VCPU_MUTEX = 6


C_ARGUMENT = C_OWN  # slot with a pointer to struct kvm, -1
# Options, then by role the distance from that lock to mmu_lock, then whether it is known.
O_KVM, O_KVM_KNOWN, O_DISTANCES, O_KNOWN = 0, 1, 2, 20


@helper("i8(i8, i8, i8, i8, vector, vector, matrix, vector)")
def _of_key(key: Any, born: Any, ts: Any, pid: Any, keys: Any, current: Any, vms: Any, made: Any) -> Any:
    """The VM now living at a key; after its death another one, once a different task or a later syscall uses it."""
    n = number(keys, key)
    vm = current[n] - 1
    if vm >= 0 and not born:
        dead = vms[vm, V_DIED] != 0
        if not dead or (pid == vms[vm, V_KILLER] and vms[vm, V_GONE] == 0):
            return vm
    vm = made[0]
    made[0] += 1
    for i in range(V_WIDTH):
        vms[vm, i] = 0
    vms[vm, V_KEY], vms[vm, V_FIRST] = key, ts
    if born:
        vms[vm, V_BORN] = ts
    current[n] = vm + 1
    return vm


@outer(
    "i8(i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[:, ::1], i8[::1], "
    "i8[::1], i8[::1], i8[::1], i8)"
)
def attribute(
    cols: Any, slots: Any, held: Any, prefer: Any, options: Any,
    keys: Any, current: Any, vms: Any, made: Any, tasks: Any, task_vm: Any, out: Any, begin: Any,
) -> Any:  # fmt: skip
    """Fill ``out[row]`` with the VM's number + 1 (0: unknown), from row ``begin`` on; return where it ran out of room.

    ``prefer``: roles, the surest sign of a VM first.
    """
    rows = cols.shape[1]
    cols, slots, held, prefer = matrix(cols), matrix(slots), matrix(held), vector(prefer)
    options, keys, current, vms = vector(options), vector(keys), vector(current), matrix(vms)
    made, tasks, task_vm, out = vector(made), vector(tasks), vector(task_vm), vector(out)
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
            if last >= 0 and vms[last, V_KILLER] == p and vms[last, V_DIED] != 0:
                vms[last, V_GONE] = 1
            continue
        if kind == BIRTH:
            _of_key(slots[i, 0], 1, ts, p, keys, current, vms, made)
            continue
        key = np.int64(0)
        kvm = np.int64(0)
        if cols[C_ARGUMENT, r] >= 0:
            kvm = slots[i, cols[C_ARGUMENT, r]]
            if options[O_KVM_KNOWN]:
                key = kvm + options[O_KVM]
        if key == 0:
            for k in range(len(prefer)):
                role = prefer[k]
                if held[i, role] != 0 and options[O_KNOWN + role]:
                    key = held[i, role] + options[O_DISTANCES + role]
                    break
        mutex = held[i, VCPU_MUTEX]
        vm = np.int64(-1)
        if key != 0:
            vm = _of_key(key, 0, ts, p, keys, current, vms, made)
            task_vm[task] = vm + 1
            if mutex != 0:
                task_vm[number(tasks, mix(mutex, 2))] = vm + 1
        else:
            at = known(tasks, mix(mutex, 2)) if mutex != 0 else np.int64(-1)
            if at >= 0:
                vm = task_vm[at] - 1
            if vm < 0:
                vm = task_vm[task] - 1
            if vm < 0 and made[0] == 1:
                vm = np.int64(0)  # the only VM that the trace has shown
        if vm >= 0:
            if kvm != 0:
                vms[vm, V_KVM] = kvm
            if kind == DEATH:
                vms[vm, V_DIED], vms[vm, V_KILLER] = ts, p
            vms[vm, V_ROWS] += 1
        out[i] = vm + 1
    return rows
