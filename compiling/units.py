"""What of this package is compiled, and how its sources become Cython's.

A unit is a module that Python calls (its ``@loop`` functions) with the modules of this package that it imports from: as
one file, so that the C compiler sees all functions and puts the small ones where they are called. The types of
``c_types.py`` become Cython's, constants are written in as numbers. Everything else is Cython's pure-Python mode.

Needs nothing but Python: it runs while lockscope is being built.
"""

from __future__ import annotations

import ast
import copy
from pathlib import Path

HERE = Path(__file__).parents[1] / "lockscope" / "core"
PACKAGE = "lockscope.core"
_NEVER = -4775807  # what a function returns that raised; should it ever mean it, Cython looks whether it raised
_TYPES = {
    "int": "cython.longlong",
    "bool": "cython.bint",
    "Bytes": "cython.const[cython.uchar][::1]",
    "Buffer": "cython.uchar[::1]",
    "Ints": "cython.longlong[::1]",
    "Halves": "cython.int[::1]",
    "Grid": "cython.longlong[:, ::1]",
    "Cube": "cython.longlong[:, :, ::1]",
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": True,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,  # nothing is divided that can be negative or by 0
    "infer_types": True,
    "embedsignature": False,
    "binding": False,
    "show_performance_hints": False,  # they all say: do not check the bounds
}


def units() -> list[str]:
    """The modules that are compiled."""
    return [p.stem for p in sorted(HERE.glob("*.py")) if any(_has(f, "loop") for f in _parsed(p.stem).body)]


def sources(unit: str) -> list[Path]:
    """The files that a unit is made of."""
    return [HERE / f"{name}.py" for name in _order(unit)] + [HERE / "machine.pxd", Path(__file__)]


def written(unit: str) -> str:
    """A unit as one file for Cython."""
    modules = {name: _parsed(name) for name in _order(unit)}
    constants: dict[str, int] = {}
    for tree in modules.values():
        constants |= _constants(tree, constants)
    rows = {n.name for t in modules.values() for n in t.body if isinstance(n, ast.ClassDef) and _is_row(n)}
    states = {n.name for t in modules.values() for n in t.body if isinstance(n, ast.ClassDef) and _has(n, "state")}
    turn = _Turn(constants, rows, states)
    wanted = _wanted(modules, unit)
    body: list[ast.stmt] = []
    for name, tree in modules.items():
        for node in tree.body:
            if name == unit or getattr(node, "name", "") in wanted:
                body += _statement(node, turn, python=name == unit)
    head = [
        "import cython",
        f"from {PACKAGE}.c_types import Row",
        f"from cython.cimports.{PACKAGE}.machine import (full, mix, plus, prefetch, put8, put16, put32, put64, times,",
        "    u8, u16, u32, u64)",
    ]
    given = [f"{name} = {value}" for name, value in constants.items()]
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
    return "\n".join([*head, *given, "", text, ""])


def _wanted(modules: dict[str, ast.Module], unit: str) -> set[str]:
    """The functions and classes that a unit's own module needs, itself or by others."""
    places = {n.name: n for t in modules.values() for n in t.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    found: set[str] = set()
    ahead: list[ast.AST] = [modules[unit]]
    while ahead:
        names = {n.id for n in ast.walk(ahead.pop()) if isinstance(n, ast.Name)}
        fresh = (names & set(places)) - found
        found |= fresh
        ahead += [places[name] for name in fresh]
    return found


def _parsed(name: str) -> ast.Module:
    return ast.parse((HERE / f"{name}.py").read_text())


def _order(unit: str) -> list[str]:
    """A unit's modules, each behind those that it imports from."""
    found: list[str] = []

    def visit(name: str) -> None:
        if name in found or name in ("c_types", "machine"):
            return
        for node in _parsed(name).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE + "."):
                visit((node.module or "").rpartition(".")[2])
        found.append(name)

    visit(unit)
    return found


def _has(node: ast.stmt, decorator: str) -> bool:
    """Whether a function or class is decorated so."""
    given = getattr(node, "decorator_list", [])
    return any(isinstance(d, ast.Name) and d.id == decorator for d in given)


def _is_row(node: ast.ClassDef) -> bool:
    return any(isinstance(b, ast.Name) and b.id == "Row" for b in node.bases)


def _constants(tree: ast.Module, before: dict[str, int]) -> dict[str, int]:
    """Names of numbers that a module gives at its top."""
    space: dict[str, object] = {"__builtins__": {"range": range, "len": len}, **before}
    found: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            try:
                exec(compile(ast.Module([node], []), "constants", "exec"), space)  # our own source
            except Exception:
                continue
            found = {k: v for k, v in space.items() if type(v) is int and k not in before}
    return found


def _statement(node: ast.stmt, turn: _Turn, *, python: bool) -> list[ast.stmt]:
    """A statement of a module as the unit has it; ``python``: of the module that Python imports."""
    if isinstance(node, ast.ClassDef) and _is_row(node):
        fields = ", ".join(
            f"{ast.unparse(f.target)}=cython.longlong" for f in node.body if isinstance(f, ast.AnnAssign)
        )
        return [*ast.parse(f"C{node.name} = cython.struct({fields})").body, node]  # C's, and Python's
    if isinstance(node, ast.ClassDef) and _has(node, "state"):
        return [turn.state(node)]
    if isinstance(node, ast.FunctionDef):
        if _has(node, "step") or _has(node, "inline"):
            return [turn.function(node)]
        if _has(node, "loop"):
            return [turn.function(node, "_loop_"), *turn.entry(node)] if python else []
        for line in ("cython.wraparound(True)", "cython.infer_types(False)"):  # as Python has it
            node.decorator_list.append(_expression(line))
        return [node] if python else []
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith((PACKAGE, "__future__", "typing"))
        return [node] if python and not ours else []
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and python:
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return [] if names <= set(turn.constants) else [node]
    return []


def _line(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _number(value: int) -> ast.expr:
    """A number in C: a large one is an int of Python's to Cython, unless it is told."""
    text = str(value) if abs(value) < 1 << 31 else f"cython.cast(cython.longlong, {value})"
    return ast.parse(text, mode="eval").body


def _value(node: ast.expr) -> int | None:
    """What an expression of numbers comes to."""
    text = ast.unparse(node).replace("cython.cast(cython.longlong, ", "(")
    try:
        value = eval(text, {"__builtins__": {}})
    except Exception:
        return None
    return value if type(value) is int else None


def _counted(node: ast.expr) -> ast.expr:
    """A truth value that is counted with, as a number: Cython would take the sum for an object."""
    if isinstance(node, (ast.Compare, ast.BoolOp)) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        return ast.IfExp(node, ast.Constant(1), ast.Constant(0))
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return ast.Constant(int(node.value))
    return node


class _Turn(ast.NodeTransformer):
    """Functions and classes with Cython's types in place of ours."""

    def __init__(self, constants: dict[str, int], rows: set[str], states: set[str]) -> None:
        self.constants, self.rows, self.states = constants, rows, states

    def type(self, given: ast.expr | None) -> ast.expr:
        """An annotation as Cython has it."""
        text = ast.unparse(given) if given is not None else "int"
        if text in self.rows:
            text = f"cython.pointer(C{text})"
        elif text.startswith("Rows["):
            text = f"C{text[5:-1]}[::1]"
        elif text.startswith("tuple["):
            text = "(" + ", ".join("cython.longlong" for _ in text.split(",")) + ")"
        return _expression(_TYPES.get(text, text))

    def function(self, node: ast.FunctionDef, prefix: str = "") -> ast.FunctionDef:
        """A function of C's, which holds no lock of Python's and says if it raised."""
        made = copy.deepcopy(node)
        made.name = prefix + node.name
        nothing = isinstance(node.returns, ast.Constant)
        returns = "cython.longlong" if nothing else ast.unparse(self.type(node.returns))
        refers = ast.unparse(node.returns or ast.Constant(None)) in self.rows
        lines = ["cython.cfunc", "cython.nogil"]
        if not refers:  # a pointer is NULL then, by itself
            lines.append(f"cython.exceptval({_NEVER}, check=True)")
        if _has(node, "inline"):
            lines.append("cython.inline")
        made.decorator_list = [_expression(line) for line in lines]
        made.returns = _expression(returns)
        for argument in made.args.args:
            argument.annotation = self.type(argument.annotation)
        if ast.get_docstring(made) is not None:
            made.body = made.body[1:] or [ast.Pass()]
        made.body = [self.visit(s) for s in made.body]
        if nothing:
            made.body.append(ast.Return(ast.Constant(0)))
        return made

    def entry(self, node: ast.FunctionDef) -> list[ast.stmt]:
        """What Python calls: its arguments made C's, then the function of C's without Python's lock."""
        given = ", ".join(f"{a.arg}: {ast.unparse(self.type(a.annotation))}" for a in node.args.args)
        names = ", ".join(a.arg for a in node.args.args)
        nothing = isinstance(node.returns, ast.Constant)
        text = f"def {node.name}({given}):\n    with cython.nogil:\n        _made = _loop_{node.name}({names})\n" + (
            "" if nothing else "    return _made\n"
        )
        return ast.parse(text).body

    def state(self, node: ast.ClassDef) -> ast.ClassDef:
        """A class of C's fields."""
        made = copy.deepcopy(node)
        made.decorator_list = [_expression("cython.cclass")]
        for i, field in enumerate(made.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                kind = ast.unparse(self.type(field.annotation))
                public = ", visibility='public'" if ast.unparse(field.annotation) == "int" else ""
                made.body[i] = _line(f"{field.target.id} = cython.declare({kind}{public})")
            elif isinstance(field, ast.FunctionDef):
                field.returns = None
                for argument in field.args.args:
                    argument.annotation = None
                field.body = [self.visit(s) for s in field.body]
        return made

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        node.value = ast.Constant(0) if node.value is None else _counted(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Tuple):
            node.value.elts = [_counted(e) for e in node.value.elts]
        node.value = _counted(node.value)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return (
            _number(self.constants[node.id]) if isinstance(node.ctx, ast.Load) and node.id in self.constants else node
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        node.left, node.right = _counted(node.left), _counted(node.right)
        value = _value(node)
        if value is None and isinstance(node.op, ast.LShift) and isinstance(node.left, ast.Constant):
            node.left = _expression(f"cython.cast(cython.longlong, {ast.unparse(node.left)})")
        return _number(value) if value is not None else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        value = _value(node)
        return _number(value) if value is not None and not isinstance(node.op, ast.Not) else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = self.type(node.annotation)
        if node.value is not None:
            node.value = _counted(self.visit(node.value))
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        node.value = _counted(node.value)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return _number(node.value) if type(node.value) is int else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "ref":
            node.func = _expression("cython.address")
        if isinstance(node.func, ast.Name) and node.func.id == "array_of":
            return node.args[0]
        return node
