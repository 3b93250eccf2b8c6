"""Which fields of a model come through loading and splitting: every one that ONNX has is either kept or listed here."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper

import graph_io
from tests.models import model, node, relu_chain, value

# What loading drops or makes anew, as docs/models.md says; all else is kept in every part.
DROPPED = {
    ModelProto: {"training_info"},
    # Each part's own: what it holds and what crosses.
    GraphProto: {
        "value_info",
        "node",
        "initializer",
        "sparse_initializer",
        "input",
        "output",
        "quantization_annotation",
    },
    NodeProto: set(),
    FunctionProto: set(),
}
CHANGED = {"ir_version", "graph", "name"}


def fill(message, skipped=()):
    """Give every text and number of a message that has none a value, and one entry to every list of messages."""
    already = {field.name for field, _ in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        if field.name in already or field.name in skipped:
            continue
        own = getattr(message, field.name)
        if field.message_type is not None:
            entry = own.add() if hasattr(own, "add") else own
            entry.SetInParent()
            for text in ("name", "key", "value"):
                if text in entry.DESCRIPTOR.fields_by_name:
                    setattr(entry, text, f"{text} of {field.name}")
            continue
        made = f"some {field.name}" if field.type == field.TYPE_STRING else 3
        own.append(made) if hasattr(own, "append") else setattr(message, field.name, made)


def full_model():
    """Make a model of two nodes, the first a call of a function, in which every field that may be set is set."""
    base = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "F", ["u"], ["v"], [node("Tanh", "u", "v", "inside")], base)
    whole = model(
        [helper.make_node("F", ["x"], ["a"], domain="local", name="first"), node("Neg", "a", "y", "second")],
        {"x": (1, 4)},
        [value("y", [1, 4])],
        functions=[function],
        opset_imports=base,
    )
    for own in whole.graph.node:
        fill(own, skipped=("attribute", "domain", "overload", "device_configurations"))
    fill(whole.functions[0], skipped=("attribute", "attribute_proto", "overload"))
    fill(whole.graph, skipped=("sparse_initializer", "initializer", "quantization_annotation", "value_info"))
    fill(whole, skipped=("training_info",))
    return whole


def set_fields(message):
    return {field.name: bytes_of(content) for field, content in message.ListFields() if field.name != "graph"}


def bytes_of(content):
    if isinstance(content, str | int | bytes):
        return content
    return [one.SerializeToString() if hasattr(one, "SerializeToString") else one for one in content]


def test_every_field_is_kept_or_listed():
    whole = full_model()
    parts = graph_io.split(graph_io.load_graph(whole, granularity="node"), [["first"], ["second"]])
    for part, name in zip(parts, ("first", "second"), strict=True):
        for kind, of_part, of_whole in (
            (ModelProto, part.proto, whole),
            (GraphProto, part.proto.graph, whole.graph),
            (NodeProto, part.proto.graph.node[0], next(one for one in whole.graph.node if one.name == name)),
            *((FunctionProto, own, whole.functions[0]) for own in part.proto.functions),
        ):
            kept = {field.name for field in kind.DESCRIPTOR.fields} - DROPPED[kind] - CHANGED
            theirs = {field: content for field, content in set_fields(of_whole).items() if field in kept}
            ours = {field: content for field, content in set_fields(of_part).items() if field in kept}
            assert ours == theirs, kind.__name__
    assert set(set_fields(whole)) == {field.name for field in ModelProto.DESCRIPTOR.fields} - {"training_info", "graph"}
    assert parts[0].proto.functions


def test_a_model_that_was_spread_over_devices_keeps_its_configuration():
    if "configuration" not in ModelProto.DESCRIPTOR.fields_by_name:
        pytest.skip("this release of onnx has no such field")
    whole = relu_chain()
    bare = graph_io.load_graph(whole, granularity="node").graph["structure_sha256"]
    whole.configuration.add(name="two devices", num_devices=2)
    graph = graph_io.load_graph(whole, granularity="node")
    for part in graph_io.split(graph, [["n0"], ["n1", "n2"]]):
        assert part.proto.configuration == whole.configuration
    # It decides no layer.
    assert graph.graph["structure_sha256"] == bare


@pytest.mark.parametrize(
    ("given", "opset", "expected"),
    [(14, 17, 8), (14, 13, 7), (8, 17, 8), (14, 9, 4), (3, 8, 4), (13, 21, 10), (7, 17, 7), (99, 999, 99)],
)
def test_the_format_is_no_newer_than_the_operators_need(given, opset, expected):
    whole = relu_chain()
    whole.ir_version = given
    whole.opset_import[0].version = opset
    assert graph_io.load_model(whole).proto.ir_version == expected
    assert whole.ir_version == given


@pytest.mark.parametrize(("overload", "expected"), [("", 8), ("one", 10)])
def test_functions_need_their_own_format(overload, expected):
    base = [helper.make_opsetid("", 12), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "F", ["u"], ["v"], [node("Tanh", "u", "v")], base)
    function.overload = overload
    call = helper.make_node("F", ["x"], ["a"], domain="local", overload=overload)
    whole = model([call, node("Neg", "a", "y")], {"x": (1, 4)}, ["y"], functions=[function], opset_imports=base)
    whole.ir_version = 14
    assert graph_io.load_model(whole).proto.ir_version == expected
    # The opsets of functions count, too.
    function.opset_import[0].version = 21
    del whole.functions[:]
    whole.functions.append(function)
    assert graph_io.load_model(whole).proto.ir_version == 10


def test_a_format_that_the_runtime_refuses_is_lowered_and_runs():
    whole = relu_chain()
    whole.ir_version = onnx.IR_VERSION + 50
    with pytest.raises(Exception, match="IR version"):
        onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    graph = graph_io.load_graph(whole)
    (part,) = graph_io.split(graph, [list(graph)])
    session = onnxruntime.InferenceSession(part.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], np.tanh(np.tanh(np.tanh(x))), rtol=1e-6)
    assert graph.graph["structure_sha256"] == graph_io.load_graph(relu_chain()).graph["structure_sha256"]


@pytest.mark.parametrize("text", [b"t0", b"n0", b"Tanh", b"small", b"y"])
def test_a_text_that_is_not_text_is_one_line(tmp_path, text, capfd):
    path = tmp_path / "m.onnx"
    path.write_bytes(relu_chain().SerializeToString().replace(text, b"\xff" * len(text)))
    with pytest.raises(graph_io.ModelError, match=r"m\.onnx': a text in it is not UTF-8") as refused:
        graph_io.load_graph(path)
    assert "\n" not in str(refused.value)
    # The runtime's wrapper prints what it makes of such names, which would get into the JSON of a command.
    assert capfd.readouterr() == ("", "")
