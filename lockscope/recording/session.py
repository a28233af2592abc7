"""One recording on this host: the shell script does it, this watches it and says how far it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lockscope.errors import UsageError
from lockscope.recording.catalogue import GROUP

INSTANCE = Path("/sys/kernel/tracing/instances") / GROUP
_EVERY = 0.5  # seconds between looks at the counters
_NOTHING = 2


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel has counted so far. ``written``: bytes of the recorder's files."""

    events: int = 0
    lost: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """A recording: the script's text and arguments. ``output``: the file that it writes, "" for none."""

    script: str
    arguments: tuple[str, ...]
    output: str = ""

    def run(self, progress: Callable[[Counters], None]) -> int:
        """Record; the script's exit status: the command's, or 2. An interrupt or SIGTERM ends the recording, not this.

        Killed with SIGKILL, the script's guard takes everything away (``record.sh``).
        """
        folder = Path(tempfile.mkdtemp(prefix="lockscope-"))
        try:
            place = folder / "record.sh"
            place.write_text(self.script, encoding="utf-8")
            # Who waits for the script, as one process: a pid with the time of its start.
            parent = f"{os.getpid()} {started(os.getpid())}"
            env = os.environ | {"LOCKSCOPE_PARENT": parent, "LOCKSCOPE_OWN": str(folder)}
            with _passed_on() as pass_to:
                process = subprocess.Popen(["/bin/sh", str(place), *self.arguments], env=env)
                pass_to(process)
                return self._watch(process, progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, process: subprocess.Popen[bytes], progress: Callable[[Counters], None]) -> int:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                return process.wait(_EVERY)
            progress(counters(self.output))


@contextlib.contextmanager
def _passed_on() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """SIGTERM goes to the script, which ends cleanly; an interrupt from the terminal reaches it by itself.

    One that comes while the script is being started is passed on as soon as it can be.
    """
    children: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def stop(number: int, *_: object) -> None:
        asked.append(number)
        for child in children:
            child.send_signal(signal.SIGTERM)

    def pass_to(child: subprocess.Popen[bytes]) -> None:
        children.append(child)
        if asked:
            child.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield pass_to
    finally:
        signal.signal(signal.SIGTERM, before)


def started(pid: int) -> int:
    """When a process was started, in clock ticks since the boot: field 22 of /proc/PID/stat (proc(5)).

    The name before may hold spaces and parentheses. Raises ``OSError`` where there is no such process.
    """
    return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()[19])


def counters(output: str, instance: Path = INSTANCE) -> Counters:
    """The counters of all CPUs; zeros before the recording begins and after it ended."""
    events = lost = 0
    for stats in instance.glob("per_cpu/cpu*/stats"):
        with contextlib.suppress(OSError, ValueError):
            numbers = dict(_numbers(stats.read_text()))
            missed = sum(numbers.get(name, 0) for name in ("overrun", "commit overrun", "dropped events"))
            lost += missed
            events += numbers.get("entries", 0) + numbers.get("read events", 0)
    place = Path(output)
    parts = [*place.parent.glob(f"{place.name}.*cpu*"), place] if output else []
    written = 0
    for part in parts:
        with contextlib.suppress(OSError):
            written += part.stat().st_size
    return Counters(events, lost, written)


def _numbers(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.strip().isdigit():
            yield name.strip(), int(value)


def require(*, trace_cmd: bool = True) -> None:
    """Raise ``UsageError``, one line with a hint, where nothing can be recorded."""
    hint = ""
    if os.uname().sysname != "Linux":
        hint = "only Linux can be recorded (hint: lockscope probes writes a script for another host)"
    elif os.geteuid() != 0:
        hint = "only root may record the kernel (hint: sudo lockscope record ...)"
    elif not INSTANCE.parent.is_dir():
        hint = "tracefs is not mounted (hint: mount -t tracefs nodev /sys/kernel/tracing)"
    elif trace_cmd and shutil.which("trace-cmd") is None:
        hint = "trace-cmd is not installed (hint: install it, or lockscope record --text, which needs tracefs alone)"
    if hint:
        raise UsageError(hint)


def vms() -> dict[int, str]:
    """Processes with a VM, by pid: their names."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            links = (os.readlink(fd) for fd in (process / "fd").iterdir())
            if any(link.startswith("anon_inode:kvm-vm") for link in links):
                found[int(process.name)] = (process / "comm").read_text().strip()
    return dict(sorted(found.items()))


def process_of(pid: int, known: dict[int, str]) -> None:
    """Raise ``UsageError`` unless the process has a VM."""
    if pid not in known:
        there = ", ".join(f"{p} ({name})" for p, name in known.items())
        msg = f"--vm {pid}: no process with a VM (hint: {'there are ' + there if there else 'no VM is running'})"
        raise UsageError(msg)


def failed(status: int, output: str) -> bool:
    """Whether there is nothing to look at."""
    return status == _NOTHING and not _has_bytes(output)


def _has_bytes(output: str) -> bool:
    place = Path(output)
    return place.is_file() and place.stat().st_size > 0


def arguments(
    output: str, *, seconds: float | None, kilobytes: int | None, clock: str, pid: int | None, stacks: bool,
    text: bool, command: Sequence[str],
) -> tuple[str, ...]:  # fmt: skip
    """The script's arguments."""
    made = ["-o", output, "-c", clock]
    made += ["-d", f"{seconds:g}"] if seconds is not None else []
    made += ["-b", str(kilobytes)] if kilobytes is not None else []
    made += ["-p", str(pid)] if pid is not None else []
    made += ["-s"] if stacks else []
    made += ["-t"] if text else []
    return (*made, "--", *command) if command else tuple(made)
