"""Page data fit to be shared: what names tasks, hosts and addresses in them replaced, as in the findings."""

from __future__ import annotations

from dataclasses import replace

from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.results.page_data import PageData, Scene


def learn(page_data: tuple[PageData, ...], red: Redactor) -> None:
    """Let the redactor know every task that is named."""
    for shown in page_data:
        for scene in shown.scenes.values():
            for pid, comm in scene.tasks:
                red.task(comm)
                red.pid(pid)
        for one in shown.longest:
            red.task(one.comm)
            red.pid(one.pid)


def redacted(shown: PageData, red: Redactor) -> PageData:
    """The same page data without what ``Redactor`` hides. Locks, symbols, times and guest frames stay."""
    graph, sptes = shown.graph, shown.sptes
    if graph is not None:
        classes = tuple(replace(c, name=red.addresses(c.name), label=red.addresses(c.label)) for c in graph.classes)
        graph = replace(graph, path=red.path(graph.path), classes=classes)
    if sptes is not None:
        sptes = replace(sptes, changes=tuple(replace(c, pid=red.pid(c.pid)) for c in sptes.changes))
    return replace(
        shown,
        graph=graph,
        sptes=sptes,
        locks=tuple(replace(k, label=red.addresses(k.label), name=red.addresses(k.name)) for k in shown.locks),
        longest=tuple(
            replace(
                one,
                name=red.addresses(one.name),
                pid=red.pid(one.pid),
                comm=red.task(one.comm),
                caller=red.addresses(one.caller),
            )
            for one in shown.longest
        ),
        waiting=shown.waiting and replace(shown.waiting, names=tuple(map(red.addresses, shown.waiting.names))),
        scenes={
            (fingerprint, red.window(window) if window is not None else None): _scene(scene, red)
            for (fingerprint, window), scene in shown.scenes.items()
        },
    )


def _scene(scene: Scene, red: Redactor) -> Scene:
    return replace(
        scene,
        tasks=tuple((red.pid(pid), red.task(comm)) for pid, comm in scene.tasks),
        bars=tuple(replace(b, name=red.addresses(b.name)) for b in scene.bars),
        marks=tuple(replace(m, note=red.text(m.note)) for m in scene.marks),
        crossings=tuple(replace(c, name=red.addresses(c.name)) for c in scene.crossings),
    )
