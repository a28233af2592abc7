from __future__ import annotations

import pytest

from lockscope.core.kvm_flush import CLEAR_LOG, GET_LOG, RESET_RINGS, SET_MEMORY, SET_MEMORY2
from lockscope.core.kvm_srcu import KVM_CREATE_VM
from lockscope.kvm.ioctls import ioctl_name, ioctl_text


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (KVM_CREATE_VM, "KVM_CREATE_VM"),
        (0xAE80, "KVM_RUN"),
        (SET_MEMORY, "KVM_SET_USER_MEMORY_REGION"),
        (SET_MEMORY2, "KVM_SET_USER_MEMORY_REGION2"),
        (GET_LOG, "KVM_GET_DIRTY_LOG"),
        (CLEAR_LOG, "KVM_CLEAR_DIRTY_LOG"),
        (RESET_RINGS, "KVM_RESET_DIRTY_RINGS"),
        (0xC040AED5, "KVM_PRE_FAULT_MEMORY"),
        (0xFFFFFFFF_4004AE99 - (1 << 64), "KVM_SET_MP_STATE"),  # as a signed slot keeps it
    ],
)
def test_a_request_of_kvms_has_its_name(request_: int, name: str) -> None:
    assert ioctl_name(request_) == name
    assert ioctl_text(request_) == f"ioctl({name})"


def test_what_is_not_kvms_stays_a_number() -> None:
    assert ioctl_name(0x5401) is None
    assert ioctl_text(0x5401) == "ioctl 0x5401"
