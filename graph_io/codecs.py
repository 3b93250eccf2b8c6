"""Codecs of tensors that cross from one part to another: what each sends in place of a tensor, under which names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOSSLESS = "none"
"""The name by which a tensor crosses as it is."""
_MARK = "::"
_BYTES = {"uint8": 1, "int8": 1, "float16": 2, "float32": 4, "int64": 8}
_LEAST_OPSET = 8


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to send a float tensor in fewer bytes, which loses precision.

    Attributes
    ----------
    name : str
    code_type : str
        Element type of what is sent.
    levels : int
        Steps between the least and the greatest value that is sent; 0 for a float.
    symmetric : bool
        Whether the range is the same on both sides of zero, so that no offset is sent.
    per_channel : bool
        Whether each index of axis 1 has a range of its own.
    packed : bool
        Whether two values share a byte.
    """

    name: str
    code_type: str
    levels: int = 0
    symmetric: bool = False
    per_channel: bool = False
    packed: bool = False


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("float16", "float16"),
        Codec("uint8", "uint8", 255),
        Codec("uint8-channel", "uint8", 255, per_channel=True),
        Codec("int8", "int8", 127, symmetric=True),
        Codec("int8-channel", "int8", 127, symmetric=True, per_channel=True),
        Codec("uint4", "uint8", 15, packed=True),
        Codec("uint4-channel", "uint8", 15, per_channel=True, packed=True),
    )
}
"""By name. Ranges are those of the tensor that is sent, found when it is sent: nothing is calibrated."""


@dataclass(frozen=True, slots=True)
class CodedTensor:
    """One of the tensors that cross in place of another."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * _BYTES[self.dtype]


def codec_refusal(codec: str, dtype: str, shape: Sequence[int], opset: int | None = None) -> str | None:
    """Say why a codec cannot carry a tensor; None if it can.

    Parameters
    ----------
    codec : str
        One of `CODECS`, or `LOSSLESS`.
    dtype : str
    shape : sequence of int
    opset : int, optional
        Of the model; not looked at if left out.
    """
    if codec == LOSSLESS:
        return None
    if codec not in CODECS:
        return f"codec '{codec}' is unknown; use {', '.join((LOSSLESS, *CODECS))}"
    kind = CODECS[codec]
    legal = ("float32",) if kind.levels == 0 else ("float32", "float16")
    if dtype not in legal:
        return f"codec '{codec}' takes {' or '.join(legal)}, not {dtype}"
    if kind.per_channel and len(shape) < 2:
        return f"codec '{codec}' needs an axis 1, and the tensor has {len(shape)} dimensions"
    if not shape:
        return f"codec '{codec}' sends a scale beside the values, and this tensor is a single one"
    if opset is not None and opset < _LEAST_OPSET:
        return f"codec '{codec}' needs opset {_LEAST_OPSET} or newer, and the model has {opset}"
    return None


def coded_tensors(tensor: str, shape: Sequence[int], codec: str) -> tuple[CodedTensor, ...]:
    """Return what crosses in place of a tensor: the code, then scale, offset and shape where the codec needs them.

    Examples
    --------
    >>> [(one.name, one.shape) for one in coded_tensors("conv1", (1, 64, 56, 56), "uint8")]
    [('conv1::uint8.code', (1, 64, 56, 56)), ('conv1::uint8.scale', (1, 1, 1, 1)), ('conv1::uint8.zero', (1, 1, 1, 1))]
    """
    kind = CODECS[codec]
    stem = f"{tensor}{_MARK}{codec}"
    size = math.prod(shape)
    code_shape = ((size + 1) // 2,) if kind.packed else tuple(shape)
    found = [CodedTensor(f"{stem}.code", kind.code_type, code_shape)]
    ranges = tuple(length if kind.per_channel and axis == 1 else 1 for axis, length in enumerate(shape))
    if kind.levels:
        found.append(CodedTensor(f"{stem}.scale", "float32", ranges))
    if kind.levels and not kind.symmetric:
        found.append(CodedTensor(f"{stem}.zero", "float32", ranges))
    if kind.packed:
        found.append(CodedTensor(f"{stem}.shape", "int64", (len(shape),)))
    return tuple(found)


def carried_names(tensor: str, codec: str) -> tuple[str, ...]:
    """Return the names of what crosses for a tensor under a codec; its own if it crosses as it is."""
    if codec == LOSSLESS:
        return (tensor,)
    return tuple(one.name for one in coded_tensors(tensor, (1, 1), codec))


def coded_name(name: str) -> tuple[str, str, str] | None:
    """Take the name of what crosses apart: the tensor, the codec and "code", "scale", "zero" or "shape".

    Returns None for a name that none of these functions made.

    Examples
    --------
    >>> coded_name("conv1::uint8-channel.scale")
    ('conv1', 'uint8-channel', 'scale')
    >>> coded_name("conv1") is None
    True
    """
    tensor, mark, rest = name.rpartition(_MARK)
    codec, _, part = rest.partition(".")
    if not mark or not tensor or codec not in CODECS or part not in ("code", "scale", "zero", "shape"):
        return None
    return tensor, codec, part
