"""Encoders and decoders as ordinary nodes, put into a part's model: what crosses is found and undone by the runtime.

Only operators that every opset from 8 on has. The range of a tensor is that of the tensor which is sent. Its sum, times
zero, is added to the scale: it is not finite if one of the values is not, whatever the runtime's maximum makes of that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from graph_io.codecs import CODECS, Codec, codec_refusal, coded_name, coded_tensors
from graph_io.dtypes import element_type
from graph_io.errors import ModelError
from graph_io.skeleton import without_graph

# A range below is widened to it: what is divided by it then stays finite.
_LEAST_RANGE = np.float32(1.2e-36)
_LARGEST = np.finfo(np.float32).max
_BY_INPUT_FROM = {"ReduceMin": 18, "ReduceMax": 18, "ReduceSum": 13}


@dataclass(frozen=True, slots=True)
class Crossing:
    """A tensor with its type and planned shape, as encoders and decoders need it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(slots=True)
class _Nodes:
    """Nodes and constants of one encoder or decoder, under names that only it has."""

    stem: str
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        output = into or f"{self.stem}.{len(self.nodes)}"
        name = f"{self.stem}.node{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"{self.stem}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def reduce(self, operator: str, source: str, axes: Sequence[int] | None) -> str:
        if axes is None:
            return self.add(operator, source, keepdims=1)
        if self.opset >= _BY_INPUT_FROM[operator]:
            return self.add(operator, source, self.constant(axes, np.int64), keepdims=1)
        return self.add(operator, source, axes=list(axes), keepdims=1)

    def slice(self, source: str, begin: str | int, end: str | int) -> str:
        if isinstance(begin, int) or isinstance(end, int):
            return self.add("Slice", source, starts=[begin], ends=[end], axes=[0])
        return self.add("Slice", source, begin, end)


def model_opset(proto: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 1)


def with_codecs(
    proto: ModelProto, inputs: Sequence[str], outputs: Sequence[str], crossings: Mapping[str, Crossing]
) -> ModelProto:
    """Put encoders and decoders into a part, so that it reads and puts out what crosses.

    Parameters
    ----------
    proto : onnx.ModelProto
        A part as `graph_io.split` writes it.
    inputs, outputs : sequences of str
        Names of what the part is to read and to put out; those that `coded_name` knows are of codecs.
    crossings : mapping of str to Crossing
        Of the tensors that these are made from, by name.

    Returns
    -------
    onnx.ModelProto
        `proto` itself where no name is of a codec. A tensor that is not among `outputs` any more is computed, but not
        put out.

    Raises
    ------
    ModelError
        A codec that the tensor's type does not allow; a name that the part has already.
    """
    encoded, decoded = _pairs(outputs), _pairs(inputs)
    if not encoded and not decoded:
        return proto
    opset = model_opset(proto)
    coded = without_graph(proto)
    coded.graph.CopyFrom(proto.graph)
    graph = coded.graph
    _check_names(graph.node, [*encoded, *decoded])
    known_inputs = {value.name: value for value in graph.input}
    known_outputs = {value.name: value for value in graph.output}
    for tensor, _ in encoded:
        if tensor not in known_inputs and not any(tensor in node.output for node in graph.node):
            # With its rank: a session checks what it is given against what the first reader declares.
            known_inputs[tensor] = _value_info(tensor, crossings[tensor].dtype, len(crossings[tensor].shape))
    made = {name: info for pair in (*encoded, *decoded) for name, info in _infos(*pair, crossings).items()}
    del graph.input[:], graph.output[:]
    graph.input.extend(made[name] if name in made else known_inputs[name] for name in inputs)
    graph.output.extend(made[name] if name in made else known_outputs[name] for name in outputs)
    before: list[NodeProto] = []
    for tensor, codec in decoded:
        nodes = _decoder(crossings[tensor], CODECS[codec], opset)
        before += nodes.nodes
        graph.initializer.extend(nodes.constants)
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *own])
    for tensor, codec in encoded:
        nodes = _encoder(crossings[tensor], CODECS[codec], opset)
        graph.node.extend(nodes.nodes)
        graph.initializer.extend(nodes.constants)
    return coded


def codec_part(
    whole: ModelProto, inputs: Sequence[str], outputs: Sequence[str], crossings: Mapping[str, Crossing]
) -> ModelProto:
    """Return a part without layers, which encodes or decodes alone, with the opset of the model that it belongs to."""
    bare = ModelProto()
    bare.ir_version = whole.ir_version
    bare.opset_import.extend(one for one in whole.opset_import if one.domain in ("", "ai.onnx"))
    bare.graph.name = f"{whole.graph.name} codecs"
    given = {value.name: value for value in whole.graph.input}
    names = [*(name for name in inputs if coded_name(name) is None)]
    bare.graph.input.extend(
        given.get(name) or _value_info(name, crossings[name].dtype, len(crossings[name].shape)) for name in names
    )
    bare.graph.output.extend(
        _value_info(name, crossings[name].dtype, None) for name in outputs if coded_name(name) is None
    )
    return with_codecs(bare, inputs, outputs, crossings)


def codec_models(crossing: Crossing, codec: str, opset: int) -> tuple[bytes, bytes]:
    """Return an encoder and a decoder of one tensor as models of their own, to be measured.

    Raises
    ------
    ModelError
        The codec does not take the tensor.
    """
    shell = helper.make_model(helper.make_graph([], "codec", [], []), opset_imports=[helper.make_opsetid("", opset)])
    shell.ir_version = 8 if opset < 19 else 10
    names = [one.name for one in coded_tensors(crossing.name, crossing.shape, codec)]
    table = {crossing.name: crossing}
    encoder = codec_part(shell, [crossing.name], names, table)
    decoder = codec_part(shell, names, [crossing.name], table)
    return encoder.SerializeToString(), decoder.SerializeToString()


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    found = (coded_name(name) for name in names)
    return list(dict.fromkeys((one[0], one[1]) for one in found if one is not None))


def _check_names(nodes: Iterable[NodeProto], pairs: Sequence[tuple[str, str]]) -> None:
    stems = tuple(f"{tensor}::{codec}." for tensor, codec in pairs)
    taken = next((name for node in nodes for name in node.output if name.startswith(stems)), None)
    if taken is not None:
        raise ModelError(f"the model has a tensor '{taken}', a name that codecs need; rename it, or use no codec")


def _infos(tensor: str, codec: str, crossings: Mapping[str, Crossing]) -> dict[str, ValueInfoProto]:
    crossing = crossings[tensor]
    reason = codec_refusal(codec, crossing.dtype, crossing.shape)
    if reason is not None:
        raise ModelError(f"tensor '{tensor}': {reason}")
    return {
        one.name: _value_info(one.name, one.dtype, len(one.shape))
        for one in coded_tensors(tensor, crossing.shape, codec)
    }


def _value_info(name: str, dtype: str, rank: int | None) -> ValueInfoProto:
    """Describe a tensor whose sizes stay open: parts take other sizes where the model does."""
    return helper.make_tensor_value_info(name, element_type(dtype), None if rank is None else [None] * rank)


def _encoder(crossing: Crossing, codec: Codec, opset: int) -> _Nodes:
    stem = f"{crossing.name}::{codec.name}"
    nodes = _Nodes(f"{stem}.encode", opset)
    code = f"{stem}.code"
    code_type = element_type(codec.code_type)
    if not codec.levels:
        nodes.add("Cast", crossing.name, into=code, to=code_type)
        return nodes
    source = crossing.name
    if crossing.dtype != "float32":
        source = nodes.add("Cast", source, to=TensorProto.FLOAT)
    axes = [axis for axis in range(len(crossing.shape)) if axis != 1] if codec.per_channel else None
    greatest, least = (nodes.reduce(operator, source, axes) for operator in ("ReduceMax", "ReduceMin"))
    # Of nothing at all the least is infinite.
    least = nodes.add("Min", least, nodes.constant(_LARGEST))
    if codec.symmetric:
        span = nodes.add("Max", greatest, nodes.add("Neg", least))
    else:
        span = nodes.add("Sub", greatest, least)
    span = nodes.add("Max", span, nodes.constant(_LEAST_RANGE))
    poison = nodes.add("Mul", nodes.reduce("ReduceSum", source, axes), nodes.constant(0.0))
    levels = nodes.constant(float(codec.levels))
    nodes.add("Add", nodes.add("Div", span, levels), poison, into=f"{stem}.scale")
    if not codec.symmetric:
        nodes.add("Identity", least, into=f"{stem}.zero")
        source = nodes.add("Sub", source, least)
    half = nodes.constant(0.5)
    scaled = nodes.add("Add", nodes.add("Mul", source, nodes.add("Div", levels, span)), half)
    if codec.packed:
        _pack(nodes, crossing, scaled, stem)
    else:
        # A cast drops the fraction, which rounds down what is not negative.
        rounded = nodes.add("Floor", scaled) if codec.symmetric else scaled
        nodes.add("Cast", rounded, into=code, to=code_type)
    return nodes


def _pack(nodes: _Nodes, crossing: Crossing, scaled: str, stem: str) -> None:
    """Put the two halves of a tensor into one byte each; they overlap by one value where its size is odd."""
    nodes.add("Shape", crossing.name, into=f"{stem}.shape")
    flat = nodes.add("Reshape", scaled, nodes.constant([-1], np.int64))
    if nodes.opset >= 10:
        size = nodes.add("Shape", flat)
        n_bytes = _halved(nodes, size)
        low = nodes.slice(flat, nodes.constant([0], np.int64), n_bytes)
        high = nodes.slice(flat, nodes.add("Sub", size, n_bytes), size)
    else:
        length = int(np.prod(crossing.shape))
        half = (length + 1) // 2
        low, high = nodes.slice(flat, 0, half), nodes.slice(flat, length - half, length)
    high = nodes.add("Mul", nodes.add("Floor", high), nodes.constant(16.0))
    nodes.add("Cast", nodes.add("Add", low, high), into=f"{stem}.code", to=TensorProto.UINT8)


def _halved(nodes: _Nodes, size: str) -> str:
    one, two = nodes.constant([1], np.int64), nodes.constant([2], np.int64)
    return nodes.add("Div", nodes.add("Add", size, one), two)


def _decoder(crossing: Crossing, codec: Codec, opset: int) -> _Nodes:
    stem = f"{crossing.name}::{codec.name}"
    nodes = _Nodes(f"{stem}.decode", opset)
    values = nodes.add("Cast", f"{stem}.code", to=TensorProto.FLOAT)
    if codec.packed:
        values = _unpacked(nodes, crossing, values, stem)
    if codec.levels:
        values = nodes.add("Mul", values, f"{stem}.scale")
    if codec.levels and not codec.symmetric:
        values = nodes.add("Add", values, f"{stem}.zero")
    if crossing.dtype == "float32":
        nodes.add("Identity", values, into=crossing.name)
    else:
        nodes.add("Cast", values, into=crossing.name, to=element_type(crossing.dtype))
    return nodes


def _unpacked(nodes: _Nodes, crossing: Crossing, values: str, stem: str) -> str:
    sixteen = nodes.constant(16.0)
    high = nodes.add("Floor", nodes.add("Div", values, sixteen))
    low = nodes.add("Sub", values, nodes.add("Mul", high, sixteen))
    if nodes.opset >= 10:
        n_bytes = nodes.add("Shape", values)
        size = nodes.add("ReduceProd", f"{stem}.shape", keepdims=1)
        skipped = nodes.add("Sub", nodes.add("Add", n_bytes, n_bytes), size)
        high = nodes.slice(high, skipped, n_bytes)
    else:
        length = int(np.prod(crossing.shape))
        half = (length + 1) // 2
        high = nodes.slice(high, 2 * half - length, half)
    joined = nodes.add("Concat", low, high, axis=0)
    # Without it a size of 0 would stand for that of another axis.
    more: dict[str, Any] = {"allowzero": 1} if nodes.opset >= 14 else {}
    return nodes.add("Reshape", joined, f"{stem}.shape", **more)
