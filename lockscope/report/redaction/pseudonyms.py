"""Pseudonyms for what must not be shared: task names, pids, host names, directories and addresses.

The same name is the same pseudonym wherever it occurs: ``task1``, pid ``1``, ``host1``, ``addr1``, ``window1``; of a
path the file's name stays. Lock classes, symbols with their offsets, events, times and CPUs stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_SMALL = 0x1000  # flags, levels, indices and error codes; nothing is mapped in the first page
_TASKLESS = frozenset({"<idle>", "<...>", ""})

_HEX = re.compile(r"(?<![\w+/])0x([0-9a-fA-F]+)\b")
# A pointer as the kernel prints it (%px, %p): 16 digits; kernel addresses begin with fff, 32-bit and hashed with 0.
_BARE = re.compile(r"(?<![\w+/.])(?:fff[0-9a-f]|0000)[0-9a-f]{12}\b")
_DIRECTORY = re.compile(r"(?<![\w/.>)&-])/(?!(?:sys|proc|dev)/)(?:[^\s/'\"():,;]+/)+(?=[^\s/'\"():,;])")
_PID_WORD = re.compile(r"\b((?:\w+_)?(?:[ptPT][iI][dD]|tgid)s?(?:\s*[=:]+\s*|\s+)|[Tt](?:ask|hread)\s+(?=\d))(\d+)\b")
_PID_AFTER = re.compile(r"(?<![\w])(task\d+|<\.\.\.>)([/-])(\d+)\b")
_TASK_PID = re.compile(r"^(.{1,16})/(\d+)$")
_TOLD_TASK = re.compile(  # lockdep's sentences: "qemu/12 is trying to acquire lock:", "2 locks held by qemu/12:"
    r"^(?P<a>\S.{0,15})/(?P<p>\d+) (?=(?:is|just|holds|returned|left|exited) )"
    r"|(?<=(?:held|done|made) by )(?P<b>\S.{0,15}?)/(?P<q>\d+)(?=[:,.;)\s]|$)"
)

_COMM_KEYS = frozenset({"comm", "prev_comm", "next_comm", "child_comm"})
_TASK_KEYS = frozenset({"task", "process", "thread"})
_PID_KEYS = frozenset({"pid", "tid", "tgid", "ppid", "prev_pid", "next_pid", "child_pid"})
_HOST_KEYS = frozenset({"host", "hostname", "nodename"})
_ADDRESS_KEYS = frozenset(
    {"address", "addr", "lock", "instance", "ptr", "kvm", "vcpu", "sptep", "ssp", "key", "ip", "nest", "gpa", "gva"}
)


class Redactor:
    """Gives out the pseudonyms, in the order in which names are first met. One for all that is shared together."""

    def __init__(self) -> None:
        self._tasks: dict[str, str] = {}
        self._pids: dict[int, int] = {}
        self._addresses: dict[int, str] = {}
        self._hosts: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._windows: dict[str, str] = {}
        self._instances: dict[str, str] = {"": ""}
        self._named = False
        self._words: set[str] = set()
        self._names: re.Pattern[str] | None = None

    def keep(self, words: Iterable[str]) -> None:
        """Words that stay in free text although a task may be called so: class names."""
        self._words.update(words)
        self._names = None

    def learn(self, line: str) -> None:
        """The tasks that a line of a report speaks of."""
        for match in _TOLD_TASK.finditer(line):
            self.task(match["a"] or match["b"])
            self.pid(int(match["p"] or match["q"]))

    def name_tasks(self, comm: str) -> str:
        """A task's pseudonym, for whoever puts names into sentences: from then on no text has any other.

        So no name can hide in a sentence, however it is spelled ("is", "a/7", "[x]").
        """
        self._named = False
        try:
            return self.task(comm)
        finally:
            self._named = True

    def task(self, comm: str) -> str:
        """A task's pseudonym; the idle task and the unknown one stay as they are."""
        if comm in _TASKLESS or self._named:
            return comm
        if comm not in self._tasks:
            self._tasks[comm] = f"task{len(self._tasks) + 1}"
            self._names = None
        return self._tasks[comm]

    def pid(self, pid: int) -> int:
        """A pid's pseudonym, a number as well; 0 (idle) and negative ones stay."""
        return pid if pid <= 0 else self._pids.setdefault(pid, len(self._pids) + 1)

    def host(self, name: str) -> str:
        """A host's pseudonym."""
        if name in ("", "(none)"):
            return name
        if name not in self._hosts:
            self._hosts[name] = f"host{len(self._hosts) + 1}"
            self._names = None
        return self._hosts[name]

    def instance(self, name: str) -> str:
        """The pseudonym of an instance of tracing, which people name; "" is the top one."""
        return self._instances.setdefault(name, f"instance{len(self._instances)}")

    def window(self, name: str) -> str:
        """A window's pseudonym: its name is what somebody wrote to trace_marker, and may say anything."""
        return self._windows.setdefault(name, f"window{len(self._windows) + 1}")

    def address(self, value: int) -> str:
        """An address's pseudonym; small numbers are no addresses."""
        value &= (1 << 64) - 1
        if value < _SMALL:
            return f"0x{value:x}"
        return self._addresses.setdefault(value, f"addr{len(self._addresses) + 1}")

    def path(self, path: str) -> str:
        """A path without its directories; from now on also in free text."""
        name = path.rstrip("/").rpartition("/")[2]
        if name and name != path:
            self._paths[path] = name
        return self._known(name)

    def addresses(self, text: str) -> str:
        """Text without addresses, all else kept."""
        text = _HEX.sub(lambda m: self.address(int(m[1], 16)), text)
        return _BARE.sub(lambda m: m[0] if int(m[0], 16) < _SMALL else self.address(int(m[0], 16)), text)

    def text(self, text: str) -> str:
        """Free text: known tasks, hosts and paths, ``name/pid`` and ``pid N``, addresses, absolute paths."""
        for path, name in self._paths.items():
            text = text.replace(path, name)
        for name, pseudonym in self._instances.items():
            text = text.replace(f" of buffer {name}: ", f" of buffer {pseudonym}: ") if name else text
        text = self._known(text)
        text = _PID_WORD.sub(lambda m: f"{m[1]}{self.pid(int(m[2]))}", text)
        text = _PID_AFTER.sub(lambda m: f"{m[1]}{m[2]}{self.pid(int(m[3]))}", text)
        return _DIRECTORY.sub("", self.addresses(text))

    def value(self, value: Any, key: str = "") -> Any:
        """Anything JSON can say; what a number or a word is, its key tells."""
        if isinstance(value, Mapping):
            if key in ("comms", "tasks"):
                return {self._pid_of(k): self.value(v, "comm") for k, v in value.items()}
            return {self.text(k) if isinstance(k, str) else k: self.value(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, key.removesuffix("s")) for item in value]
        if isinstance(value, str):
            return self._word(value, key)
        if isinstance(value, int) and not isinstance(value, bool):
            if key in _PID_KEYS:
                return self.pid(value)
            return self.address(value) if key in _ADDRESS_KEYS else value
        return value

    def _word(self, value: str, key: str) -> str:
        if key in _COMM_KEYS:
            return self.task(value)
        if key in _TASK_KEYS:
            both = _TASK_PID.match(value)
            return f"{self.task(both[1])}/{self.pid(int(both[2]))}" if both else self.task(value)
        if key in _HOST_KEYS:
            return self.host(value)
        return self.path(value) if key in ("path", "file") else self.text(value)

    def _pid_of(self, pid: Any) -> Any:
        return self.pid(int(pid)) if str(pid).isdigit() else pid

    def _known(self, text: str) -> str:
        if self._names is None:
            self._names = self._pattern()
        return self._names.sub(lambda m: self._tasks.get(m[0]) or self._hosts[m[0]], text)

    def _pattern(self) -> re.Pattern[str]:
        """Finds known names. Longest first: "CPU 0/KVM" before "CPU".

        A name is a whole word, not part of an expression: the task "kvm" is not in "&kvm->lock" nor "[kvm]". Where
        it is a class's name too, only "name/123" is the task.
        """
        names = sorted({*(() if self._named else self._tasks), *self._hosts}, key=len, reverse=True)
        free = [re.escape(n) for n in names if n not in self._words]
        bound = [re.escape(n) for n in names if n in self._words]
        before = r"(?<![\w&>./@\[-])"
        parts = [rf"{before}(?:{'|'.join(free)})(?![\w>(+@\]]|->|\.\w)"] if free else []
        parts += [rf"{before}(?:{'|'.join(bound)})(?=/\d)"] if bound else []
        return re.compile("|".join(parts) or r"(?!)")
