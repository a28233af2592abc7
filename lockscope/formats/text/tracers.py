"""What tracers and trace_printk() write: functions, stacks, markers, system calls. Each gives columns, or None.

Forms: kernel/trace/trace_output.c and trace_syscalls.c (v6.12) for tracefs, libtraceevent's plugin_function.c and
trace-cmd's trace-ftrace.c for ``trace-cmd report``. Where the kernel's field is an address and the text has only its
symbol, the field has the kernel's name and holds the symbol.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lockscope.formats.text.values import LONG_MASK, Columns, longs

MARKERS = ("tracing_mark_write", "trace_marker")
_SYSCALL = re.compile(rb"sys_(\w+)(?:\((.*)\)| -> (-?(?:0x)?[0-9a-f]{1,16}))")
_SYSCALL_ARGUMENT = re.compile(rb"\b(\w{1,64}): (?:0x)?([0-9a-f]{1,16})(?:, |$)")
_SYSCALL_RESULT = re.compile(rb"(-?)(?:0x)?([0-9a-f]{1,16})")
_SYS_ENTER = re.compile(rb"NR (-?\d{1,19}) \(([0-9a-f, ]*)\)")
_FUNCTION = re.compile(rb"(\S+)(?: \[\S+\])? <-+ ?(\S+).*", re.DOTALL)
_FRAME = re.compile(rb"\n ?=> +([^\n]*)")
_FRAME_ADDRESS = re.compile(rb".*[(<]([0-9a-f]{8,16})[)>]|(?:0x)?([0-9a-f]{8,16})")
_GRAPH_ENTRY = re.compile(rb"(?:[$@*#!+] ?)?(?:[\d.]+ us)? *\|( *)([^\s({;|]+).*", re.DOTALL)
_GRAPH_EXIT = re.compile(rb"(?:[$@*#!+] ?)?[\d.]+ us *\|( *)\}.*", re.DOTALL)
_RAW_DATA = re.compile(rb"# ([0-9a-f]{1,8})(?: buf:)?((?: [0-9a-f]{2})*)")


def printed(function: bytes, text: bytes) -> Columns:
    """A marker or trace_printk text. The kernel's ``ip`` is where it was printed."""
    return [("ip", "str", function), ("buf", "rest", text)]


def _trace_cmd_print(rest: bytes) -> Columns | None:
    if rest.startswith(b"ip="):
        return None
    function, colon, text = rest.partition(b": ")
    return printed(function, text) if colon else printed(b"", rest)


def function(rest: bytes) -> Columns | None:
    """``mutex_lock <-kvm_vm_ioctl``; trace-cmd prints the parent only if asked to."""
    found = _FUNCTION.fullmatch(rest)
    if found:
        return [("ip", "str", found[1]), ("parent_ip", "str", found[2])]
    return None if b"=" in rest or b" " in rest or not rest else [("ip", "str", rest), ("parent_ip", "str", b"")]


def stack(rest: bytes) -> Columns | None:
    """Frames, innermost first: addresses where all were printed, else the symbols, one a line."""
    if not rest.startswith(b"<"):
        return None
    frames = _FRAME.findall(rest)
    addresses = [_FRAME_ADDRESS.fullmatch(frame) for frame in frames]
    size: Columns = [("size", "s32", len(frames))]
    if all(addresses):
        return [*size, ("caller", "longs", longs([int(a[1] or a[2], 16) for a in addresses if a]))]
    return [*size, ("caller", "str", b"\n".join(frames))]


def _graph(form: re.Pattern[bytes]) -> Callable[[bytes], Columns | None]:
    def read(rest: bytes) -> Columns | None:
        found = form.fullmatch(rest)
        if found is None:
            return None
        depth: Columns = [("depth", "s32", max(len(found[1]) // 2 - 1, 0))]  # two blanks a level behind "|  "
        return [("func", "str", found[2]), *depth] if form.groups == 2 else depth

    return read


def _sys_enter(rest: bytes) -> Columns | None:
    found = _SYS_ENTER.fullmatch(rest)
    if not found:
        return None
    args = [int(a, 16) for a in found[2].replace(b",", b" ").split()[:6]]
    return [("id", "s64", int(found[1]) & LONG_MASK), ("args", "args", longs(args).ljust(48, b"\0"))]


def syscall(name: str, rest: bytes) -> Columns | None:
    """Arguments of sys_enter_NAME by their names, or ``ret`` of sys_exit_NAME. The call's number is not printed."""
    if name.startswith("sys_exit_"):
        result = _SYSCALL_RESULT.fullmatch(rest)
        return [("ret", "s64", int(result[1] + result[2], 16) & LONG_MASK)] if result else None
    found = dict(_SYSCALL_ARGUMENT.findall(rest))
    return [(key.decode(), "x64", int(value, 16)) for key, value in found.items()] if found or not rest else None


def raw_data(rest: bytes) -> Columns | None:
    """Binary data written to trace_marker_raw: its id and bytes."""
    found = _RAW_DATA.fullmatch(rest)
    return [("id", "u32", int(found[1], 16)), ("buf", "bytes", bytes.fromhex(found[2].decode()))] if found else None


NAMED: dict[str, Callable[[bytes], Columns | None]] = {
    "print": _trace_cmd_print,
    "bprint": _trace_cmd_print,
    "bputs": _trace_cmd_print,
    "function": function,
    "kernel_stack": stack,
    "user_stack": stack,
    "funcgraph_entry": _graph(_GRAPH_ENTRY),
    "funcgraph_exit": _graph(_GRAPH_EXIT),
    "raw_data": raw_data,
    "sys_enter": _sys_enter,
}

# The kinds of these events' fields in ``trace-cmd report -R``.
RAW_KINDS = {
    "print": {"ip": "x64", "buf": "str"},
    "bprint": {"ip": "x64", "fmt": "x64", "buf": "str"},
    "bputs": {"ip": "x64", "str": "x64"},
    "function": {"ip": "str", "parent_ip": "str"},
    "kernel_stack": {"size": "s32", "caller": "longs"},
    "user_stack": {"tgid": "u32", "caller": "longs"},
    "funcgraph_entry": {"func": "str", "depth": "s32"},
    "funcgraph_exit": {"func": "str", "retval": "x64", "depth": "s32", "overrun": "u32", "calltime": "x64",
                       "rettime": "x64"},
    "raw_data": {"id": "u32", "buf": "bytes"},
    "sys_enter": {"id": "s64", "args": "args"},
}  # fmt: skip


def unnamed(body: bytes, *, only_functions: bool) -> tuple[str, Columns] | None:
    """The event of a tracefs line that begins with no ``name: ``; ``only_functions``: of the function tracer."""
    if body.startswith((b"<stack trace>", b"<user stack trace>")):
        name = "user_stack" if body.startswith(b"<user") else "kernel_stack"
        return name, stack(body) or []
    call = _SYSCALL.fullmatch(body)
    if call:
        name = ("sys_enter_" if call[3] is None else "sys_exit_") + call[1].decode()
        columns = syscall(name, call[2] if call[3] is None else call[3])
        return (name, columns) if columns is not None else None
    for name, read in (("raw_data", raw_data), ("function", function)):
        columns = read(body) if name == "raw_data" or only_functions or b" <-" in body else None
        if columns is not None:
            return name, columns
    return None
