"""A model for the runtime whose weights stay where they are in memory: neither written out nor read again."""

from collections import Counter
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import uses_external_data

from graph_io.dtypes import dtype_name
from graph_io.external import Reference, set_reference, stored_bytes
from graph_io.skeleton import without_weights

# The runtime reads the contents of these itself, such as a shape, before it asks for weights in memory: lists of whole
# numbers of any length, too, such as the sizes of a Split.
_SMALL_BYTES = 1024
_STEERING = frozenset({"int32", "int64"})
_SHARED = frozenset({"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"})


def resident(proto: ModelProto, options: Any) -> tuple[ModelProto, list[Any]]:
    """Take the large weights out of a model and hand them to the runtime as they lie in memory.

    Parameters
    ----------
    proto : onnx.ModelProto
        A normalised one, each initializer of which is read. It is not changed.
    options : onnxruntime.SessionOptions
        Gets the weights.

    Returns
    -------
    model : onnx.ModelProto
        To be opened with these options. Weights that are small, lists of whole numbers, of rare types or in files are
        still in it.
    held : list
        What has to stay alive as long as the session does.

    Notes
    -----
    Writing out a model with its weights takes up to ten times as long as a session takes to open without them, for
    the memory has to be had several times over.
    """
    import onnxruntime

    # Of two with one name the runtime takes one, but not from memory.
    named = Counter(tensor.name for tensor in proto.graph.initializer)
    bare, large = without_weights(proto, lambda tensor: named[tensor.name] == 1 and _is_shared(tensor))
    names, values = [], []
    for tensor, empty in large:
        array = np.frombuffer(tensor.raw_data, np.dtype(dtype_name(tensor.data_type))).reshape(tuple(tensor.dims))
        set_reference(empty, Reference("memory", 0, array.nbytes))
        names.append(tensor.name)
        values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
    if names:
        options.add_external_initializers(names, values)
    return bare, values


def _is_shared(tensor: TensorProto) -> bool:
    dtype = dtype_name(tensor.data_type)
    return (
        not uses_external_data(tensor)
        and dtype in _SHARED
        and not (dtype in _STEERING and len(tensor.dims) == 1)
        and stored_bytes(tensor) > _SMALL_BYTES
    )
