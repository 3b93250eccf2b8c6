"""The walls between the packages: who may import whom, and what a bare import must not load."""

import ast
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("graph_io", "solvers", "partition")


def imports_of(statement, *, for_types):
    """Yield the top-level packages that are imported anywhere in a syntax tree."""
    if isinstance(statement, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, "relative import"
        yield statement.module.partition(".")[0]
    elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING" and not for_types:
        for inner in statement.orelse:
            yield from imports_of(inner, for_types=for_types)
    else:
        for inner in ast.iter_child_nodes(statement):
            yield from imports_of(inner, for_types=for_types)


@cache
def imports_in(package, *, for_types):
    """Return the packages that are imported anywhere in one of ours."""
    return {
        name
        for path in (ROOT / package).rglob("*.py")
        for name in imports_of(ast.parse(path.read_text(encoding="utf-8"), str(path)), for_types=for_types)
    }


def importers(name, *, for_types=True):
    """Return those of our packages that import a package; ``for_types`` counts imports for types alone."""
    return {package for package in PACKAGES if name in imports_in(package, for_types=for_types)}


def test_there_is_something_to_check():
    for package in PACKAGES:
        assert list((ROOT / package).rglob("*.py"))
    assert "graph_io" in importers("onnx")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("graph_io", {"graph_io", "partition"}),
        ("solvers", {"solvers", "partition"}),
        ("partition", {"partition"}),
        ("tests", set()),
        ("benchmarks", set()),
        ("pickle", set()),
    ],
)
def test_importers(name, allowed):
    assert importers(name) <= allowed


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("onnx", {"graph_io"}), ("numba", {"solvers"}), ("onnxruntime", {"graph_io", "partition"})],
)
def test_importers_at_run_time(name, allowed):
    assert importers(name, for_types=False) <= allowed


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import graph_io", "from graph_io.errors import ModelError"])
def test_graph_io_imports_lightly(statement):
    assert not modules_after(statement) & {"onnx", "onnxruntime", "networkx", "numpy"}


@pytest.mark.parametrize("package", ["graph_io", "solvers"])
def test_public_names(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module._HOMES) <= set(module.__all__)
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
        _ = module.nothing
