"""The history: a folder of Parquet data sets, one a table, that many runs may write to at once.

Each run adds one file to each table's folder, ``findings/NIGHT-CONTENT.parquet``; nothing that is written is changed
again. A file gets its name only when it is whole, ``traces`` comes last, and what has no file there does not count: a
run that ends in the middle leaves nothing that anyone reads. Records wait in ``pending`` until the run commits, so that
an interrupted one goes on where it was.

CONTENT is made of the digests of the run's traces: the same traces in the same night give the same files, byte by byte,
whoever made them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lockscope.errors import FormatError
from lockscope.nightly import tables
from lockscope.nightly.combine import combined
from lockscope.nightly.cross import merged_findings
from lockscope.nightly.tables import Record, Row
from lockscope.outfiles import told, umask

SCHEMA = "lockscope-history/1"
_HEAD, _LOCK, _PENDING, _TEMPORARY = "history.json", ".lock", "pending", ".new-"
_SAME = ("night", "digest", "path", "stamp", "version", "error")  # what makes two rows of ``traces`` one file's look
_MOMENT_S = 5


class History:
    """The history in a folder, made where there is none. Raises ``FormatError`` where the folder is something else."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        head = self.folder / _HEAD
        self.folder.mkdir(parents=True, exist_ok=True)
        others = any(not p.name.startswith(".") for p in self.folder.iterdir())
        if not head.exists():  # asked after the look around: another run may be making it
            if others:
                raise FormatError(folder, "", "is no history of lockscope nightly", "wanted a new or an empty folder")
            write_whole(head, json.dumps({"schema": SCHEMA}).encode() + b"\n")
        try:
            found = json.loads(head.read_bytes()).get("schema")
        except (ValueError, AttributeError) as broken:
            raise FormatError(head, "", "is no JSON object") from broken
        if found != SCHEMA:
            raise FormatError(head, "", f"schema {found!r}: wanted {SCHEMA}", "made by another version of lockscope?")
        for name in (*tables.TABLES, _PENDING):
            (self.folder / name).mkdir(exist_ok=True)

    def runs(self) -> list[str]:
        """The runs that were committed, oldest night first."""
        return sorted(p.stem for p in (self.folder / "traces").glob("*.parquet") if not p.name.startswith("."))

    def nights(self) -> list[str]:
        """The nights there are, oldest first."""
        found: list[str] = pc.unique(self.table("traces", columns=["night"]).column("night")).sort().to_pylist()
        return found

    def table(
        self, name: str, *, columns: Sequence[str] | None = None, nights: Iterable[str] | None = None
    ) -> pa.Table:
        """The rows of a table, all columns and nights unless some are named."""
        wanted = None if nights is None else set(nights)
        schema = tables.TABLES[name].schema()
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        parts = [
            self._read(self.folder / name / f"{run}.parquet", columns)
            for run in self.runs()
            if wanted is None or night_of(run) in wanted
        ]
        return pa.concat_tables([schema.empty_table(), *parts])

    def _read(self, path: Path, columns: Sequence[str] | None) -> pa.Table:
        try:
            return pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None)
        except (OSError, pa.ArrowException) as broken:
            raise FormatError(path, "", f"cannot be read: {broken}", "restore it from a backup") from broken

    def known(self, version: str) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
        """Digests that need not be looked at again, and (path, stamp) of files that are known to have them.

        A file that was broken to another version is none of them.
        """
        digests: set[str] = set()
        stamps: set[tuple[str, str]] = set()
        names = ["digest", "path", "stamp", "error", "version"]
        for part in (self.table("traces", columns=names), *self._pending_traces(names)):
            for row in part.to_pylist():
                if row["digest"] and (not row["error"] or row["version"] == version):
                    digests.add(row["digest"])
                    if row["stamp"]:
                        stamps.add((row["path"], row["stamp"]))
        return frozenset(digests), frozenset(stamps)

    def _pending_traces(self, names: list[str]) -> Iterator[pa.Table]:
        for _, record in self._pending():
            yield record["traces"].select(names)

    def _pending(self) -> Iterator[tuple[Path, Record]]:
        for path in sorted((self.folder / _PENDING).glob("*.arrow")):
            try:
                yield path, tables.unpack(path.read_bytes())
            except FileNotFoundError:  # another run has committed it
                continue
            except (ValueError, OSError):  # another version's, or damaged: the trace is looked at again
                path.unlink(missing_ok=True)

    def keep(self, packed: bytes) -> str:
        """Put a record where the next commit finds it; returns what was wrong with its trace, "" for nothing."""
        (row,) = tables.unpack(packed)["traces"].select(["digest", "path", "error"]).to_pylist()
        name = row["digest"] or hashlib.sha256(row["path"].encode()).hexdigest()
        write_whole(self.folder / _PENDING / f"{name}.arrow", packed)
        return str(row["error"] or "")

    def commit(self) -> list[str]:
        """Make what is pending part of the history; returns the names of the runs (one a night) that were written."""
        with self._locked():
            self._sweep()
            written = self.table("traces", columns=list(_SAME)).to_pylist()
            same = {_same(row) for row in written}
            judged = {row["digest"] for row in written if row["digest"] and not row["error"]}
            nights: dict[str, list[Record]] = {}
            paths = []
            for path, record in self._pending():
                paths.append(path)
                trace = record["traces"].to_pylist()[0]
                # The very row may be there: of a commit that ended before it could take the record away.
                if trace["digest"] not in judged and _same(trace) not in same:
                    nights.setdefault(trace["night"], []).append(record)
            runs = [self._add(night, records) for night, records in sorted(nights.items())]
            for path in paths:
                path.unlink(missing_ok=True)
        return runs

    def _add(self, night: str, records: list[Record]) -> str:
        whole = combined(records)
        found = merged_findings(self.table("edges"), self.table("findings"), whole, night)
        whole["findings"] = tables.FINDINGS.build([*whole["findings"].to_pylist(), *found])
        seen = "\n".join(sorted(f"{r['digest']} {r['path']}" for r in whole["traces"].to_pylist()))
        run = f"{night}-{hashlib.sha256(seen.encode()).hexdigest()[:12]}"
        for name in tables.TABLES:  # traces is the last: with it the run counts
            sink = pa.BufferOutputStream()
            pq.write_table(whole[name], sink, compression="zstd")
            write_whole(self.folder / name / f"{run}.parquet", sink.getvalue())
        return run

    def _sweep(self) -> None:
        """Take away what a run left that ended in the middle of a commit."""
        runs = set(self.runs())
        for name in tables.TABLES:
            for path in (self.folder / name).glob("*.parquet"):
                if path.stem not in runs:
                    path.unlink(missing_ok=True)
        for folder in (self.folder, *(self.folder / name for name in (*tables.TABLES, _PENDING))):
            for path in folder.glob(f"{_TEMPORARY}*"):
                _remove_abandoned(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Kept by the open file: it goes with the process, however that ends.
        with open(self.folder / _LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def night_of(run: str) -> str:
    """The night of a run's name."""
    return run.rpartition("-")[0]


def write_whole(path: Path, data: bytes | pa.Buffer) -> None:
    """The whole file or none: written beside, made durable, then given its name. Raises ``LockscopeError``.

    While it is written it is locked: so another run can tell it from one whose writer was killed.
    """
    with told(path):
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(beside, 0o666 & ~umask())
                os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def _remove_abandoned(path: Path) -> None:
    """Take away a file that somebody began to write and does not write any more."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between its making and its lock it is a moment old, and not to be taken for abandoned.
        if time.time() - os.fstat(file.fileno()).st_mtime > _MOMENT_S:
            path.unlink(missing_ok=True)


def _same(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in _SAME)
