"""The element types that travel: their names in the protocol, in NumPy and in ONNX.

Tensors travel in little-endian order. The types that NumPy lacks (bfloat16, float8, 4-bit integers) do not travel.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError

STRINGS = "BYTES"
"""The datatype of strings, which NumPy holds as objects."""

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    STRINGS: np.dtype(np.object_),
}
"""The protocol's datatypes, each with its NumPy type in little-endian order."""

ONNX_TYPES: dict[str, str] = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "FP16",
    "float": "FP32",
    "float32": "FP32",
    "double": "FP64",
    "float64": "FP64",
    "string": STRINGS,
}
"""Element types by the names that the runtime and a plan use, each with its datatype in the protocol."""

_DATATYPES = {dtype: datatype for datatype, dtype in NUMPY_TYPES.items()}


def datatype_of_onnx(onnx_type: str, tensor: str) -> str:
    """Return the protocol's datatype of a tensor of a model.

    Parameters
    ----------
    onnx_type : str
        ``"tensor(float)"`` as the runtime writes it, or ``"float32"`` as a plan does.
    tensor : str
        Its name, for the message.

    Raises
    ------
    InputError
        The type does not travel.
    """
    plain = onnx_type.removeprefix("tensor(").removesuffix(")")
    if plain not in ONNX_TYPES:
        raise InputError(
            f"tensor '{tensor}' is of type {plain}, which does not travel; legal are {', '.join(sorted(ONNX_TYPES))}: "
            "cut where one of these crosses, or let the model cast it in front of the cut"
        )
    return ONNX_TYPES[plain]


def datatype_of_array(array: NDArray[Any], tensor: str) -> str:
    """Return the protocol's datatype of an array.

    Raises
    ------
    InputError
        Its type does not travel.
    """
    found = _DATATYPES.get(array.dtype)
    if found is not None:
        return found
    if array.dtype.kind == "U":
        return STRINGS
    raise InputError(
        f"tensor '{tensor}' is of type {str(array.dtype)[:40]}, which does not travel; legal are bool, int8 to int64, "
        "uint8 to uint64, float16, float32, float64 in little-endian order, and str"
    )
