"""ONNX element types: their NumPy names and the bytes that a tensor of them takes."""

from math import prod

from onnx import TensorProto

_BITS: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("float32", 32),
    TensorProto.DOUBLE: ("float64", 64),
    TensorProto.FLOAT16: ("float16", 16),
    TensorProto.BFLOAT16: ("bfloat16", 16),
    TensorProto.INT8: ("int8", 8),
    TensorProto.INT16: ("int16", 16),
    TensorProto.INT32: ("int32", 32),
    TensorProto.INT64: ("int64", 64),
    TensorProto.UINT8: ("uint8", 8),
    TensorProto.UINT16: ("uint16", 16),
    TensorProto.UINT32: ("uint32", 32),
    TensorProto.UINT64: ("uint64", 64),
    TensorProto.BOOL: ("bool", 8),
    TensorProto.COMPLEX64: ("complex64", 64),
    TensorProto.COMPLEX128: ("complex128", 128),
    TensorProto.FLOAT8E4M3FN: ("float8e4m3fn", 8),
    TensorProto.FLOAT8E4M3FNUZ: ("float8e4m3fnuz", 8),
    TensorProto.FLOAT8E5M2: ("float8e5m2", 8),
    TensorProto.FLOAT8E5M2FNUZ: ("float8e5m2fnuz", 8),
    TensorProto.INT4: ("int4", 4),
    TensorProto.UINT4: ("uint4", 4),
    # What each takes on the wire besides its characters: its length.
    TensorProto.STRING: ("string", 32),
}
# Newer than the oldest onnx that this library takes.
_NEWER = {"FLOAT4E2M1": ("float4e2m1", 4), "FLOAT8E8M0": ("float8e8m0", 8), "INT2": ("int2", 2), "UINT2": ("uint2", 2)}
_BITS |= {getattr(TensorProto, name): known for name, known in _NEWER.items() if hasattr(TensorProto, name)}
# The runtime names these element types in its own way.
_RUNTIME_NAMES = {"float": "float32", "double": "float64"}
_BY_NAME = {name: (element_type, bits) for element_type, (name, bits) in _BITS.items()}


def dtype_name(element_type: int) -> str | None:
    """Return the NumPy-style name of an ONNX element type, or None for one that is unknown here."""
    known = _BITS.get(element_type)
    return known[0] if known else None


def dtype_of_runtime(name: str) -> str | None:
    """Return the same for a type as the runtime prints it, such as ``"tensor(float)"``."""
    name = name.removeprefix("tensor(").removesuffix(")")
    name = _RUNTIME_NAMES.get(name, name)
    return name if name in _BY_NAME else None


def element_type(dtype: str) -> int:
    """Return the ONNX element type of a name that `dtype_name` gave."""
    return _BY_NAME[dtype][0]


def size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes that a dense tensor takes, types below one byte packed; of strings only those of the lengths."""
    return -(-prod(shape) * _BY_NAME[dtype][1] // 8)
