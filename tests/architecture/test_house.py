"""Rules of the house that a tool can check: sizes, types, and nothing left for later."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import Module, module_at

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = ("audit", "safety", "bots", "tradingops")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_P90_MAX = 35
FUNCTION_LINES_MEDIAN_MAX = 10
BROAD_EXCEPTS_PER_1000_LINES_MAX = 0.4

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> list[Path]:
    found = [path for room in ROOMS for path in (PROJECT / room).rglob("*.py") if "migrations" not in path.parts]
    assert len(found) > 50
    return found


def parsed(path: Path) -> Module:
    """Return a shipped module as a tree, which is made once for all tests."""
    return module_at(path.relative_to(PROJECT).as_posix())


def functions() -> Iterator[tuple[Path, Function]]:
    for path in modules():
        for node in parsed(path).nodes:
            if isinstance(node, Function):
                yield path, node


def length(function: Function) -> int:
    """Return a function's lines, its docstring and decorators left out."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def place(path: Path, node: Function) -> str:
    return f"{path.relative_to(PROJECT)}:{node.lineno} {node.name}"


def test_no_module_is_longer_than_400_lines() -> None:
    long = {str(path.relative_to(PROJECT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in long.items() if lines > MODULE_LINES_MAX} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    assert [place(*one) for one in functions() if length(one[1]) > FUNCTION_LINES_MAX] == []


def test_most_functions_are_short() -> None:
    lengths = [length(function) for _, function in functions()]
    assert statistics.median(lengths) <= FUNCTION_LINES_MEDIAN_MAX
    assert statistics.quantiles(lengths, n=10)[-1] <= FUNCTION_LINES_P90_MAX


def swallows_everything(node: ast.AST) -> bool:
    """Return whether a handler takes every exception and does not raise it again."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
    last = node.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def test_broad_excepts_are_rare_and_say_why() -> None:
    broad, silent, lines = [], [], 0
    for path in modules():
        source = path.read_text().splitlines()
        lines += len(source)
        for node in parsed(path).nodes:
            if isinstance(node, ast.ExceptHandler) and swallows_everything(node):
                broad.append(f"{path.relative_to(PROJECT)}:{node.lineno}")
                if not any("#" in line for line in source[node.lineno - 1 : node.lineno + 1]):
                    silent.append(broad[-1])
    assert silent == []
    assert len(broad) * 1000 / lines <= BROAD_EXCEPTS_PER_1000_LINES_MAX, broad


def test_shipped_code_raises_and_never_asserts() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{node.lineno}"
        for path in modules()
        for node in parsed(path).nodes
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    files = [*modules(), *(PROJECT / "tests").rglob("*.py"), PROJECT / "Makefile"]
    found = [str(path.relative_to(PROJECT)) for path in files if marks.search(path.read_text())]
    assert found == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_of_a_room_says_what_it_promises(room: str) -> None:
    """At least 80 % of the public functions and classes have a docstring."""
    with_docs, without = 0, []
    for path in (path for path in modules() if path.relative_to(PROJECT).parts[0] == room):
        for node in parsed(path).tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if ast.get_docstring(node):
                    with_docs += 1
                else:
                    without.append(f"{path.relative_to(PROJECT)}:{node.lineno} {node.name}")
    assert with_docs >= 4 * len(without), without
