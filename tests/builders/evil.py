"""A trace in which every name is an attack: on a terminal, a log, a page, Markdown, DOT, a spreadsheet, a parser."""

from __future__ import annotations

from pathlib import Path

from tests.builders.records import EVENTS, save
from tests.builders.script import Script

FORGED, HEADING = "forged-line", "forged-heading"
MARK = "pwned"
ATTACKS = (
    f'<img src=x onerror="window.{MARK}=1">',
    f"</script><script>window.{MARK}=1</script>",
    f'"><svg onload=window.{MARK}=1>',
    f"'><a href='javascript:window.{MARK}=1'>x</a>",
    f"[x](javascript:{MARK}) ![y](http://evil.example/y.png)",
    f"``` </code></pre><iframe src=javascript:{MARK}></iframe>",
    f'a"]; {MARK} [label="x"]; b -> c [label="\\',
    f"\x1b]0;{MARK}\x07\x1b[2J\x9b2J\x7f",
    f"x\n{FORGED}: no findings\r{FORGED}\u2028{FORGED}\x85{FORGED}",
    "\u202eesrever\u202c zero\u200bwidth\ufeff\U000e0041",
    f'=HYPERLINK("http://evil.example","{MARK}")',
    "@SUM(1)", "+1+1", "-1+1", "\t=1+1", " =1+1",
    f"| a | b |\n# {HEADING}\n- [ ] x",
    "]]>&lt;&amp;<!-- ${x} {{7*7}} %n %s",
)  # fmt: skip
COMMS = ("<b id=pwned>", "\x1b[2J\x07", "=1+1", "a\nforged-line", "`*[x](y)", '"];pwned[', "</script>", "\u202eevil")


def script() -> Script:
    """Each attack is a lock's class, a marker and a function; each of ``COMMS`` a task, and two meet in a ring."""
    events = EVENTS | {f"evil:{word}": "x:u32 text:text" for word in ("<b>x</b>", "=1+1", "a]b", '"q"')}
    s = Script(events=events)
    for i, attack in enumerate(ATTACKS):
        comm, other = COMMS[i % len(COMMS)], COMMS[(i + 1) % len(COMMS)]
        one, two = s.task(comm, 100 + i), s.task(other, 300 + i, 1)
        s.comms[100 + i], s.comms[300 + i] = comm.replace("\n", "_"), other.replace("\n", "_")
        s.marker(f"begin {attack}")
        outer, inner = f"&kvm{i}{attack}", f"{attack}"
        one.sys_exit().take(outer, 0x1000 + i).take(inner, 0x2000 + i)
        one.release(inner, 0x2000 + i).release(outer, 0x1000 + i)
        two.sys_exit().take(inner, 0x2000 + i).take(outer, 0x1000 + i)
        two.release(outer, 0x1000 + i).release(inner, 0x2000 + i).sys_exit()
        one.take(outer, 0x1000 + i)
        two.acquire(outer, 0x1000 + i).contended(outer, 0x1000 + i)
        one.release(outer, 0x1000 + i)
        two.acquired(outer, 0x1000 + i).sys_exit().release(outer, 0x1000 + i)
        one.event(f"evil:{('<b>x</b>', '=1+1', 'a]b')[i % 3]}", x=1, text=attack)
        s.marker(f"end {attack}")
    return s


def trace(folder: Path) -> Path:
    """It as a file, whose host is an attack too."""
    reader = script().reader()
    reader.info.host = f"<img/src=x/onerror=window.{MARK}=1>\x1b[2J"
    symbols = "".join(f"{0xFFFFFFFF81000000 + 16 * i:x} T <b>{MARK}{i}\n" for i in range(9))
    save(reader, folder / "evil.dat", kallsyms=symbols)
    return folder / "evil.dat"
