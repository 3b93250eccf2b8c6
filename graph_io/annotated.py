"""A copy of a model as it was given, with a word on each node for whoever looks at it in a viewer such as Netron."""

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from graph_io.errors import ModelError, runtime_reason
from graph_io.external import has_references
from graph_io.graph import LayerGraph

_PREFIX = "dnn-partition."
# The first version in which a node may carry metadata.
_LEAST_IR_VERSION = 10


def annotated_copy(
    graph: LayerGraph, placements: Mapping[str, Mapping[str, str]], target: Path, *, about: Mapping[str, str]
) -> ModelProto:
    """Copy the model that a graph was loaded from, and write the layer of each node into the node's metadata.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `load_graph`. Its file is read again, so that the copy has the nodes, names and weights of the original;
        of a model in memory it is the normalised one that is copied.
    placements : mapping of str to mapping of str to str
        Layer id to further entries, such as ``{"machine": "device"}``.
    target : pathlib.Path
        Where the copy will be written.
    about : mapping of str to str
        Entries for the model's own metadata.

    Returns
    -------
    onnx.ModelProto
        Keys begin with ``dnn-partition.``; earlier ones are replaced. A node that belongs to no layer says why. An IR
        version below 10 becomes 10.

    Raises
    ------
    ModelError
        The file cannot be read any more, or its weights lie in other files and the target is in another folder.
    """
    model = graph.graph["model"]
    proto = _reread(model.path, target) if model.path is not None else _copy(model.proto)
    normalised: ModelProto = model.proto
    layer_of = {node: layer for layer, data in graph.nodes(data=True) for node in data["layer"].nodes}
    # By what a node puts out: names of nodes may be missing or used twice in the file.
    known = {name: layer_of.get(node.name) for node in normalised.graph.node for name in node.output if name}
    written = {name for node in proto.graph.node for name in node.output}
    # What normalising copied to each reader has the original's inputs and an output of its own.
    copied: dict[tuple[str, ...], list[str]] = {}
    for node in normalised.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] not in written:
            copied.setdefault(tuple(node.input), []).append(layer_of[node.name])
    for node in proto.graph.node:
        name = next((output for output in node.output if output), None)
        layer = known.get(name) if name is not None else None
        if layer is not None:
            entries = {"layer": layer, **placements.get(layer, {})}
            if node.op_type == "DequantizeLinear" and tuple(node.input) in copied:
                entries["copied to"] = ", ".join(copied[tuple(node.input)])
        elif name in known:
            entries = {"layer": "none: a constant, copied to each part that reads it"}
        else:
            entries = {"layer": "none: leads to no output, so it is left out"}
        _replace(node, entries)
    _replace(proto, about)
    proto.ir_version = max(proto.ir_version, _LEAST_IR_VERSION)
    return proto


def _reread(path: Path, target: Path) -> ModelProto:
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # each of onnx's formats, chosen by the file's ending, raises errors of its own
        raise ModelError(f"model '{path}' cannot be read again: {runtime_reason(error)}") from error
    if has_references(proto) and target.parent.resolve() != path.parent.resolve():
        raise ModelError(
            f"annotated copy '{target}': the weights of '{path}' lie in other files of its folder, and ONNX allows no "
            f"way there from elsewhere; write the copy into '{path.parent}'"
        )
    return proto


def _copy(proto: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    return copy


def _replace(place: ModelProto | NodeProto, entries: Mapping[str, str]) -> None:
    for index in reversed(range(len(place.metadata_props))):
        if place.metadata_props[index].key.startswith(_PREFIX):
            del place.metadata_props[index]
    for key, value in entries.items():
        place.metadata_props.add(key=_PREFIX + key, value=value)
