"""What the running kernel has: the look that ``lockscope probes --host`` and ``lockscope record`` take."""

from __future__ import annotations

import gzip
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from lockscope.errors import FormatError, UsageError
from lockscope.kvm.places import class_name, markers
from lockscope.kvm.versions import series
from lockscope.recording.btf import Btf
from lockscope.recording.catalogue import Probe, Series, catalogue

_TRACEFS = ("sys/kernel/tracing", "sys/kernel/debug/tracing")
_MODULES = ("kvm", "kvm_amd", "kvm_intel")
_STRUCTS = ("kvm", "kvm_vcpu")
_PARAMETERS = {"tdp_mmu": "kvm", "npt": "kvm_amd", "ept": "kvm_intel"}
_CONFIG = ("KVM", "PROVE_LOCKING", "LOCK_STAT", "KPROBE_EVENTS", "FPROBE_EVENTS", "PREEMPTION", "DEBUG_INFO_BTF")


@dataclass(frozen=True, slots=True)
class Host:
    """A kernel as it runs. ``functions``: those of the catalogue that it has, with their clones."""

    release: str
    lockdep: bool
    fprobes: bool
    functions: frozenset[str]
    traceable: frozenset[str]  # of the functions, those that ftrace lists
    parameters: dict[str, str]  # tdp_mmu, npt, ept
    modules: tuple[str, ...]  # KVM's that are loaded; none: built in, or not there
    config: dict[str, str]
    layout: tuple[str, ...]  # markers with the places of locks
    rt: bool = False  # PREEMPT_RT
    notes: tuple[str, ...] = ()

    @property
    def kernel(self) -> Series:
        """(6, 1)."""
        return series(".".join(re.findall(r"\d+", self.release)[:2]))

    @property
    def legacy_mmu(self) -> bool:
        """Whether the legacy MMU maps guests."""
        return self.parameters.get("tdp_mmu", "N")[:1] not in ("Y", "1")

    def lines(self) -> list[str]:
        """What was seen, for a person."""
        kind = ("PREEMPT_RT, " if self.rt else "") + ("lockdep" if self.lockdep else "no lockdep")
        kvm = f"modules {', '.join(self.modules)}" if self.modules else "built in, or not loaded"
        mmu = ", ".join(f"{name} {value}" for name, value in self.parameters.items()) or "no parameters"
        config = ", ".join(f"{name}={value}" for name, value in self.config.items()) or "not readable"
        places = "known by BTF" if self.layout else "not known: no BTF of KVM"
        return [
            f"kernel {self.release}, {kind}, fprobes {'yes' if self.fprobes else 'no'}",
            f"KVM: {kvm}; {mmu}",
            f"configuration: {config}",
            f"places of locks: {places}",
            *self.notes,
        ]


def look(root: Path = Path("/")) -> Host:
    """Look at the host under ``root``. Raises ``UsageError`` where that cannot be done, with what would help."""
    tracefs = next((root / t for t in _TRACEFS if (root / t / "events").is_dir()), None)
    if tracefs is None:
        msg = "the running kernel's tracefs cannot be read (hint: as root, mount -t tracefs nodev /sys/kernel/tracing)"
        raise UsageError(msg)
    release = (root / "proc/sys/kernel/osrelease").read_text().strip() if _there(root, "osrelease") else ""
    release = release or platform.release()
    symbols = _symbols(root / "proc/kallsyms")
    layout, notes = _layout(root)
    return Host(
        release,
        (tracefs / "events/lock/lock_acquire").is_dir(),
        "f[:" in _text(tracefs / "README"),
        symbols,
        frozenset(_text(tracefs / "available_filter_functions").replace("\t", " ").split()) & symbols,
        {name: value for name, module in _PARAMETERS.items()
         if (value := _text(root / "sys/module" / module / "parameters" / name).strip())},
        tuple(m for m in _MODULES if (root / "sys/module" / m / "initstate").is_file()),
        _config(root, release),
        tuple(layout),
        _rt(root),
        tuple(notes),
    )  # fmt: skip


def _there(root: Path, name: str) -> bool:
    return (root / "proc/sys/kernel" / name).is_file()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _symbols(kallsyms: Path) -> frozenset[str]:
    sought = {p.function for p in catalogue().probes if p.function}
    names = (line.split()[2] for line in _text(kallsyms).splitlines() if line.count(" ") >= 2)
    return frozenset(name for name in names if name.partition(".")[0] in sought and ".cold" not in name)


def _config(root: Path, release: str) -> dict[str, str]:
    text = _text(root / "boot" / f"config-{release}")
    packed = root / "proc/config.gz"
    if packed.is_file():
        text = gzip.decompress(packed.read_bytes()).decode("utf-8", "replace")
    found = re.findall(rf"^CONFIG_({'|'.join(_CONFIG)})=(\w+)$", text, re.MULTILINE)
    return dict(found) | ({n: "n" for n in _CONFIG if n not in dict(found)} if text else {})


def _rt(root: Path) -> bool:
    """As ``record.sh`` tells: the file is of the RT patches and of kernels that came out of them."""
    banner = _text(root / "proc/sys/kernel/version")
    return _text(root / "sys/kernel/realtime").strip() == "1" or "PREEMPT_RT" in banner or "PREEMPT RT" in banner


def _layout(root: Path) -> tuple[list[str], list[str]]:
    """The places of locks as markers, and what hindered."""
    folder = root / "sys/kernel/btf"
    vmlinux = folder / "vmlinux"
    found: dict[str, list[tuple[int, str]]] = {}
    notes = []
    for file in (*(folder / m for m in _MODULES), vmlinux):
        if len(found) == len(_STRUCTS) or not (file.is_file() and vmlinux.is_file()):
            continue
        try:
            btf = Btf(file) if file == vmlinux else Btf(file, vmlinux)
            for s in (s for s in _STRUCTS if s not in found):
                locks = [(p.offset, class_name(s, *p[::3], p.kind)) for p in btf.locks(s)]
                found |= {s: locks} if locks else {}
        except (OSError, FormatError) as error:
            notes.append(str(error))
    return [text for s in _STRUCTS for text in markers(s, found.get(s, ()))], notes


def missing(probe: Probe, host: Host) -> str | None:
    """Why a probe cannot be set on the host, None where it can."""
    if probe.tracepoint:
        return None if host.fprobes else "tracepoints cannot be probed before 6.4 (CONFIG_FPROBE_EVENTS)"
    if probe.function in host.functions:
        return None
    clones = sorted(f for f in host.functions if f.startswith(probe.function + "."))
    if clones:
        return f"the compiler left only {clones[0]}, with other arguments"
    return f"{probe.function} is inlined, or not in this kernel"


def split(probe: Probe, host: Host) -> str | None:
    """The clone that hides some calls from a probe, None where it sees all."""
    parts = (f for f in host.functions if f.startswith(f"{probe.function}.part."))
    return min(parts, default=None) if probe.function in host.functions else None
