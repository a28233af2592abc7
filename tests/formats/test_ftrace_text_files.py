from __future__ import annotations

import gzip
import io
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.formats.text.ftrace import FtraceText
from lockscope.tables.events import LOSS
from tests.builders import zstd
from tests.builders.events import events
from tests.builders.text import EVENT, TRACEFS_HEADER, open_text

BODIES = [
    line
    for part in ("both", "tracefs", "report")
    for line in (Path(__file__).parent / "data" / f"ftrace_{part}.txt").read_text().splitlines()[1::2]
]


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("xz", lzma.compress), ("zstd", zstd.compress)])
def test_compressed(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    text = "".join(EVENT % i for i in range(5000)).encode()
    trace = open_text(tmp_path, pack(text))
    assert trace.info.format == f"tracefs text ({name})"
    assert events(trace) == events(open_text(tmp_path, text))


def test_compressed_and_cut_off(tmp_path: Path) -> None:
    lines = [
        f"  bash-7 [001] ..... {i}.{i * 7919 % 1000000:06d}: lock_release: {i * 7919:x} x\n" for i in range(20_000)
    ]
    trace = open_text(tmp_path, gzip.compress("".join(lines).encode())[:-5000])
    assert 5_000 < len(events(trace)) < 20_000
    assert "truncated" in [loss.kind for loss in trace.info.losses]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(lzma.compress("".join(EVENT % i for i in range(3000)).encode())))

    monkeypatch.setattr(sys, "stdin", Stdin)
    trace = FtraceText("-")
    assert trace.info.path == "-"
    assert len(events(trace)) == 3000
    assert len(events(trace)) == 3000


def test_header_without_events(tmp_path: Path) -> None:
    assert events(open_text(tmp_path, TRACEFS_HEADER)) == []
    assert events(open_text(tmp_path, "cpus=2\n")) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "no line of ftrace text"),
        ("hello\nworld\n", "no line of ftrace text"),
        (TRACEFS_HEADER + "hello\n", "line 13: no line of an event"),
        ("# tracer: function_graph\n#\n 0)   0.123 us    |  mutex_lock();\n", "function_graph text, which has no time"),
        (b"\x1f\x8b\x08\x00garbage", "the gzip data is damaged"),
        (b"\x17\x08\x44tracing6\0", "no line of ftrace text"),
    ],
)
def test_what_is_no_ftrace_text_is_one_line(tmp_path: Path, text: str | bytes, wanted: str) -> None:
    with pytest.raises(FormatError) as error:
        open_text(tmp_path, text)
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (TRACEFS_HEADER, True),
        (EVENT % 1, True),
        ("cpus=2\n", True),
        ("memslot_-142       1..... 496258us+: lock_release: 000000008ae5d788 x\n", True),
        ("memslot_modific   142 [001]   227.973378: lock:lock_release: 0xffff888100cd1420 sb_writers\n", False),  # perf
        ("x cpus=2\n", False),
        ("", False),
    ],
)
def test_sniff(head: str, known: bool) -> None:
    assert FtraceText.sniff(head.encode()) is known


def test_damaged_text_gives_events_or_an_error(tmp_path: Path) -> None:
    rng = random.Random(20)
    good = TRACEFS_HEADER + "".join(
        EVENT % i + f"  bash-7 [001] d..1. 1.{i:06d}: {body}\n" for i, body in enumerate(BODIES * 3)
    )
    for _ in range(300):
        text = bytearray(good.encode())
        for _ in range(rng.choice((1, 30, 300))):
            at = rng.randrange(len(text))
            change = rng.randrange(4)
            if change == 0:
                text[at] = rng.randrange(256)
            elif change == 1:
                del text[at : at + rng.randrange(100)]
            elif change == 2:
                text[at:at] = bytes(rng.choice(b"()[]<>=:-. 0x9\n\0'\"|") for _ in range(rng.randrange(40)))
            else:
                text[at:at] = b"9" * rng.randrange(40)
        try:
            trace = open_text(tmp_path, bytes(text))
        except FormatError:
            continue
        for batch in trace.batches(rows=rng.choice((1, 100, 1 << 20))):
            real = batch.kind != LOSS
            assert batch.kind.max() < len(trace.formats)
            assert batch.stream.max() < len(trace.info.streams)
            assert batch.size[real].min(initial=8) >= 8
            assert (batch.at + batch.size)[real].max(initial=0) <= len(batch.data)
