"""``lockscope info``: what a trace holds, what can be decided from it, what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import listed, one_of, one_recording
from lockscope.cli._shell import show
from lockscope.harmless import json_text, printable
from lockscope.report.data import plain
from lockscope.units import count

_INDENT = "  "


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info")(info)


def info(
    traces: options.Traces,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text or json.")] = "text",
    event: options.Event = None,
    redact: options.Redact = False,
    merge: options.Merge = False,
) -> None:
    """Say what a trace holds, what can be decided from it, and what it lost."""
    one_of("--format", format, ("text", "json"))
    from lockscope.trace.trace import load

    facts = plain(answered(load(*one_recording(traces, merge), events=listed(event)).info()))
    if redact:
        from lockscope.report.redaction.findings import facts as shared
        from lockscope.report.redaction.pseudonyms import Redactor

        facts = shared(facts, Redactor())
    if format == "json":
        typer.echo(json_text(facts, indent=2))
        return
    show(info_lines(facts))


def answered(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts, with the checks by what the trace can say of them, and the command lines that would add the rest."""
    from lockscope.recording.advice import Recorded, commands

    checks: dict[str, str] = facts.get("checks", {})
    if not checks:
        return facts
    by_status: dict[str, list[str]] = {"ran": [], "partial": [], "skipped": []}
    for code, text in checks.items():
        by_status[text.partition(": ")[2].partition(" ")[0]].append(code)
    seen: dict[str, int] = facts["events_by_name"]
    open_ = tuple(sorted(by_status["partial"] + by_status["skipped"]))
    recorded = Recorded(open_, "lock:lock_acquire" in seen, facts["lost_events"] != 0, bool(facts["pid_filter"]))
    answers = {
        "decided": " ".join(by_status["ran"]) or "none",
        "in part": " ".join(by_status["partial"]) or "none",
        "not": " ".join(by_status["skipped"]) or "none",
    }
    return facts | {"answers": answers, "to_add": list(commands(recorded))}


def info_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts for a person: single values first, then each group under its name."""
    single = {k: v for k, v in facts.items() if not isinstance(v, Mapping | list)}
    wide = max((len(k) for k in single), default=0) + 1
    for key, value in single.items():
        yield f"{key.replace('_', ' ') + ':':<{wide}} {_word(value)}"
    for key, value in facts.items():
        if isinstance(value, Mapping | list):
            yield ""
            yield f"{key.replace('_', ' ')}:{'' if value else ' none'}"
            yield from _group(value)


def _group(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _mapping(value)
        return
    for item in value:
        if isinstance(item, Mapping):
            yield _INDENT + ", ".join(f"{k} {_word(v)}" for k, v in item.items() if v not in (None, "", [], {}))
        else:
            yield _INDENT + _word(item)


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    counts = [v for v in value.values() if isinstance(v, int) and not isinstance(v, bool)]
    wide = max((len(str(k)) for k in value), default=0)
    if len(counts) == len(value):  # a tally: most frequent first
        digits = max((len(count(n)) for n in counts), default=0)
        for name, number in sorted(value.items(), key=lambda item: (-item[1], item[0])):
            yield f"{_INDENT}{printable(name):<{wide}}  {count(number):>{digits}}"
        return
    for name, item in value.items():
        yield f"{_INDENT}{printable(name):<{wide}}  {_word(item)}"


def _word(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(k))} {_word(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_word(v) for v in value)
    return printable(str(value))
