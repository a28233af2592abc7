"""Run a command line to its exit status; nothing but one line on standard error for what goes wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import typer

from lockscope.cli._app import build
from lockscope.cli._options import current
from lockscope.cli._shell import INTERRUPTED, NO_VERDICT, say, settings, silence_stdout
from lockscope.errors import LockscopeError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
# typer raises click's exceptions, from a copy of its own since 0.20 or so: whichever it is, it is BadParameter's root.
_CLICK_ERROR = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def run(arguments: Sequence[str]) -> int:
    """Run ``lockscope ARGUMENTS`` and return its exit status: 0, 1 or 2 (README), 130 on an interrupt."""
    settings.verbose = os.environ.get("LOCKSCOPE_DEBUG", "") not in ("", "0")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # JSON is UTF-8 whatever the locale; file names that are not are shown escaped (in JSON: as its own escape).
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        status = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        return 0
    except Exception as error:
        return _failed(error)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    return status


def _invoke(arguments: Sequence[str]) -> int:
    arguments = current(arguments)
    command = typer.main.get_command(build(arguments))
    try:
        # Not command.main(): it turns an interrupt into Abort and a broken pipe into status 1, which means findings.
        with command.make_context("lockscope", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    return 0


def _failed(error: Exception) -> int:
    if settings.verbose:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        with contextlib.suppress(OSError):  # as where standard output is no file
            silence_stdout()  # Python would try again to write the rest when it ends
    say(_line(error))
    return NO_VERDICT


def _line(error: Exception) -> str:
    if isinstance(error, LockscopeError):
        return str(error)
    if isinstance(error, _CLICK_ERROR):
        message: str = getattr(error, "format_message", error.__str__)()
        context = getattr(error, "ctx", None)
        usage = context.command_path if context is not None else "lockscope"
        return f"{message.rstrip('.')} ({usage} --help shows the usage)"
    if isinstance(error, typer.Abort):
        return "aborted"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"cannot be written: {error.strerror} (standard output, or a temporary file in {tempfile.gettempdir()})"
    if isinstance(error, MemoryError):
        return "internal error: out of memory; please report it (lockscope -v shows the traceback)"
    return f"internal error: {type(error).__name__}: {error}; please report it (lockscope -v shows the traceback)"
