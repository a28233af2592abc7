"""trace.dat packed as a whole, or through a pipe: the events are those of the file."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
from pathlib import Path

import pytest

import lockscope
from tests.builders import zstd

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "dirty_log.dat"
PACKERS = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zstd.compress}


def switches(path: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = lockscope.load(path).events("sched_switch").arrow.to_pylist()
    return found


@pytest.mark.parametrize("codec", sorted(PACKERS))
def test_packed(codec: str, tmp_path: Path) -> None:
    packed = tmp_path / "trace.dat.packed"
    packed.write_bytes(PACKERS[codec](SAMPLE.read_bytes()))
    trace, plain = lockscope.load(str(packed)), lockscope.load(str(SAMPLE))
    assert trace.info()["format"] == f"{plain.info()['format']}, {codec}"
    assert len(switches(str(SAMPLE))) == 53
    assert switches(str(packed)) == switches(str(SAMPLE))


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(SAMPLE.read_bytes()))
    assert switches("-") == switches(str(SAMPLE))


def test_packed_and_cut(tmp_path: Path) -> None:
    packed = tmp_path / "trace.dat.gz"
    packed.write_bytes(gzip.compress(SAMPLE.read_bytes())[:-4000])
    found = lockscope.load(str(packed))
    assert 0 < len(found.events("sched_switch")) < len(switches(str(SAMPLE)))
    assert "truncated" in found.table("losses").arrow["kind"].to_pylist()
