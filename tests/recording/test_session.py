"""One recording as its watcher sees it: arguments, counters, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from lockscope.errors import UsageError
from lockscope.recording.session import Counters, Session, arguments, counters, failed, process_of, started

STATS = """entries: 10
overrun: 3
commit overrun: 0
bytes: 480
oldest event ts:  5.1
now ts:  6.2
dropped events: 1
read events: 90
"""


def test_counters_of_all_cpus(tmp_path: Path) -> None:
    for cpu in (0, 1):
        (tmp_path / f"per_cpu/cpu{cpu}").mkdir(parents=True)
        (tmp_path / f"per_cpu/cpu{cpu}/stats").write_text(STATS)
    (tmp_path / "t.dat.lockscope.cpu0").write_bytes(b"x" * 100)
    (tmp_path / "t.dat").write_bytes(b"x" * 7)
    assert counters(str(tmp_path / "t.dat"), tmp_path) == Counters(200, 8, 107)
    assert counters("", tmp_path / "nowhere") == Counters()


def test_arguments_of_the_script() -> None:
    few = arguments("t.dat", seconds=2.5, kilobytes=None, clock="mono", pid=None, stacks=False, text=False, command=())
    assert few == ("-o", "t.dat", "-c", "mono", "-d", "2.5")
    many = arguments("t.dat", seconds=None, kilobytes=64, clock="global", pid=7, stacks=True, text=True,
                     command=("ls", "-l"))  # fmt: skip
    assert many == ("-o", "t.dat", "-c", "global", "-b", "64", "-p", "7", "-s", "-t", "--", "ls", "-l")


def test_status_and_environment_of_the_script(tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f'echo "$LOCKSCOPE_PARENT $# $2" > {said}; [ -d "$LOCKSCOPE_OWN" ] || exit 9; exit 7\n'
    assert Session(script, ("-o", "x")).run(lambda _: None) == 7
    assert said.read_text() == f"{os.getpid()} {started(os.getpid())} 2 x\n"


def test_sigterm_ends_the_recording_and_not_the_watcher(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 130' TERM\n: > {ready}\nwhile :; do sleep 0.05; done\n"
    before = signal.getsignal(signal.SIGTERM)

    def stop() -> None:
        while not ready.exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert Session(script, ()).run(lambda _: None) == 130
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_status_two_without_a_file_is_a_failure(tmp_path: Path) -> None:
    made = tmp_path / "t.dat"
    assert failed(2, str(made))
    made.write_bytes(b"x")
    assert not failed(2, str(made))
    assert not failed(1, str(tmp_path / "other"))


def test_a_process_without_a_vm() -> None:
    process_of(7, {7: "qemu"})
    with pytest.raises(UsageError, match=r"--vm 8: no process with a VM \(hint: there are 7 \(qemu\)\)"):
        process_of(8, {7: "qemu"})
    with pytest.raises(UsageError, match="no VM is running"):
        process_of(8, {})
