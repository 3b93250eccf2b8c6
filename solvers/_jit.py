"""Where kernels run: in the interpreter on lists, or compiled by numba on arrays.

Every kernel of this package is one plain function over flat sequences. Small problems run it as it is, on Python
lists, because importing numba costs more than solving them; large ones, and all of them once numba is loaded, run
it compiled. The order of operations is the same, so the results are the same to the last bit.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

PLAIN_LIMIT = 2_000
"""Layers up to which the interpreter is used while numba is not loaded."""

override: str | None = None
"""Tests set ``"plain"`` or ``"compiled"`` here; None leaves the choice to the rule above."""

_Tuple = TypeVar("_Tuple", bound=tuple[Any, ...])

_compiled: dict[Callable[..., Any], Callable[..., Any]] = {}


class Backend:
    """One way of running kernels: how their arguments are stored, and who executes them."""

    __slots__ = ("plain",)

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain

    def load(self, values: NDArray[Any] | Sequence[Any], dtype: type[np.generic] = np.int64) -> Any:
        """Return a fresh copy of `values` as a list, or as a contiguous array of `dtype`."""
        if self.plain:
            return values.tolist() if isinstance(values, np.ndarray) else list(values)
        return np.array(values, dtype=dtype)

    def view(self, values: NDArray[Any]) -> Any:
        """Return `values` for reading only: a list, or the array itself, which must have the kernel's dtype."""
        return values.tolist() if self.plain else values

    def views(self, arrays: _Tuple) -> _Tuple:
        """Return a named tuple with a view of each array; what is no array stays."""
        if not self.plain:
            return arrays
        fields: Any = (self.view(field) if isinstance(field, np.ndarray) else field for field in arrays)
        return type(arrays)(*fields)

    def full(self, size: int, value: float, dtype: type[np.generic] = np.int64) -> Any:
        """Return `size` copies of `value`; pass a float for float kernels."""
        if self.plain:
            return [value] * size
        return np.zeros(size, dtype=dtype) if value == 0 else np.full(size, value, dtype=dtype)

    def room(self, size: int, dtype: type[np.generic] = np.int64) -> Any:
        """Return `size` numbers that the kernel writes before it reads them."""
        return [0] * size if self.plain else np.empty(size, dtype=dtype)

    def rows(self, n_rows: int, size: int, value: float, dtype: type[np.generic] = np.int64) -> Any:
        """Return `n_rows` of what `full` returns, allocated at once."""
        if self.plain:
            return [[value] * size for _ in range(n_rows)]
        return list(np.zeros((n_rows, size), dtype) if value == 0 else np.full((n_rows, size), value, dtype))

    def run(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """Execute `kernel`, compiled if this backend compiles."""
        return kernel(*arguments) if self.plain else _compile(kernel)(*arguments)


def choose(size: int) -> Backend:
    """Pick the backend for a problem of `size` layers."""
    if override is not None:
        return Backend(plain=override == "plain")
    return Backend(plain=size <= PLAIN_LIMIT and "numba" not in sys.modules)


def _compile(kernel: Callable[..., Any]) -> Callable[..., Any]:
    function = _compiled.get(kernel)
    if function is None:
        import numba

        try:
            function = numba.njit(cache=True)(kernel)
        except RuntimeError:  # no writable place for the cache: a read-only installation
            function = numba.njit(kernel)
        _compiled[kernel] = function
    return function
