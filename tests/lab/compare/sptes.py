"""SPTEs, the shadow pages' role and fast page faults' results: from KVM's headers.

Beliefs: ``kvm/spte_layouts.py`` and the numbers that rulebooks have of RET_PF_FIXED.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lockscope.kvm import versions
from lockscope.kvm.spte_layouts import LAYOUTS, Layout
from lockscope.rules.load import choose
from tests.lab.compare.edits import Edit

_LAYOUTS = "lockscope/kvm/spte_layouts.py"
_NUMBER = re.compile(r"\b(0x[0-9a-fA-F]+|\d+)(?:ULL|UL|LL|U|L)?\b")
_EPT = {"VMX_EPT_READABLE_MASK": 1, "VMX_EPT_WRITABLE_MASK": 2, "VMX_EPT_EXECUTABLE_MASK": 4}  # asm/vmx.h
# What tracing reads of a shadow page's role (kvm_mmu_get_page and its kin): lowest bit of each.
_ROLE = {"level": 0, "direct": 7}


def differences(folder: Path) -> Iterator[Edit]:
    """Compare the headers below ``folder/source``."""
    release = (folder / "release").read_text()
    version = versions.parse(release)
    assert version is not None, release
    kvm = folder / "source/arch/x86/kvm/mmu"
    values = defines((kvm / "spte.h").read_text())
    for ept in (True, False):
        layout = next(lay for lay in reversed(LAYOUTS) if lay.ept == ept and lay.since <= version.series)
        for field, believed, names in _wanted(layout):
            found = next((values[n] for n in names if n in values), None)
            if found != believed:
                is_now = "gone" if found is None else f"{found:#x}"
                yield Edit(_LAYOUTS, f"{names[0]} is {is_now}; {layout.name} has {field} = {believed:#x}")
    yield from _results((kvm / "mmu_internal.h").read_text(), release)
    bits = role_bits((folder / "source/arch/x86/include/asm/kvm_host.h").read_text())
    for name, believed in _ROLE.items():
        if bits.get(name) != believed:
            yield Edit(
                "lockscope/core/kvm_spte.py (role)", f"role.{name} begins at bit {bits.get(name)}, not {believed}"
            )


def _wanted(layout: Layout) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    kind = "EPT" if layout.ept else "DEFAULT"
    yield "host_writable", layout.host_writable, (f"{kind}_SPTE_HOST_WRITABLE",)
    yield "mmu_writable", layout.mmu_writable, (f"{kind}_SPTE_MMU_WRITABLE",)
    yield "present", layout.present, ("SPTE_MMU_PRESENT_MASK",)
    yield "frozen", layout.frozen, ("FROZEN_SPTE", "REMOVED_SPTE")
    yield "initial", layout.initial, ("SHADOW_NONPRESENT_VALUE",)
    if layout.ept:
        yield "ad_mask", layout.ad_mask, ("SPTE_TDP_AD_MASK",)
        yield "ad_disabled", layout.ad_disabled, ("SPTE_TDP_AD_DISABLED", "SPTE_TDP_AD_DISABLED_MASK")
        yield "ad_write_protect", layout.ad_write_protect, ("SPTE_TDP_AD_WRPROT_ONLY", "SPTE_TDP_AD_WRPROT_ONLY_MASK")
        yield "saved", layout.saved, ("SHADOW_ACC_TRACK_SAVED_BITS_SHIFT",)


def defines(header: str) -> dict[str, int]:
    """The constants of a header that are made of numbers and of each other; of several the first (64-bit kernels')."""
    text = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL).replace("\\\n", " ")
    values = dict(_EPT)
    for name, body in re.findall(r"^#define[ \t]+(\w+)[ \t]+(\S.*)$", text, re.MULTILINE):
        value = _value(body, values)
        if value is not None:
            values.setdefault(name, value)
    return values


def _value(body: str, values: dict[str, int]) -> int | None:
    plain = re.sub(r"\bBIT(?:_ULL)?\(", "(1<<", body)
    plain = _NUMBER.sub(r"\1", plain)
    for word in set(re.findall(r"\b[A-Za-z_]\w*", re.sub(r"0x[0-9a-fA-F]+", "", plain))):
        if word not in values:
            return None
        plain = re.sub(rf"\b{word}\b", str(values[word]), plain)
    if not re.fullmatch(r"[0-9a-fA-Fx()<|&~+\-*\s]+", plain):
        return None
    try:
        number = eval(plain, {"__builtins__": {}})  # numbers and operators alone, as checked
    except SyntaxError:
        return None
    return number if isinstance(number, int) else None


def _results(header: str, release: str) -> Iterator[Edit]:
    body = re.search(r"enum \{\s*(RET_PF_CONTINUE.*?|RET_PF_RETRY.*?)\};", header, re.DOTALL)
    text = re.sub(r"/\*.*?\*/", " ", body[1], flags=re.DOTALL) if body else ""
    names = re.findall(r"\b(RET_PF_\w+)", text)
    book, _ = choose(release)
    believed = book.value("fast_page_fault.ret_fixed")
    number = names.index("RET_PF_FIXED") if "RET_PF_FIXED" in names else None
    if number != believed:
        yield Edit(f"lockscope/rules/{book.name}.toml", f"RET_PF_FIXED is {number}; the rulebook has {believed}")


def role_bits(header: str) -> dict[str, int]:
    """Where the bit fields of ``union kvm_mmu_page_role`` begin."""
    body = re.search(r"union kvm_mmu_page_role \{\s*u32 word;\s*struct \{(.*?)\};", header, re.DOTALL)
    bits, at = {}, 0
    plain = re.sub(r"/\*.*?\*/", " ", body[1], flags=re.DOTALL) if body else ""
    for name, width in re.findall(r"unsigned (\w*):(\d+);", plain):
        bits[name] = at
        at += int(width)
    return bits
