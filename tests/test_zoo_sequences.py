"""The zoo's networks beside image classifiers: sizes against published ones, and runs at two lengths."""

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx
import onnxruntime
import pytest

import graph_io
from benchmarks.zoo import generative, perception, recurrent, transformers
from benchmarks.zoo.network import Network
from tests.scale import scaled

ALL = (*perception.NETWORKS, *generative.NETWORKS, *recurrent.NETWORKS, *transformers.NETWORKS)
# Built and run in a second or less.
SMALL = {
    *("mnist", "senna-pos", "senna-ner", "senna-chk", "dqn", "vae", "cove-300", "cove-200", "imdb-lstm"),
    *("gru-keywords", "gpt2-block", "encoder-small"),
}
ORDERED = sorted(ALL, key=lambda network: network.name not in SMALL)
CASES = ORDERED[: scaled(len(SMALL), len(ALL))]
LENGTHS = (6, 13)

COMPUTING = {"Conv", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul"}
LINE = re.compile(r".+ \((?P<op_type>\w+)\): (?P<shape>[\w ]+?)(, from \d+)?")
MANY_BYTES = 20e6


@dataclass
class Built:
    network: Network
    model: onnx.ModelProto

    @cached_property
    def session(self):
        """Open the model such that every node's first output can be read."""
        known = {value.name for value in self.model.graph.output}
        names = [node.output[0] for node in self.model.graph.node if node.output[0] not in known]
        extra = onnx.ModelProto(graph=onnx.GraphProto(output=[onnx.ValueInfoProto(name=name) for name in names]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Messages of protobuf merge when their bytes are joined: no copy of the weights is needed.
        content = self.model.SerializeToString() + extra.SerializeToString()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    @cached_property
    def lengths(self):
        return LENGTHS if self.network.dims else (None,)

    def run(self, length, *, seed=0):
        """Return the values of all inputs and of each node's first output, by name."""
        loaded = graph_io.load_model(self.model)
        shapes, _ = graph_io.fix_input_dims(loaded, {} if length is None else dict.fromkeys(self.network.dims, length))
        feeds = graph_io.random_inputs(shapes, graph_io.input_dtypes(loaded), seed=seed)
        names = [node.output[0] for node in self.model.graph.node]
        return feeds | dict(zip(names, self.session.run(names, feeds), strict=True))


@pytest.fixture(scope="module", params=CASES, ids=lambda network: network.name)
def built(request):
    # A fixture of the module, so that one network at a time is in memory and each is built once.
    return Built(request.param, request.param.build())


def multiply_accumulates(built, values):
    shapes = {name: value.shape for name, value in values.items()}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in built.model.graph.initializer}
    total = 0
    for node in built.model.graph.node:
        if node.op_type in COMPUTING:
            assert node.op_type in ("Conv", "Gemm", "MatMul"), "count it here before publishing a figure"
            left, right = (shapes[name] for name in node.input[:2])
            total += prod(shapes[node.output[0]]) * (prod(right[1:]) if node.op_type == "Conv" else left[-1])
    return total


def test_figures_agree_with_published_ones(built):
    published = built.network.published
    assert (published is None) == bool(built.network.shapes), "either a published figure or a table of shapes"
    if published is None:
        return
    if published.parameters is not None:
        weights = (t for t in built.model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
        assert sum(prod(weight.dims) for weight in weights) == pytest.approx(published.parameters, rel=0.02)
    if published.macs is not None:
        assert multiply_accumulates(built, built.run(None)) == pytest.approx(published.macs, rel=0.02)


def test_layers_have_the_listed_shapes(built):
    for length in built.lengths if built.network.shapes else ():
        values = built.run(length)
        nodes = iter(built.model.graph.node)
        for line in built.network.shapes:
            match = LINE.fullmatch(line)
            assert match, line
            wanted = tuple(length if size == "seq" else int(size) for size in match["shape"].split(" x "))
            # In their order: whatever lies between two listed layers is passed over.
            assert any(node.op_type == match["op_type"] and values[node.output[0]].shape == wanted for node in nodes), (
                line
            )


def test_outputs_follow_the_input_and_keep_their_size(built):
    for length in built.lengths:
        values, others = (built.run(length, seed=seed) for seed in (0, 1))
        for output in built.model.graph.output:
            value, other = values[output.name], others[output.name]
            dims = output.type.tensor_type.shape.dim
            sizes = [dim.dim_value or (length if dim.dim_param == "seq" else None) for dim in dims]
            assert all(size in (None, real) for size, real in zip(sizes, value.shape, strict=True))
            assert np.isfinite(value).all()
            assert np.linalg.norm(value - other) > 0.01 * np.linalg.norm(value), output.name
        for node in built.model.graph.node:
            if node.op_type in COMPUTING:
                assert 1e-3 < np.sqrt(np.mean(np.square(values[node.output[0]]))) < 1e3, node.name


def test_kernels_lead_back_to_layers(built):
    graph = graph_io.load_graph(built.model, dims=built.network.dims)
    kernels = graph_io.deployed_kernels(graph)
    assert kernels
    assert all(set(layers) <= set(graph.nodes) for layers in kernels.values())


def test_the_same_build_gives_the_same_bytes(built):
    if built.model.ByteSize() < MANY_BYTES:
        assert built.model.SerializeToString() == built.network.build().SerializeToString()


def test_names_are_unique():
    assert len({network.name for network in ALL}) == len(ALL)
    assert {network.name for network in ALL} >= SMALL
