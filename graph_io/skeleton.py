"""A model without its weights: the same graph, large initializers pointing into an empty sparse file.

Shape inference and the runtime's fusions look at the shapes of weights, hardly ever at their values; without them both
are as fast on a model of gigabytes as on one of kilobytes.
"""

import hashlib
from collections.abc import Callable, Sized
from pathlib import Path

from onnx import ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from graph_io.dtypes import dtype_name, size_bytes
from graph_io.errors import ModelError
from graph_io.external import SMALL_BYTES, Reference, set_reference, stored_bytes

_PAGE_BYTES = 4096
_ZEROS = "zeros.bin"
# What a file can be asked to hold; no system has so much.
_MOST_BYTES = 1 << 60


def without_graph(proto: ModelProto) -> ModelProto:
    """Copy everything of a model but its graph."""
    copy = ModelProto()
    # By field rather than by name, so that what a later format adds is not lost.
    for field, value in proto.ListFields():
        if field.name == "graph":
            continue
        if isinstance(value, Sized) and not isinstance(value, str):
            getattr(copy, field.name).extend(value)
        else:
            setattr(copy, field.name, value)
    return copy


def skeleton(proto: ModelProto) -> tuple[ModelProto, int]:
    """Copy a model without the contents of its large initializers.

    Returns
    -------
    model : onnx.ModelProto
        Large initializers are external references into a file of zeros.
    zeros_bytes : int
        The length that this file must have.
    """
    bare, large = without_weights(
        proto, lambda tensor: uses_external_data(tensor) or stored_bytes(tensor) > SMALL_BYTES
    )
    offset = 0
    for tensor, empty in large:
        size = stored_bytes(tensor)
        set_reference(empty, Reference(_ZEROS, offset, size))
        offset += -(-size // _PAGE_BYTES) * _PAGE_BYTES
    return bare, offset


def without_weights(
    proto: ModelProto, leaves: Callable[[TensorProto], bool]
) -> tuple[ModelProto, list[tuple[TensorProto, TensorProto]]]:
    """Copy a model without the contents of chosen initializers.

    Returns
    -------
    model : onnx.ModelProto
    large : list of pairs of onnx.TensorProto
        Each initializer that was chosen, and its empty copy, which is to say where the contents are.
    """
    bare = without_graph(proto)
    graph = proto.graph
    bare.graph.name = graph.name
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    bare.graph.output.extend(graph.output)
    bare.graph.sparse_initializer.extend(graph.sparse_initializer)
    bare.graph.quantization_annotation.extend(graph.quantization_annotation)
    large = []
    for tensor in graph.initializer:
        if leaves(tensor):
            large.append(
                (tensor, bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims))
            )
        else:
            bare.graph.initializer.append(tensor)
    return bare, large


def write_skeleton(proto: ModelProto, folder: Path) -> Path:
    """Write a model's skeleton into a folder and return its path."""
    bare, zeros_bytes = skeleton(proto)
    zeros_bytes = _refer_to_filled(bare, zeros_bytes)
    if zeros_bytes > _MOST_BYTES:
        raise ModelError(
            f"the model's weights take {zeros_bytes} bytes, more than any file holds: a shape in it is damaged; "
            "export the model again"
        )
    with open(folder / _ZEROS, "wb") as file:
        file.truncate(zeros_bytes)
    path = folder / "skeleton.onnx"
    path.write_bytes(bare.SerializeToString())
    return path


def _refer_to_filled(bare: ModelProto, zeros_bytes: int) -> int:
    """Let large weights that ConstantOfShape fills be references too: the runtime would make and write all of them."""
    graph = bare.graph
    shapes = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1 and not uses_external_data(tensor)
    }
    outputs = {value.name for value in graph.output}
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type != "ConstantOfShape" or node.domain or node.output[0] in outputs or node.input[0] not in shapes:
            continue
        filling = next((attribute.t.data_type for attribute in node.attribute if attribute.name == "value"), 0)
        kind, dims = filling or TensorProto.FLOAT, tuple(int(size) for size in shapes[node.input[0]])
        dtype = dtype_name(kind)
        size = size_bytes(dtype, dims) if dtype is not None and min(dims, default=0) > 0 else 0
        if size > SMALL_BYTES:
            empty = graph.initializer.add(name=node.output[0], data_type=kind, dims=dims)
            set_reference(empty, Reference(_ZEROS, zeros_bytes, size))
            zeros_bytes += -(-size // _PAGE_BYTES) * _PAGE_BYTES
            del graph.node[index]
    return zeros_bytes


def structure_sha256(proto: ModelProto) -> str:
    """Hash what decides a model's layers and their cost: everything but the contents of large weights and free text.

    Nor does it depend on the format's version, nor on how the model was spread over several devices elsewhere.
    """
    bare, _ = skeleton(proto)
    for field in ("ir_version", "producer_name", "producer_version", "doc_string", "metadata_props", "configuration"):
        # Older releases of onnx lack some.
        if field in ModelProto.DESCRIPTOR.fields_by_name:
            bare.ClearField(field)
    bare.graph.name = ""
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
