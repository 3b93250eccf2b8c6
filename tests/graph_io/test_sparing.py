"""Models that are read without their large weights."""

import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_io import ModelError, load_graph
from graph_io.model import load_model
from graph_io.sparing import read_sparing
from graph_io.wire import fields, varint


def network(*, raw=True):
    weight = np.random.default_rng(0).standard_normal((64, 100)).astype(np.float32)
    small = np.ones(64, np.float32)
    stored = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(small, "b")]
    if not raw:
        stored[0] = helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel())
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1), helper.make_node("Relu", ["y"], ["z"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 100])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 64])],
        stored,
        doc_string="a network",
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "network.onnx"
    onnx.save(network(), path)
    return path


def test_large_weights_stay_in_the_file(file):
    proto = read_sparing(file)
    weight, small = proto.graph.initializer
    assert not weight.HasField("raw_data")
    assert small.HasField("raw_data")
    entries = {entry.key: entry.value for entry in weight.external_data}
    assert entries["location"] == "network.onnx"
    there = file.read_bytes()[int(entries["offset"]) :][: int(entries["length"])]
    whole = onnx.load(file)
    assert there == whole.graph.initializer[0].raw_data
    # Apart from that weight it is the same model.
    weight.CopyFrom(whole.graph.initializer[0])
    assert proto.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


def test_the_graph_is_the_same(file):
    whole, sparing = load_graph(load_model(file)), load_graph(load_model(file, sparing=True))
    assert sparing.graph["model"].weights == file.parent
    assert list(whole.nodes(data="layer")) == list(sparing.nodes(data="layer"))
    for key in ("structure_sha256", "tensors", "constant_bytes", "shapes", "notes"):
        assert whole.graph[key] == sparing.graph[key]


def test_weights_in_typed_fields_are_read(tmp_path):
    path = tmp_path / "typed.onnx"
    onnx.save(network(raw=False), path)
    assert read_sparing(path) == onnx.load(path)


def test_a_weight_of_another_size_than_its_shape_says_is_read_and_refused_as_ever(tmp_path):
    model = network()
    model.graph.initializer[0].dims[0] = 63
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    messages = []
    for sparing in (False, True):
        with pytest.raises(ModelError) as refusal:
            load_model(path, sparing=sparing)
        messages.append(str(refusal.value))
    assert messages[0] == messages[1]


def test_damaged_files_are_refused_as_ever(file):
    """Cut short anywhere, or with bytes changed: the same model or the same words as when it is read as a whole."""
    content = file.read_bytes()
    random = np.random.default_rng(1)
    damaged = [content[: int(length)] for length in random.integers(0, len(content), 40)]
    for at in random.integers(0, 400, 60):
        changed = bytearray(content)
        changed[at] ^= int(random.integers(1, 256))
        damaged.append(bytes(changed))
    for one in (*damaged, b"", b"\xff" * 30):
        file.write_bytes(one)
        found = []
        for sparing in (False, True):
            try:
                found.append(load_model(file, sparing=sparing).proto.graph.node)
            except ModelError as refusal:
                found.append(str(refusal))
        assert found[0] == found[1]


def test_fields_are_found_without_what_they_hold():
    content = (
        varint(5 << 3 | 2) + varint(300) + b"x" * 300 + varint(1 << 3) + varint(2**40) + varint(3 << 3 | 5) + b"1234"
    )
    found = list(fields(io.BytesIO(content), 0, len(content)))
    assert [(one.number, one.kind, one.end - one.begin) for one in found] == [(5, 2, 300), (1, 0, 6), (3, 5, 4)]
    assert content[found[0].begin : found[0].end] == b"x" * 300
    for bad in (content[:-1], content[:100], b"\x0b", b"\x00\x01", b"\x80" * 12):
        with pytest.raises(ValueError, match="a "):
            list(fields(io.BytesIO(bad), 0, len(bad)))
