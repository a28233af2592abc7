"""One night's run: what is new is analysed by the workers, kept, and committed to the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lockscope.nightly import workers
from lockscope.nightly.examine import Job
from lockscope.nightly.history import History
from lockscope.nightly.sources import Source, digest_of
from lockscope.pipeline import AnalyzeOptions

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class NightOptions:
    """What to do and where. ``version``: lockscope's. See the command's help."""

    night: str
    version: str
    analyze: AnalyzeOptions = field(default_factory=AnalyzeOptions)
    host: str | None = None
    where: workers.Where = field(default_factory=workers.Where)


@dataclass(slots=True)
class Done:
    """What a run did: files that the history knew, files that were analysed, and those without a verdict."""

    known: int = 0
    analysed: int = 0
    broken: int = 0
    runs: list[str] = field(default_factory=list)


def run(
    history: History,
    sources: Sequence[Source],
    options: NightOptions,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> Done:
    """Analyse what the history does not know. Raises ``UsageError`` and ``RuleError``; what is done then is kept."""
    done = Done()
    jobs = list(_new(history, sources, options, done))
    try:
        for number, (job, packed) in enumerate(workers.results(jobs, options.where, say), 1):
            error = history.keep(packed)
            done.analysed += 1
            done.broken += bool(error)
            if error:
                say(error if job.source.path in error else f"{job.source.path}: {error}")
            if progress is not None:
                progress(number, len(jobs))
    finally:
        # What is done counts, also when the rest never will be. An interrupted commit leaves it for the next.
        done.runs = history.commit()
    return done


def _new(history: History, sources: Sequence[Source], options: NightOptions, done: Done) -> Iterator[Job]:
    digests, stamps = history.known(options.version)
    seen = set(digests)
    for source in sources:
        digest = None if (source.path, source.stamp) in stamps else digest_of(source)
        known = (source.path, source.stamp) in stamps or digest in seen
        if known:
            done.known += 1
            continue
        if digest is not None:
            seen.add(digest)
        yield Job(source, options.night, options.version, options.host, options.analyze)
