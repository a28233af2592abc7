"""Where locks lie in kernels whose builds are known, for traces that do not say it themselves.

By release: a distribution builds each release once, with one configuration. Read from that build's own BTF
(``lockscope.recording.btf``).
"""

from __future__ import annotations

from lockscope.kvm.places import Places

# Debian's linux-image-6.1.0-56-amd64 (6.1.192-2): /sys/kernel/btf/kvm and vmlinux of the running kernel.
_DEBIAN_6_1_56 = Places(
    kvm={
        0: "&(kvm)->mmu_lock", 8: "&kvm->slots_lock", 40: "&kvm->slots_arch_lock", 4408: "&kvm->mn_invalidate_lock",
        4432: "&kvm->gpc_lock", 4488: "&kvm->lock", 4552: "&kvm->irqfds.lock", 4592: "&kvm->irqfds.resampler_lock",
        37640: "&head->track_srcu", 38040: "&kvm->arch.mmu_unsync_pages_lock", 38120: "&kvm->arch.apic_map_lock",
        38168: "&kvm->arch.apicv_update_lock", 38256: "&kvm->arch.tsc_write_lock", 38600: "&hv->hv_lock",
        39256: "&kvm->arch.tdp_mmu_pages_lock", 39272: "&kvm->arch.hv_root_tdp_lock", 39424: "&kvm->ring_lock",
        39448: "&kvm->irq_lock", 39624: "&kvm->srcu", 40016: "&kvm->irq_srcu",
    },
    vcpu={72: "&vcpu->mutex", 280: "&vcpu->async_pf.lock"},
)  # fmt: skip

_BY_RELEASE = {"6.1.0-56-amd64": _DEBIAN_6_1_56}


def of_release(release: str | None) -> Places:
    """A copy of what is known of a kernel by its release; nothing of most."""
    known = _BY_RELEASE.get(release or "")
    return Places(dict(known.kvm), dict(known.vcpu)) if known else Places()
