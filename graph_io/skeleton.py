"""A model without its weights: the same graph, large initializers pointing into an empty sparse file.

Shape inference and the runtime's fusions look at the shapes of weights, hardly ever at their values; without them both
are as fast on a model of gigabytes as on one of kilobytes.
"""

import hashlib
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import uses_external_data

# Below this an initializer may steer a fusion or a shape (a scale, an axis, a target shape), so it stays as it is.
_KEPT_BYTES = 4096
_PAGE_BYTES = 4096
_ZEROS = "zeros.bin"


def without_graph(proto: ModelProto) -> ModelProto:
    """Copy everything of a model but its graph."""
    copy = ModelProto(
        ir_version=proto.ir_version,
        producer_name=proto.producer_name,
        producer_version=proto.producer_version,
        domain=proto.domain,
        model_version=proto.model_version,
        doc_string=proto.doc_string,
    )
    copy.opset_import.extend(proto.opset_import)
    copy.metadata_props.extend(proto.metadata_props)
    copy.functions.extend(proto.functions)
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
    bare = without_graph(proto)
    graph = proto.graph
    bare.graph.name = graph.name
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    bare.graph.output.extend(graph.output)
    bare.graph.sparse_initializer.extend(graph.sparse_initializer)
    bare.graph.quantization_annotation.extend(graph.quantization_annotation)
    offset = 0
    for tensor in graph.initializer:
        size = len(tensor.raw_data)
        if size <= _KEPT_BYTES and not uses_external_data(tensor):
            bare.graph.initializer.append(tensor)
            continue
        empty = bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        empty.data_location = TensorProto.EXTERNAL
        for key, value in (("location", _ZEROS), ("offset", str(offset)), ("length", str(size))):
            empty.external_data.add(key=key, value=value)
        offset += -(-size // _PAGE_BYTES) * _PAGE_BYTES
    return bare, offset


def write_skeleton(proto: ModelProto, folder: Path) -> Path:
    """Write a model's skeleton into a folder and return its path."""
    bare, zeros_bytes = skeleton(proto)
    with open(folder / _ZEROS, "wb") as file:
        file.truncate(zeros_bytes)
    path = folder / "skeleton.onnx"
    onnx.save(bare, path)
    return path


def structure_sha256(proto: ModelProto) -> str:
    """Hash what decides a model's layers and their cost: everything but the contents of large weights and free text."""
    bare, _ = skeleton(proto)
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        bare.ClearField(field)
    bare.graph.name = ""
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
