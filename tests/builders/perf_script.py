"""What perf itself reads of a file: ``perf script`` runs this very file as a script of its Python engine."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_FIELDS_OF_ALL = ("common_cpu", "common_s", "common_ns", "common_pid", "common_comm", "common_callchain")
# perf calls the functions below one by one: none of them can hold the file in a ``with``.
_out = Path(os.environ.get("LOCKSCOPE_PERF_DUMP", os.devnull)).open("w", encoding="utf-8")  # noqa: SIM115


def _plain(value: Any) -> Any:
    """perf hands over a text whose bytes do not look like one as bytes, its NUL included."""
    return bytes(value).split(b"\0")[0].decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else value


def trace_unhandled(name: str, context: object, fields: dict[str, Any], sample: dict[str, Any]) -> None:
    own = {k: _plain(v) for k, v in fields.items() if k not in _FIELDS_OF_ALL}
    chain = [entry["ip"] for entry in fields["common_callchain"]]
    row = [sample["ev_name"], sample["sample"]["time"], sample["sample"]["cpu"], fields["common_pid"], chain, own]
    _out.write(json.dumps(row) + "\n")


def trace_end() -> None:
    _out.close()


def samples(path: Path) -> list[tuple[str, int, int, int, list[int], dict[str, object]]]:
    """Every tracepoint sample: event, time in ns, CPU, pid, callchain, fields. Raises where perf can't read it."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "dump"
        environment = os.environ | {"LOCKSCOPE_PERF_DUMP": str(dump)}
        command = ["perf", "script", "-i", str(path), "-s", __file__]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        return [tuple(json.loads(line)) for line in dump.read_text().splitlines()]
