"""A model for the runtime whose weights stay where they are in memory: neither written out nor read again."""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import uses_external_data

from graph_io.dtypes import dtype_name
from graph_io.external import Reference, set_reference, stored_bytes
from graph_io.skeleton import without_weights

# The runtime reads the contents of these itself, such as a shape, before it asks for weights in memory.
_SMALL_BYTES = 1024
_SHARED = frozenset({"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"})


def resident(proto: ModelProto, options: Any) -> tuple[ModelProto, list[Any]]:
    """Take the large weights out of a model and hand them to the runtime as they lie in memory.

    Parameters
    ----------
    proto : onnx.ModelProto
        It is not changed.
    options : onnxruntime.SessionOptions
        Gets the weights.

    Returns
    -------
    model : onnx.ModelProto
        To be opened with these options. Weights that are small, lie in files or are of rare types are still in it.
    held : list
        What has to stay alive as long as the session does.

    Notes
    -----
    Writing out a model with its weights takes up to ten times as long as a session takes to open without them, for
    the memory has to be had several times over.
    """
    import onnxruntime

    bare, large = without_weights(proto, _is_shared)
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
    return (
        not uses_external_data(tensor)
        and dtype_name(tensor.data_type) in _SHARED
        and stored_bytes(tensor) > _SMALL_BYTES
    )
