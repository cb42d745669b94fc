"""The shape of the package, as tests that fail: layers, lengths, and what may be imported before the first weight."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "git_lepton"

LAYERS = (
    ("errors", "values", "closing"),
    ("config", "progress"),
    ("proc", "atomic", "native"),
    ("formats", "codec", "git"),
    ("store",),
    ("transfer", "compare", "record"),
    ("migrate", "upkeep", "variants", "gate"),
    ("release",),
    ("report",),
    ("drivers", "agent", "api", "demo"),
    ("cli",),
    ("__main__",),
)
"""A package imports only from rows above its own; those in one row do not know each other."""

ROW = {name: row for row, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(("git_lepton", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for p in PACKAGE.rglob("*.py")
} | {"git_lepton." + p.name for p in PACKAGE.iterdir() if p.is_dir()}
HEAVY = {"numpy", "pygit2", "onnx", "onnxruntime", "sklearn", "scipy", "rich", "prometheus_client", "safetensors"}
MAX_MODULE = 500
MAX_FUNCTION = 80


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """The layer's name in a dotted module name: `git_lepton.store.index` belongs to `store`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            module = node.module or ""
            for alias in node.names:
                yield node, f"{module}.{alias.name}" if f"{module}.{alias.name}" in MODULES else module


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_layers_above_its_own(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if here == "__init__":
        return
    for node, name in imports(ast.parse(path.read_bytes())):
        there = part_of(name)
        if name.split(".")[0] != "git_lepton" or there in {here, ""}:
            continue
        assert ROW[there] < ROW[here], f"line {node.lineno}: {here} must not know {there}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_MODULE, "split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION, f"{node.name} is too long"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_where_they_are_needed(path: Path) -> None:
    """And our own modules at the top, except from the command line's verb table and the package's front door."""
    tree = ast.parse(path.read_bytes())
    top = {id(node) for node in tree.body}
    typing_only = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node, name in imports(tree):
        if id(node) in typing_only:
            continue
        if name.split(".")[0] in HEAVY:
            assert id(node) not in top, f"line {node.lineno}: import {name} inside the function that needs it"
        elif name.startswith("git_lepton") and path.name != "__init__.py":
            assert id(node) in top, f"line {node.lineno}: {name} is imported lazily"


def test_there_are_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    names = {".".join(("git_lepton", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in modules()}
    for name, path in names.items():
        graph[name.removesuffix(".__init__")] = {target for _, target in imports(ast.parse(path.read_bytes()))}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done or name not in graph:
            return
        for target in graph[name]:
            visit(target, (*trail, name))
        done.add(name)

    for name in graph:
        if name != "git_lepton":
            visit(name, ())


@pytest.mark.parametrize("module", ["git_lepton", "git_lepton.__main__", "git_lepton.drivers.filter"])
def test_start_up_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(m for m in {sorted(HEAVY)} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
