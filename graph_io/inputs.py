"""The inputs of a model for a run: made at random, or given by a user and checked against the model.

Needs NumPy alone unless a model is checked, so that a device can make inputs without onnx.
"""

import ctypes
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graph_io.errors import ModelError

if TYPE_CHECKING:
    from graph_io.model import Model

Array: TypeAlias = NDArray[Any]

_LARGEST_INPUT_BYTES = 2**30
# Element types that only the package ml_dtypes has for NumPy: its name for them, and ONNX's number.
_ML_DTYPES = {
    "bfloat16": ("bfloat16", 16),
    "float8e4m3fn": ("float8_e4m3fn", 17),
    "float8e4m3fnuz": ("float8_e4m3fnuz", 18),
    "float8e5m2": ("float8_e5m2", 19),
    "float8e5m2fnuz": ("float8_e5m2fnuz", 20),
    "uint4": ("uint4", 21),
    "int4": ("int4", 22),
}
# ml_dtypes has these with one value a byte, which the runtime does not take.
_PACKED = frozenset({"int2", "uint2"})
_PERTURBATION = 0.05


def numpy_dtype(dtype: str) -> "np.dtype[Any] | None":
    """Return the NumPy type of a type's name; None for one that NumPy cannot hold here (bfloat16 needs ml_dtypes)."""
    if dtype == "string":
        return np.dtype(np.object_)
    if dtype in _ML_DTYPES:
        try:
            import ml_dtypes
        except ImportError:
            return None
        special: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype][0]))
        return special
    try:
        return np.dtype(dtype)
    except TypeError:
        return None


def random_inputs(
    shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], *, seed: int = 0
) -> dict[str, Array]:
    """Make inputs for a run: standard normal floats, zeros and ones for the integers (legal as tokens and masks).

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Of each input.
    dtypes : mapping of str to str
        As `input_dtypes` returns them.
    seed : int

    Returns
    -------
    dict of str to array
        By the name of the input.

    Raises
    ------
    ModelError
        An input of strings or of a type that NumPy cannot hold, or one of more than 1 GiB.
    """
    generator = np.random.default_rng(seed)
    result: dict[str, Array] = {}
    for name, shape in shapes.items():
        dtype = numpy_dtype(dtypes[name])
        if dtype is None:
            way = " without the package ml_dtypes (install it)" if dtypes[name] in _ML_DTYPES else ""
            raise ModelError(
                f"input '{name}' is of type {dtypes[name]}, which NumPy cannot hold{way}, "
                "so no input can be made for a run"
            )
        if dtype.kind == "O":
            raise ModelError(
                f"input '{name}' is of strings, which cannot be made up; pass inputs={{...}} or --input FILE.npz"
            )
        # Asked before NumPy is: it may get the memory, and the machine then swaps.
        if prod(shape) * dtype.itemsize > _LARGEST_INPUT_BYTES:
            raise ModelError(
                f"input '{name}' of shape {list(shape)} takes {prod(shape) * dtype.itemsize / 1e9:.3g} GB, too much to "
                "make up for a run; give smaller dims, or pass inputs={...} or --input FILE.npz"
            )
        if dtype.kind == "f" or dtypes[name].startswith(("bfloat", "float8")):
            result[name] = generator.standard_normal(shape).astype(dtype)
        else:
            result[name] = generator.integers(0, 2, shape).astype(dtype)
    return result


def runtime_value(array: Array, dtype: str) -> Any:
    """Wrap an array as the runtime's own value: its ``run`` does not take each of its types from NumPy."""
    import onnxruntime

    whole = np.ascontiguousarray(array).reshape(array.shape)
    if dtype not in _ML_DTYPES:
        return onnxruntime.OrtValue.ortvalue_from_numpy(whole)
    number = _ML_DTYPES[dtype][1]
    if dtype not in ("int4", "uint4"):
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(whole.view(f"u{array.dtype.itemsize}"), number)
    # NumPy gives each of them a byte, the runtime half a one, the first in the lower half.
    halves = np.zeros(whole.size + whole.size % 2, np.uint8)
    halves[: whole.size] = whole.astype(np.int8).view(np.uint8).ravel() & 0xF
    packed = halves[0::2] | halves[1::2] << 4
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(array.shape), number)
    ctypes.memmove(value.data_ptr(), packed.ctypes.data, packed.nbytes)
    return value


def varied_inputs(inputs: Mapping[str, Array], *, count: int = 3, seed: int = 0) -> list[dict[str, Array]]:
    """Return given inputs and variations of them: floats perturbed by 5 % of their spread, all else kept as it is.

    Integers, strings and booleans may be indices, lengths or masks, whose values only the user knows to be legal.

    Parameters
    ----------
    inputs : mapping of str to array
    count : int
        How many sets of inputs to return, the given one among them.
    seed : int
    """
    generator = np.random.default_rng(seed)
    trials = [dict(inputs)]
    for _ in range(count - 1):
        trial = dict(inputs)
        for name, array in inputs.items():
            if array.dtype.kind == "f" and array.size:
                finite = array[np.isfinite(array)].astype(np.float64)
                spread = float(np.std(finite)) or float(np.max(np.abs(finite), initial=0.0)) or 1.0
                noise = _PERTURBATION * spread * generator.standard_normal(array.shape)
                trial[name] = np.asarray(array.astype(np.float64) + noise).astype(array.dtype)
        trials.append(trial)
    return trials


def bind_inputs(
    model: "Model", inputs: Mapping[str, Array], dims: Mapping[str, int]
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Check a user's inputs against a model, and read the sizes of its open dimensions off them.

    Parameters
    ----------
    model : Model
    inputs : mapping of str to numpy.ndarray
        Every input of the model by its name, of the model's own type; nothing is cast.
    dims : mapping of str to int
        Sizes given beside them, which must agree. One given for a single axis, as ``"input.axis"``, lets that axis
        differ from others of the same symbol.

    Returns
    -------
    shapes : dict
        Input name to its shape.
    dims : dict
        Symbol, or ``"input.axis"`` for an axis without one, to its size.

    Raises
    ------
    ModelError
        An input that is missing, unknown, or of another type, rank or size than the model's; a symbol with two sizes;
        a dimension in `dims` that the model does not have or that the inputs contradict.
    """
    declared = {value.name: value for value in model.proto.graph.input}
    names = ", ".join(declared) or "none"
    if not isinstance(inputs, Mapping):
        raise ModelError(f"inputs is a {type(inputs).__name__}; give arrays by name; the model's inputs are {names}")
    if not isinstance(dims, Mapping):
        raise ModelError(f"dims is {dims!r}; give values by name, such as {{'seq': 128}}")
    unknown = next((name for name in inputs if name not in declared), None)
    if unknown is not None:
        raise ModelError(f"input '{unknown}' is not in the model; its inputs are {names}")
    dtypes = _declared_dtypes(model)
    shapes: dict[str, tuple[int, ...]] = {}
    bound: dict[str, int] = {}
    bound_by: dict[str, str] = {}
    known: set[str] = set()
    for name, value in declared.items():
        if name not in inputs:
            raise ModelError(f"input '{name}' is missing; the model's inputs are {names}")
        array = inputs[name]
        _check_array(name, array, dtypes[name])
        shapes[name] = array.shape
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            continue
        if len(tensor.shape.dim) != array.ndim:
            raise ModelError(_misfit(name, array, tensor.shape.dim))
        for axis, (dim, size) in enumerate(zip(tensor.shape.dim, array.shape, strict=True)):
            if _is_fixed(dim):
                if dim.dim_value != size:
                    raise ModelError(_misfit(name, array, tensor.shape.dim))
                continue
            own_name = f"{name}.{axis}"
            symbol = dim.dim_param
            known.update(one for one in (own_name, symbol) if one)
            key = symbol if symbol and own_name not in dims else own_name
            where = f"axis {axis} of input '{name}'"
            if bound.setdefault(key, size) != size:
                raise ModelError(
                    f"dimension '{key}' is {bound[key]} on {bound_by[key]} and {size} on {where}; "
                    f"make them agree, or pass dims={{'{own_name}': {size}}} if the model takes both"
                )
            bound_by.setdefault(key, where)
    for key, size in dims.items():
        if key not in known:
            symbols = ", ".join(f"'{one}'" for one in sorted(known)) or "none: every shape is fixed"
            raise ModelError(f"dimension '{key}' is not in the model; its open dimensions are {symbols}")
        if bound.get(key, size) != size:
            raise ModelError(
                f"dimension '{key}' is given as {size}, but {bound_by[key]} has {bound[key]}; "
                "leave it out: the inputs tell it"
            )
    return shapes, bound


def _declared_dtypes(model: "Model") -> dict[str, str]:
    from graph_io.shapes import input_dtypes

    return input_dtypes(model)


def _check_array(name: str, array: object, dtype: str) -> None:
    if not isinstance(array, np.ndarray):
        raise ModelError(f"input '{name}' is a {type(array).__name__}; pass a numpy array")
    wanted = numpy_dtype(dtype)
    if dtype == "string":
        if array.dtype.kind not in "OU" or not all(isinstance(one, str) for one in array.flat):
            raise ModelError(f"input '{name}' is of type {array.dtype}, the model's is string; pass an array of str")
    elif wanted is None:
        raise ModelError(f"input '{name}' is of type {dtype} in the model, which NumPy cannot hold here")
    elif array.dtype != wanted:
        raise ModelError(
            f"input '{name}' is of type {array.dtype}, the model's is {wanted}; convert it first, nothing is cast here"
        )


def _is_fixed(dim: Any) -> bool:
    return bool(dim.HasField("dim_value") and dim.dim_value >= 0)


def _misfit(name: str, array: Array, dims: Any) -> str:
    legal = [dim.dim_value if _is_fixed(dim) else dim.dim_param or "?" for dim in dims]
    return f"input '{name}' has shape {list(array.shape)}, the model takes {legal}"
