"""Which VM each row of the tape is about: by the lock held, the probe's argument, the vCPU, or the task's last one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lockscope.kernels.kvm_tables import known, mix, number

# Columns of a VM.
V_KEY, V_KVM, V_BORN, V_DIED, V_KILLER, V_GONE, V_FIRST, V_ROWS = range(8)
# What a row is to this loop (``how``).
BY_LOCK, BY_ARGUMENT, BIRTH, DEATH, USER = range(5)
VCPU_MUTEX = 6


@njit(nogil=True, cache=True, inline="never")
def _of_key(key: Any, born: Any, ts: Any, pid: Any, keys: Any, numbers: Any, count: Any, current: Any, vms: Any,
            made: Any) -> Any:  # fmt: skip
    """The VM now living at a key; after its death another one, once a different task or a later syscall uses it."""
    n = number(keys, numbers, count, key)
    vm = current[n] - 1
    if vm >= 0 and not born:
        dead = vms[vm, V_DIED] != 0
        if not dead or (pid == vms[vm, V_KILLER] and vms[vm, V_GONE] == 0):
            return vm
    vm = made[0]
    made[0] += 1
    for i in range(vms.shape[1]):
        vms[vm, i] = 0
    vms[vm, V_KEY], vms[vm, V_FIRST] = key, ts
    if born:
        vms[vm, V_BORN] = ts
    current[n] = vm + 1
    return vm


@njit(nogil=True, cache=True)
def attribute(
    rows: Any, how: Any, argument: Any, ts: Any, pid: Any, slots: Any, held: Any,
    prefer: Any,  # int64[:]: roles, best first
    offsets: Any,  # int64[roles]: address of mmu_lock minus that of the role's lock
    learned: Any,  # bool[roles]
    kvm_offset: Any, kvm_learned: Any,  # address of mmu_lock minus kvm
    keys: Any, numbers: Any, count: Any, current: Any, vms: Any, made: Any,
    task_keys: Any, task_numbers: Any, task_count: Any, task_vm: Any,
    out: Any,
) -> None:  # fmt: skip
    """Fill ``out[row]`` with the VM's number + 1 (0: unknown)."""
    for r in range(len(rows)):
        i = rows[r]
        p = pid[i]
        kind = how[r]
        task = number(task_keys, task_numbers, task_count, mix(p, 1))
        if kind == USER:
            if task_vm[task] > 0 and vms[task_vm[task] - 1, V_KILLER] == p and vms[task_vm[task] - 1, V_DIED] != 0:
                vms[task_vm[task] - 1, V_GONE] = 1
            continue
        if kind == BIRTH:
            _of_key(slots[i, 0], 1, ts[i], p, keys, numbers, count, current, vms, made)
            continue
        key = np.int64(0)
        kvm = np.int64(0)
        if argument[r] >= 0:
            kvm = slots[i, argument[r]]
            if kvm_learned:
                key = kvm + kvm_offset
        if key == 0:
            for k in range(len(prefer)):
                role = prefer[k]
                if held[i, role] != 0 and learned[role]:
                    key = held[i, role] + offsets[role]
                    break
        mutex = held[i, VCPU_MUTEX]
        if key != 0:
            vm = _of_key(key, 0, ts[i], p, keys, numbers, count, current, vms, made)
            task_vm[task] = vm + 1
            if mutex != 0:
                task_vm[number(task_keys, task_numbers, task_count, mix(mutex, 2))] = vm + 1
        else:
            vm = np.int64(-1)
            if mutex != 0:
                at = known(task_keys, task_numbers, mix(mutex, 2))
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
                vms[vm, V_DIED], vms[vm, V_KILLER] = ts[i], p
            vms[vm, V_ROWS] += 1
        out[i] = vm + 1
