"""What a process pays for: no numba and no scipy for a small problem, no writable cache for a large one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers import _jit

ROOT = Path(solvers.__file__).parents[1]

SMALL = """
import sys, solvers
inf = float("inf")
diamond = solvers.Problem.build(
    [[0, inf], [3, 1], [4, 1], [2, 2], [0, inf]],
    [(0, 1.0, [1, 2]), (1, 1.0, [3]), (2, 1.0, [3]), (3, 1.0, [4])],
    per_byte=[[0, 1], [1, 0]], delay=[[0, .1], [.1, 0]],
)
for method in ("auto", "dp", "min-cut"):
    assert solvers.solve(diamond, method).optimal
chain = solvers.Problem.build([[0, inf], [3, 1]], [(0, 1.0, [1])])
assert solvers.solve(chain).method == "chain"
assert not {"numba", "scipy", "onnx", "networkx"} & set(sys.modules), sorted(sys.modules)
"""

LARGE = """
import sys, numpy, solvers
n = 2500
chain = solvers.Problem.build(numpy.ones((n, 2)), [(v, 1.0, [v + 1]) for v in range(n - 1)], per_byte=[[0, 1], [1, 0]])
assert solvers.solve(chain).value == n
assert "numba" in sys.modules
"""


def run(code, **environment):
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_small_solve_loads_neither_numba_nor_scipy():
    run(SMALL)


def test_a_large_solve_is_compiled(tmp_path):
    run(LARGE, NUMBA_CACHE_DIR=str(tmp_path))
    assert any(tmp_path.rglob("*.nbi"))


def test_a_read_only_cache_does_not_break(monkeypatch):
    """numba raises RuntimeError where it finds no place to write; the kernel is then compiled without a cache."""
    import numba

    real = numba.njit
    asked = []

    def njit(*arguments, **options):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return real(*arguments, **options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(_jit, "_compiled", {})
    monkeypatch.setattr(_jit, "override", "compiled")
    problem = solvers.Problem.build(np.ones((3, 2)), [(0, 1.0, [1]), (1, 1.0, [2])])
    assert solvers.solve(problem).value == 3
    assert {"cache": True} in asked


def test_an_installation_that_nobody_may_write_to_works(tmp_path):
    """The package is a copy without `__pycache__`, where numba finds no place of its own and none of the user's."""
    package = tmp_path / "solvers"
    package.mkdir()
    for source in Path(solvers.__file__).parent.glob("*.py"):
        (package / source.name).write_bytes(source.read_bytes())
    (package / "__pycache__").write_text("a file where the cache directory would go")
    home = tmp_path / "home"
    home.write_text("a file where the home directory would be")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.remove('')\n" + LARGE
    run(code + f"assert solvers.__file__.startswith({str(tmp_path)!r})\n", HOME=str(home), XDG_CACHE_HOME=str(home))


@pytest.mark.parametrize(
    ("size", "loaded", "plain"),
    [(10, False, True), (10, True, False), (_jit.PLAIN_LIMIT, False, True), (_jit.PLAIN_LIMIT + 1, False, False)],
)
def test_the_choice_of_backend(size, loaded, plain, monkeypatch):
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "numba", object())
    assert _jit.choose(size).plain is plain


def test_the_public_names():
    assert solvers.__all__ == sorted(solvers.__all__)
    assert all(hasattr(solvers, name) for name in solvers.__all__)
    assert solvers.__version__ == "0.1.0"
