"""What can be chosen about a simulated host."""

from __future__ import annotations

from dataclasses import dataclass

from lockscope.errors import UsageError

FIDELITIES = ("probes", "stock")
KERNEL_NAMES = ("4.14", "6.12", "7.3")
CLOCK_NAMES = ("mono", "global", "boot", "local")
FORMAT_NAMES = ("dat7", "dat7-zlib", "dat7-none", "dat6", "text", "perf")
MMUS = ("tdp", "legacy", "shadow")
VENDORS = ("amd", "intel")
_MOST_CPUS, _MOST_VMS, _MOST_VCPUS = 256, 64, 64


@dataclass(frozen=True, slots=True)
class Parameters:
    """A host and how it is recorded.

    ``duration_ms``: how long work goes on, in simulated time; ``events``: how many events are wanted at least, instead.
    ``skew_ns``: by how much CPUs' clocks may differ with clock "local". ``buffer_kib``: ring buffer of each CPU; None:
    nothing is lost. ``fidelity``: "probes" as with the probe pack on a kernel with lockdep, "stock" as with the
    tracepoints of a distribution's kernel. ``mmu``, ``vendor``: None leaves them to the scenario.
    """

    kernel: str = "6.12"
    vms: int = 1
    vcpus: int = 2
    cpus: int = 4
    duration_ms: int = 20
    events: int | None = None
    seed: int = 1
    clock: str = "mono"
    skew_ns: int = 0
    buffer_kib: int | None = None
    fidelity: str = "probes"
    mmu: str | None = None
    vendor: str | None = None
    near_miss: bool = False

    def __post_init__(self) -> None:
        _one_of("kernel", self.kernel, KERNEL_NAMES)
        _one_of("clock", self.clock, CLOCK_NAMES)
        _one_of("fidelity", self.fidelity, FIDELITIES)
        if self.mmu is not None:
            _one_of("mmu", self.mmu, MMUS)
        if self.vendor is not None:
            _one_of("vendor", self.vendor, VENDORS)
        _between("vms", self.vms, 1, _MOST_VMS)
        _between("vcpus", self.vcpus, 1, _MOST_VCPUS)
        _between("cpus", self.cpus, 1, _MOST_CPUS)
        _between("duration", self.duration_ms, 1, 3_600_000)
        _between("seed", self.seed, 0, (1 << 63) - 1)
        _between("skew", self.skew_ns, 0, 1_000_000_000)
        if self.events is not None:
            _between("events", self.events, 1, 1 << 40)
        if self.buffer_kib is not None:
            _between("buffer", self.buffer_kib, 8, 1 << 22)
        if self.skew_ns and self.clock != "local":
            msg = f"--skew {self.skew_ns}: only the clock 'local' can be out of step between CPUs (--clock local)"
            raise UsageError(msg)


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"--{what} {value}: not known (one of {', '.join(known)})"
        raise UsageError(msg)


def _between(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        msg = f"--{what} {value}: must be from {least} to {most}"
        raise UsageError(msg)
