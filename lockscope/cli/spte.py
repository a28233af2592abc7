"""``lockscope spte``: one SPTE in words."""

from __future__ import annotations

from typing import Annotated

import typer

from lockscope.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("spte")(spte)


def spte(
    value: Annotated[str, typer.Argument(help="The SPTE, hexadecimal: 0x860000025e000bf7.")],
    layout: Annotated[
        str | None,
        typer.Option(help="Where the bits are: ept-6.12, npt-5.15, shadow-4.14 ... Without it: those that fit."),
    ] = None,
    level: Annotated[int | None, typer.Option(min=1, max=5, help="1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB.")] = None,
) -> None:
    """Say what an SPTE means, by the layout of a kernel version and kind of MMU."""
    import numpy as np

    from lockscope.kvm import spte as words
    from lockscope.kvm.spte_layouts import LAYOUTS

    try:
        number = int(value, 16)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        msg = f"{value}: not an SPTE: a hexadecimal number of up to 64 bits is wanted"
        raise UsageError(msg)
    if layout is not None:
        named = words.layout_named(layout)
        if named is None:
            msg = (
                f"{layout}: no such layout: one of {', '.join(one.name for one in LAYOUTS)}, or KIND-VERSION, is wanted"
            )
            raise UsageError(msg)
        chosen = [named]
    else:
        sample = np.array([number], np.uint64)
        chosen = [one for one in LAYOUTS if not words.misfits(sample, one)][::-1] or list(LAYOUTS)[::-1]
    for one in chosen:
        print(f"0x{number:x} [{one.name}: {one.title}] {', '.join(words.decode(number, one, level))}")
