"""Read an ONNX model and bring it into the one form that the rest of the library works on."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from graph_io.dataflow import node_bodies, node_reads
from graph_io.dtypes import dtype_name, size_bytes
from graph_io.errors import ModelError
from graph_io.expansion import check_expansion
from graph_io.external import LARGEST_MESSAGE_BYTES, adopt_references, has_references
from graph_io.quantised_cuts import one_dequantize_per_reader
from graph_io.sparing import read_sparing
from graph_io.text import check_text

ModelSource: TypeAlias = str | PathLike[str] | ModelProto
"""What a model can be given as: the path of an ONNX file, or a model in memory."""

_ONNX_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_IR_OF_FUNCTIONS = 8
_IR_OF_OVERLOADS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A normalised model.

    Attributes
    ----------
    proto : onnx.ModelProto
        IR version 4 or newer, but no newer than its operators need; initializers are not inputs; every node leads to an
        output; nodes are in topological order and have unique names, those of bodies included; nodes of functions have
        names; no stale ``value_info``.
    name : str
        File name without its ending, else the graph's name.
    path : pathlib.Path or None
        Where it was read from; None for a model built in memory.
    notes : tuple of str
        What normalising changed that a user may want to know.
    weights : pathlib.Path or None
        The folder, links resolved, in whose files large initializers lie; None if all of them are in `proto`.
    """

    proto: ModelProto
    name: str
    path: Path | None
    notes: tuple[str, ...]
    weights: Path | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {len(self.proto.graph.node)} nodes)"


def load_model(source: ModelSource, *, sparing: bool = False) -> Model:
    """Read and normalise a model.

    Parameters
    ----------
    source : path or onnx.ModelProto
        Large weights that lie in other files of the model's folder stay there, as references. A given ModelProto is
        copied, never changed.
    sparing : bool
        Leave large weights in the model's own file, too, where they can stay: planning does not read them. The file has
        to stay as it is from then on.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        Not a readable ONNX file, external data that is not where it should be or outside of the model's folder, a
        graph without a compute node, a cycle, or a model in memory with weights of 2 GiB and more.
    """
    weights = None
    if isinstance(source, ModelProto):
        proto, path = ModelProto(), None
        proto.CopyFrom(source)
        name = proto.graph.name or "model"
    else:
        path = Path(source)
        # A file's name need not be UTF-8; what a model is called, in its parts too, has to be.
        proto, name = _read(path, sparing=sparing), os.fsencode(path.stem).decode("utf-8", "replace")
    label = str(path) if path is not None else name
    check_text(proto, label)
    if not proto.graph.node:
        raise ModelError(f"model '{label}' has no compute node, so there is nothing to partition")
    if not proto.graph.output:
        raise ModelError(f"model '{label}' has no output; the file is not valid ONNX")
    if not proto.opset_import:
        raise ModelError(f"model '{label}' names no version of its operators; the file is cut short or not valid ONNX")
    check_expansion(proto, label)
    if path is not None:
        weights = adopt_references(proto, path)
    elif has_references(proto):
        raise ModelError(f"model '{label}' in memory lacks its external data; load it from its path")
    notes = _normalise(proto, label)
    return Model(proto=proto, name=name, path=path, notes=tuple(notes), weights=weights)


def select_outputs(model: Model, outputs: Sequence[str]) -> Model:
    """Copy a model with some of its outputs alone, in this order, and only the nodes that lead to them.

    Raises
    ------
    ModelError
        None is named, or one that the model does not have.
    """
    declared = {value.name: value for value in model.proto.graph.output}
    unknown = next((name for name in outputs if name not in declared), None)
    if unknown is not None or not outputs:
        what = "no output is named" if unknown is None else f"'{unknown}' is not an output"
        raise ModelError(f"model '{model.name}': {what}; its outputs are {', '.join(declared)}")
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.output[:]
    proto.graph.output.extend(declared[name] for name in outputs)
    _normalise(proto, model.name)
    return replace(model, proto=proto)


def _read(path: Path, *, sparing: bool) -> ModelProto:
    try:
        # Looked at first: a pipe, a socket or a device may let its reader wait for ever.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and not a file")
        proto = (read_sparing(path) if sparing else None) or onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f"model '{path}' cannot be read: {error.strerror or error}; check the path") from error
    except Exception as error:  # each of onnx's formats, chosen by the file's ending, raises errors of its own
        raise ModelError(
            f"model '{path}' is not an ONNX file, or it is cut short; export or download it again"
        ) from error
    if not proto.ir_version and not proto.opset_import:
        raise ModelError(f"model '{path}' is not an ONNX file: it has no IR version and no opset; export it again")
    return proto


def _normalise(proto: ModelProto, label: str) -> list[str]:
    graph = proto.graph
    notes: list[str] = []
    _store_raw(graph)
    size = sum(_checked_bytes(tensor, label) for tensor in graph.initializer)
    if size > LARGEST_MESSAGE_BYTES:
        raise ModelError(
            f"model '{label}' in memory holds {size / 1e9:.2f} GB of weights, and no part could be written with more "
            "than 2.1 GB; save it with external data and load it from its path"
        )

    initializers = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    if len(inputs) != len(graph.input):
        if proto.ir_version >= 4:
            notes.append(f"{len(graph.input) - len(inputs)} inputs with default values are treated as constants")
        del graph.input[:]
        graph.input.extend(inputs)
    proto.ir_version = _least_ir_version(proto)
    if proto.training_info:
        del proto.training_info[:]
        notes.append("training information is dropped")
    del graph.value_info[:]
    _strip_prefixed_default_domain(graph.node)
    _check_single_assignment(graph, initializers, label)

    wanted = {value.name for value in graph.output}
    read = wanted | {name for node in graph.node for name in node_reads(node)}
    for node in graph.node:
        if node.op_type == "Dropout":
            while len(node.output) > 1 and node.output[-1] not in read:
                del node.output[-1]
    # Nodes of bodies too: the profiler reports them beside the others, and a name of both would be counted twice.
    _name_nodes([*graph.node, *_body_nodes(graph.node)])
    for function in proto.functions:
        # The runtime inlines functions; a node without a name could not be found again in a profile.
        _name_nodes(function.node)
    available = initializers | {value.name for value in graph.input}
    order = _topological(list(graph.node), available, label)
    unmade = wanted - available - {name for node in order for name in node.output}
    if unmade:
        raise ModelError(f"model '{label}': output '{min(unmade)}' is produced by nothing; the file is not valid ONNX")
    live = _live(order, wanted)
    if len(live) != len(order):
        notes.append(f"{len(order) - len(live)} nodes that lead to no output are dropped")
    if [node.name for node in live] != [node.name for node in graph.node]:
        kept = [NodeProto.FromString(node.SerializeToString()) for node in live]
        del graph.node[:]
        graph.node.extend(kept)
    copies = one_dequantize_per_reader(graph)
    if copies:
        notes.append(f"DequantizeLinear is copied to each reader, so that integers cross: {copies} more nodes")
    used = wanted | {name for node in graph.node for name in node_reads(node)}
    if any(tensor.name not in used for tensor in graph.initializer):
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name not in used:
                del graph.initializer[index]
    return notes


def _least_ir_version(proto: ModelProto) -> int:
    """Return the oldest format that holds a model: a newer one than its operators need is refused by older runtimes."""
    opsets = [*proto.opset_import, *(one for function in proto.functions for one in function.opset_import)]
    try:
        least = helper.find_min_ir_version_for([one for one in opsets if one.domain in _ONNX_DOMAINS])
    except ValueError:  # an opset newer than the installed onnx
        return max(proto.ir_version, 4)
    if proto.functions:
        least = max(least, _IR_OF_OVERLOADS if any(one.overload for one in proto.functions) else _IR_OF_FUNCTIONS)
    # Below 4 every initializer had to be an input too, and shape inference still expects that.
    return max(min(proto.ir_version, least), 4)


def _store_raw(graph: GraphProto) -> None:
    # Typed fields cost several bytes of memory per byte of weight, and only raw data can be measured and stripped.
    for tensor in graph.initializer:
        if uses_external_data(tensor):
            continue
        typed = len(tensor.float_data) + len(tensor.int32_data) + len(tensor.int64_data) + len(tensor.double_data)
        if typed > 64:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        # The same model must have the same bytes however it was stored.
        tensor.ClearField("data_location")


def _checked_bytes(tensor: TensorProto, label: str) -> int:
    """Return the bytes of an initializer that lie in the model, if they are as many as its shape says."""
    size, dtype = len(tensor.raw_data), dtype_name(tensor.data_type)
    if not tensor.HasField("raw_data") or dtype is None:
        return size
    expected = size_bytes(dtype, tuple(tensor.dims)) if min(tensor.dims, default=0) >= 0 else None
    if size != expected:
        raise ModelError(
            f"model '{label}': initializer '{tensor.name}' holds {size} bytes, but type {dtype} "
            f"and shape {list(tensor.dims)} take {expected or 0}; the file is not valid ONNX"
        )
    return size


def _strip_prefixed_default_domain(nodes: Iterable[NodeProto]) -> None:
    # "ai.onnx" and "" are one domain; the rest of the library compares with "".
    for node in nodes:
        if node.domain == "ai.onnx":
            node.domain = ""


def _check_single_assignment(graph: GraphProto, initializers: set[str], label: str) -> None:
    counts = Counter(name for node in graph.node for name in node.output if name)
    counts.update(value.name for value in graph.input)
    counts.update(initializers)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise ModelError(f"model '{label}': tensor '{twice}' is produced more than once; the file is not valid ONNX")


def _body_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        for body in node_bodies(node):
            yield from body.node
            yield from _body_nodes(body.node)


def _name_nodes(nodes: Iterable[NodeProto]) -> None:
    taken: set[str] = set()
    for index, node in enumerate(nodes):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name = f"{name}_{index}"
        taken.add(name)
        node.name = name


def _topological(nodes: list[NodeProto], available: set[str], label: str) -> list[NodeProto]:
    """Sort stably; ONNX asks for sorted nodes, but not every exporter obeys."""
    waiting: dict[str, list[int]] = {}
    missing = [0] * len(nodes)
    produced = {name for node in nodes for name in node.output if name}
    reads = [node_reads(node) for node in nodes]
    for index, node in enumerate(nodes):
        for name in reads[index]:
            if name in produced:
                waiting.setdefault(name, []).append(index)
                missing[index] += 1
            elif name not in available:
                raise ModelError(f"model '{label}': node '{node.name}' reads tensor '{name}', which nothing produces")
    if _is_sorted(nodes, reads, available):
        return nodes
    ready = [index for index, count in enumerate(missing) if count == 0]
    order: list[NodeProto] = []
    for index in ready:
        order.append(nodes[index])
        for name in nodes[index].output:
            for consumer in waiting.get(name, ()):
                missing[consumer] -= 1
                if missing[consumer] == 0:
                    ready.append(consumer)
    if len(order) != len(nodes):
        stuck = next(node.name for node, count in zip(nodes, missing, strict=True) if count > 0)
        raise ModelError(f"model '{label}': node '{stuck}' is part of a cycle; the file is not valid ONNX")
    return order


def _is_sorted(nodes: list[NodeProto], reads: list[tuple[str, ...]], available: set[str]) -> bool:
    known = set(available)
    for node, names in zip(nodes, reads, strict=True):
        if not known.issuperset(names):
            return False
        known.update(node.output)
    return True


def _live(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    needed = set(wanted)
    live: list[NodeProto] = []
    for node in reversed(nodes):
        if any(name in needed for name in node.output):
            needed.update(node_reads(node))
            live.append(node)
    live.reverse()
    return live


def least_precise_float(model: Model) -> str:
    """Return "bfloat16", "float16" or "float32": the least precise of them that a weight, input, output or Cast has."""
    graph = model.proto.graph
    types = {tensor.data_type for tensor in graph.initializer}
    types.update(value.type.tensor_type.elem_type for value in (*graph.input, *graph.output))
    types.update(
        attribute.i
        for node in graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to"
    )
    if TensorProto.BFLOAT16 in types:
        return "bfloat16"
    return "float16" if TensorProto.FLOAT16 in types else "float32"
