"""The shipped modules as syntax trees, and the few questions that the architecture tests ask of them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Everything that runs outside the tests.
FOLDERS = ("audit", "safety", "bots", "tradingops", "bench", "tools")


@dataclass(frozen=True)
class Module:
    """One module: its path from the root of the repository, and its tree."""

    path: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, source: str) -> "Module":
        return cls(path, ast.parse(source, path))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes. Walking is most of what these tests cost, so that it is done once."""
        return tuple(ast.walk(self.tree))

    def at(self, node: ast.AST, what: str) -> str:
        """Return a finding: where, and what is wrong there."""
        return f"{self.path}:{getattr(node, 'lineno', 0)} {what}"

    def imports(self) -> Iterator[tuple[ast.AST, str, str]]:
        """Yield each import: node, module and name (blank for ``import module``); relative ones are made absolute."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node, alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node, self._absolute(node), alias.name) for alias in node.names)
            elif isinstance(node, ast.Call) and name_of(node.func) in {"import_module", "__import__", "import_string"}:
                yield from ((node, text, "") for text in texts(node.args))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.path.removesuffix(".py").split("/")[: -node.level]
        return ".".join([*package, *([node.module] if node.module else [])])

    def imports_of(self, package: str) -> Iterator[tuple[ast.AST, str]]:
        """Yield the nodes that import ``package``, whole or in part, and the name taken from it (blank for all of it)."""
        for node, module, name in self.imports():
            whole = f"{module}.{name}" if name else module
            if module == package or module.startswith(f"{package}."):
                yield node, name
            elif whole == package:
                yield node, ""


@cache
def shipped() -> tuple[Module, ...]:
    """Return every module of the repository that is not a test."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    paths += sorted(ROOT.glob("*.py"))
    return tuple(Module.parse(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths)


def module_at(path: str) -> Module:
    """Return the shipped module of that path. Raises LookupError when it is not there."""
    found = _by_path().get(path)
    if found is None:
        raise LookupError(f"{path} is gone: what this test holds has to be held where the code went")
    return found


@cache
def _by_path() -> dict[str, Module]:
    return {module.path: module for module in shipped()}


def name_of(node: ast.AST | None) -> str:
    """Return a name, or the last part of a dotted one; blank for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def texts(nodes: list[ast.expr]) -> list[str]:
    """Return the literal texts among the nodes."""
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
