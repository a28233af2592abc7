from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lockscope.errors import UsageError
from lockscope.formats.files import compressed as _compressed
from tests.builders import zstd

TEXT = b"".join(b"line %d of a trace\n" % i for i in range(20000))
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(content))


@pytest.mark.parametrize("codec", CODECS)
def test_unpacks_by_content_not_by_name(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(CODECS[codec](TEXT))
    with _compressed.open_stream(str(path)) as stream:
        assert stream.peek(4)[:4] == b"line"
        assert stream.read() == TEXT
        assert (stream.codec, stream.broken) == (codec, None)
    assert _compressed.head(str(path), 11) == b"line 0 of a"
    assert _compressed.compression(str(path)) == codec


@pytest.mark.parametrize(
    "front",
    [
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd",  # pzstd: how long the frame behind it is
        b"\x5f\x2a\x4d\x18\x00\x00\x00\x00" * 3,
        b"\x57\x2a\x4d\x18" + (200_000).to_bytes(4, "little") + bytes(200_000),  # longer than what is looked at
    ],
)
def test_zstd_behind_frames_to_be_skipped(tmp_path: Path, front: bytes) -> None:
    path = tmp_path / "trace.zst"
    pack = zstd.compress
    path.write_bytes(front + pack(TEXT[:1000]) + front + pack(TEXT[1000:]) + front)
    with _compressed.open_stream(str(path)) as stream:
        assert stream.read() == TEXT
        assert (stream.codec, stream.broken) == ("zstd", None)


def test_frames_to_be_skipped_are_not_zstd_alone(tmp_path: Path) -> None:
    path = tmp_path / "trace.lz4"  # lz4 has the same
    path.write_bytes(b"\x50\x2a\x4d\x18\x00\x00\x00\x00\x04\x22\x4d\x18rest")
    assert _compressed.compression(str(path)) is None


def test_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(TEXT)
    assert _compressed.head(str(path)) == TEXT[: 1 << 16]
    assert _compressed.compression(str(path)) is None


@pytest.mark.parametrize("codec", CODECS)
def test_several_streams_in_one_file(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(CODECS[codec](b"first ") + CODECS[codec](b"second"))
    assert _compressed.head(str(path)) == b"first second"


def test_padding_between_xz_streams(tmp_path: Path) -> None:
    path = tmp_path / "trace.xz"
    path.write_bytes(lzma.compress(b"a") + bytes(8) + lzma.compress(b"b") + bytes(4))
    assert _compressed.head(str(path)) == b"ab"


@pytest.mark.parametrize("codec", CODECS)
def test_cut_off_file_gives_what_is_there(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "trace"
    packed = CODECS[codec](os.urandom(200_000))
    path.write_bytes(packed[: len(packed) // 2])
    with _compressed.open_stream(str(path)) as stream:
        got = stream.read()
        assert 0 < len(got) < 200_000
        assert stream.broken is not None
        assert "\n" not in stream.broken


@pytest.mark.parametrize("codec", CODECS)
def test_damage_ends_the_data_and_is_told(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(CODECS[codec](TEXT)[:6] + b"\xff" * 60)
    with _compressed.open_stream(str(path)) as stream:
        assert stream.read() == b""
        assert stream.codec == codec
        assert stream.broken is not None


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_streams(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(CODECS[codec](bytes(100 << 20)))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    try:
        total = 0
        with _compressed.open_stream(str(path)) as stream:
            while piece := stream.read(1 << 20):
                total += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 100 << 20
    assert peak < 16 << 20


def test_standard_input_can_be_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(gzip.compress(TEXT)))
    assert _compressed.head("-", 6) == b"line 0"
    for _ in range(2):
        with _compressed.open_stream("-") as stream:
            assert stream.read() == TEXT
            assert stream.codec == "gzip"


def test_another_standard_input_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"one", b"two"):
        monkeypatch.setattr(sys, "stdin", _Stdin(content))
        assert _compressed.head("-") == content


def test_what_is_kept_goes_to_a_file_beyond_the_limit() -> None:
    kept = _compressed._Kept(io.BufferedReader(io.BytesIO(TEXT)), in_memory=1000)
    assert kept.read_at(300_000, 10) == TEXT[300_000:300_010]
    assert kept.file._rolled
    assert kept.read_at(0, 5) == b"line "
    assert kept.read_at(len(TEXT), 5) == b""


def test_a_pipe_by_name_can_be_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(TEXT,))
    writer.start()
    assert _compressed.head(str(path), 6) == b"line 0"
    with _compressed.open_stream(str(path)) as stream:
        assert stream.read() == TEXT
    writer.join()
    _compressed._kept.pop(str(path)).source.close()


@pytest.mark.parametrize("name", ["missing", ".", "nul\0"])
def test_what_cannot_be_opened_is_one_line(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(UsageError) as error:
        _compressed.head(path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_xz_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "greedy.xz"
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}])
    packed = bytearray(compressor.compress(b"x" * 1000) + compressor.flush())
    # The dictionary's size is one byte of the block header, behind its CRC: rebuild the header with 1 GiB instead.
    at = 12
    size = (packed[at] + 1) * 4
    properties = packed.index(bytes([0x21, 1]), at) + 2
    packed[properties] = 36  # 2 << (36 // 2 + 11) = 1 GiB, xz-file-format.txt 5.3.1
    packed[at + size - 4 : at + size] = zlib.crc32(packed[at : at + size - 4]).to_bytes(4, "little")
    path.write_bytes(packed)
    with _compressed.open_stream(str(path)) as stream:
        assert stream.read() == b""
        assert "memory" in (stream.broken or "").lower()
