"""Names that text prints in place of numbers.

Numbers are the kernel's: include/trace/events/lock.h and kvm.h, arch/x86/include/uapi/asm/{vmx,svm}.h, include/linux/
sched.h, arch/x86/kvm/mmu (v6.12).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

CONTENTION = {b"SPIN": 1, b"READ": 2, b"WRITE": 4, b"RT": 8, b"PERCPU": 16, b"MUTEX": 32}  # LCB_F_*
# PFERR_*; the last three since 7.2
PAGE_FAULT = {b"P": 1, b"W": 2, b"U": 4, b"RSVD": 8, b"F": 16, b"PK": 32, b"SS": 64, b"SGX": 1 << 15}
# TASK_* as sched_switch prints them, v4.14 and later; "+" is TASK_REPORT_MAX, a preempted task.
TASK_STATE = {b"R": 0, b"S": 1, b"D": 2, b"T": 4, b"t": 8, b"X": 0x10, b"Z": 0x20, b"P": 0x40, b"I": 0x80}
PREEMPTED = 0x100

_VMX = (
    "EXCEPTION_NMI EXTERNAL_INTERRUPT TRIPLE_FAULT INIT_SIGNAL SIPI_SIGNAL - - INTERRUPT_WINDOW NMI_WINDOW TASK_SWITCH "
    "CPUID - HLT INVD INVLPG RDPMC RDTSC - VMCALL VMCLEAR VMLAUNCH VMPTRLD VMPTRST VMREAD VMRESUME VMWRITE VMOFF VMON "
    "CR_ACCESS DR_ACCESS IO_INSTRUCTION MSR_READ MSR_WRITE INVALID_STATE MSR_LOAD_FAIL - MWAIT_INSTRUCTION "
    "MONITOR_TRAP_FLAG - MONITOR_INSTRUCTION PAUSE_INSTRUCTION MCE_DURING_VMENTRY - TPR_BELOW_THRESHOLD APIC_ACCESS "
    "EOI_INDUCED GDTR_IDTR LDTR_TR EPT_VIOLATION EPT_MISCONFIG INVEPT RDTSCP PREEMPTION_TIMER INVVPID WBINVD XSETBV "
    "APIC_WRITE RDRAND INVPCID VMFUNC ENCLS RDSEED PML_FULL XSAVES XRSTORS - - UMWAIT TPAUSE - - - - - BUS_LOCK NOTIFY"
)  # by number
_SVM = (
    "interrupt nmi smi init vintr cr0_sel_write read_idtr read_gdtr read_ldtr read_rt write_idtr write_gdtr write_ldtr "
    "write_rt rdtsc rdpmc pushf popf cpuid rsm iret swint invd pause hlt invlpg invlpga io msr task_switch ferr_freeze "
    "shutdown vmrun hypercall vmload vmsave stgi clgi skinit rdtscp icebp wbinvd monitor mwait mwait_cond xsetbv"
)  # from 0x60 on
_EXCEPTIONS = "DE DB - BP OF BR UD NM DF - TS NP SS GP PF - MF AC MC XF"  # from 0x40 on
_SVM_OTHER = {
    "npf": 0x400, "avic_incomplete_ipi": 0x401, "avic_unaccelerated_access": 0x402, "vmgexit": 0x403,
    "write_efer_trap": 0x8F, "write_cr0_trap": 0x90, "write_cr4_trap": 0x94, "write_cr8_trap": 0x98, "invpcid": 0xA2,
    "vmgexit_mmio_read": 0x80000001, "vmgexit_mmio_write": 0x80000002, "vmgexit_nmi_complete": 0x80000003,
    "vmgexit_ap_hlt_loop": 0x80000004, "vmgexit_ap_jump_table": 0x80000005, "vmgexit_page_state_change": 0x80000010,
    "vmgexit_guest_request": 0x80000011, "vmgexit_ext_guest_request": 0x80000012, "vmgexit_ap_creation": 0x80000013,
    "vmgexit_hypervisor_feature": 0x8000FFFD, "invalid_guest_state": 0xFFFFFFFF, "err": 0xFFFFFFFF,
}  # fmt: skip
# libtraceevent's plugin_kvm.c has names of its own: EXIT_NPF for npf, and these where lower case is not enough.
_PLUGIN = {
    "intr": 0x60, "idtr_read": 0x66, "gdtr_read": 0x67, "ldtr_read": 0x68, "tr_read": 0x69, "idtr_write": 0x6A,
    "gdtr_write": 0x6B, "ldtr_write": 0x6C, "tr_write": 0x6D, "ioio": 0x7B, "vmmcall": 0x81,
}  # fmt: skip

_FAILED_VMENTRY = 0x80000000  # VMX_EXIT_REASONS_FAILED_VMENTRY
UNKNOWN_REASON = 0xFFFFFFFF


def _exit_names() -> dict[str, int]:
    names = {name: i for i, name in enumerate(_VMX.split())}
    names["PENDING_INTERRUPT"] = 7  # before v5.6
    names |= {name: 0x60 + i for i, name in enumerate(_SVM.split())}
    for i, name in enumerate(_EXCEPTIONS.split()):
        names |= {f"{name} excp": 0x40 + i, f"excp_{name.lower()}": 0x40 + i}
    for base, what in ((0x00, "read_cr"), (0x10, "write_cr"), (0x20, "read_dr"), (0x30, "write_dr")):
        names |= {f"{what}{i}": base + i for i in range(16)}
    del names["-"]
    return names | _PLUGIN | _SVM_OTHER


_EXITS = _exit_names()


def exit_reason(text: bytes) -> int:
    """kvm_exit's reason from its name, the kernel's or trace-cmd's; ``UNKNOWN_REASON`` if it is neither."""
    name = text.decode("ascii", "replace").strip()
    failed = _FAILED_VMENTRY if name.endswith(" FAILED_VMENTRY") else 0
    name = name.removesuffix(" FAILED_VMENTRY")
    number = re.fullmatch(r"(0x[0-9a-f]{1,8})|UNKNOWN(?:-ISA)? \((\d{1,10})\)", name)
    if number:
        return (int(number[1], 16) if number[1] else int(number[2])) & 0xFFFFFFFF | failed
    if name.startswith("EXIT_"):
        name = name[5:].lower()
    return _EXITS.get(name, UNKNOWN_REASON) | failed


def exit_isa(text: bytes) -> int:
    """KVM_ISA_VMX 1 or KVM_ISA_SVM 2, by the spelling of the reason; 0 where that is only a number."""
    name = text.strip()
    if name.startswith((b"0x", b"UNKNOWN")):
        return 0
    return 2 if name.startswith(b"EXIT_") or name.islower() or name.endswith(b" excp") else 1


def flags_of(names: Mapping[bytes, int]) -> Callable[[bytes], int]:
    """A reader of what ``__print_flags(.., "|", names)`` prints: names joined, a rest in hex."""

    def read(text: bytes) -> int:
        value = 0
        for part in text.split(b"|"):
            value |= int(part, 16) if part.startswith(b"0x") else names.get(part, 0)
        return value

    return read


def task_state(text: bytes) -> int:
    """``prev_state`` from "S", "D|K", "R+" ...; letters that v4.14 did away with count for nothing."""
    value = PREEMPTED if text.endswith(b"+") else 0
    for part in text.rstrip(b"+").split(b"|"):
        value |= TASK_STATE.get(part, 0)
    return value


_ROLE = re.compile(
    rb"l?(\d{1,2})(?: (\d)-byte| (pae))? q(\d)( direct)? [r-]?([w-])([u-])([x-])( invalid)?(?: (!?)pae)? (!?)nxe"
    rb"(?: (!?)wp)?( smep)?( smap)?( smm)?(?: (!?)ad)?"
)
ROLE = r"l?\d{1,2}(?: \d-byte| pae)? q\d(?: direct)? [r-]?[w-][u-][x-](?: invalid)?(?: !?pae)? !?nxe" + (
    r"(?: !?wp)?(?: smep)?(?: smap)?(?: smm)?(?: !?ad)?"
)


def page_role(text: bytes) -> int:
    """``kvm_mmu_page_role``, in v6.12's layout, of the bits that were printed; the others are 0.

    The kernel prints "l4 8-byte q0 direct wux nxe ad", since 7.2 "rwux", trace-cmd "4 q0 direct wux !pae nxe wp".
    """
    found = _ROLE.fullmatch(text)
    if found is None:
        return 0
    level, entry, pae, quadrant, direct, w, u, x, invalid, no_pae, no_nx, no_wp, smep, smap, smm, no_ad = found.groups()
    four_byte = entry == b"4" or pae is not None or no_pae == b""
    access = (x == b"x") | (w == b"w") << 1 | (u == b"u") << 2  # ACC_EXEC_MASK, ACC_WRITE_MASK, ACC_USER_MASK
    role = (int(level) & 15) | four_byte << 4 | (int(quadrant) & 3) << 5 | (direct is not None) << 7 | access << 8
    role |= (invalid is not None) << 11 | (no_nx == b"") << 12 | (no_wp == b"") << 13 | (smep is not None) << 14
    return role | (smap is not None) << 15 | (no_ad == b"!") << 16 | (smm is not None) << 24
