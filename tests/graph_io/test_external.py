"""Weights in files of their own: which references are taken, which are refused, and what is read of them."""

import os
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graph_io
from graph_io import ModelError
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node

WEIGHTS = (np.arange(64 * 64, dtype=np.float32).reshape(64, 64) - 2048) / 4096
SIZE = WEIGHTS.nbytes


def refer(tensor, location, offset=None, length=None, **others):
    """Let a tensor lie in a file, with no more fields than are given."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length, **others}.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))


def write(folder, location="w.bin", offset=None, length=None, **others):
    proto = model([node("MatMul", "x w", "a"), node("Tanh", "a", "y")], {"x": (2, 64)}, ["y"], {"w": WEIGHTS})
    refer(proto.graph.initializer[0], location, offset, length, **others)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path):
    """A model's folder inside of another, both with the weights, and links in all directions."""
    inner = tmp_path / "model"
    (inner / "sub").mkdir(parents=True)
    for place in (tmp_path, inner, inner / "sub"):
        (place / "w.bin").write_bytes(WEIGHTS.tobytes())
    (inner / "inside").symlink_to("w.bin")
    (inner / "outside").symlink_to(tmp_path / "w.bin")
    (inner / "up").symlink_to(tmp_path)
    os.mkfifo(inner / "pipe")
    return inner


def refusal(path):
    with pytest.raises(ModelError) as caught:
        graph_io.load_graph(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "sub/w.bin", "sub/../w.bin", "inside"])
def test_places_inside_the_folder(location, folder):
    loaded = graph_io.load_model(write(folder, location))
    assert loaded.weights == folder.resolve()
    assert not loaded.proto.graph.initializer[0].raw_data
    (place,) = graph_io.references(loaded)
    assert (place.location, place.offset, place.length) == ("sub/w.bin" if "sub/w" in location else "w.bin", 0, SIZE)


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("../w.bin", "leads out of the model's folder"),
        ("sub/../../w.bin", "leads out of the model's folder"),
        ("../../../../../../../etc/passwd", "leads out of the model's folder"),
        ("outside", "leads out of the model's folder"),
        ("up/w.bin", "leads out of the model's folder"),
        ("/etc/passwd", "has the absolute location '/etc/passwd'"),
        ("", "has the location ''"),
        (None, "has the location ''"),
        ("w.bin\0.onnx", "legal is the name of a file"),
        (".", "which is not a file"),
        ("sub", "which is not a file"),
        ("pipe", "which is not a file"),
        ("missing.bin", "lies in 'missing.bin': No such file or directory; put that file beside the model"),
        ("w.bin/x", "lies in 'w.bin/x': Not a directory"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_places_elsewhere_are_refused(location, problem, folder):
    text = refusal(write(folder, location))
    assert text.startswith(f"model '{folder / 'm.onnx'}': its external data cannot be read: tensor 'w' ")
    assert problem in text


def test_an_absolute_path_into_the_folder_is_refused_too(folder):
    assert "legal is a path inside the model's folder" in refusal(write(folder, folder / "w.bin"))


@pytest.mark.parametrize(
    ("offset", "length", "problem"),
    [
        (4, None, f"lies at bytes 4 to {SIZE + 4} of 'w.bin', which has {SIZE}; the file is cut short"),
        (0, SIZE - 1, f"has {SIZE - 1} bytes there, but its shape and type take {SIZE}"),
        (0, 10**12, "has 1000000000000 bytes there"),
        (2**63, SIZE, "lies at bytes 9223372036854775808"),
        (-4, None, "has the offset '-4'; legal is a whole number of 0 or more"),
        ("x", None, "has the offset 'x'"),
        (0, "1e3", "has the length '1e3'"),
        ("٣", None, "has the offset"),
        ("9" * 50, None, "has the offset '9999"),
    ],
)
def test_ranges_that_do_not_fit(offset, length, problem, folder):
    assert problem in refusal(write(folder, "w.bin", offset, length))


@pytest.mark.parametrize("fields", [{}, {"offset": 0}, {"length": SIZE}, {"length": 0}, {"checksum": "ab", "x": "y"}])
def test_fields_that_may_be_missing_or_more(fields, folder):
    assert len(graph_io.load_graph(write(folder, **fields))) == 2


def test_types_without_a_size_and_negative_shapes(folder):
    path = write(folder)
    for change in ({"data_type": TensorProto.STRING}, {"data_type": 99}, {"dims": [-64, -64]}):
        proto = onnx.load(path, load_external_data=False)
        for field, value in change.items():
            proto.graph.initializer[0].ClearField(field)
            proto.graph.initializer[0].MergeFrom(TensorProto(**{field: value}))
        (folder / "odd.onnx").write_bytes(proto.SerializeToString())
        assert "has a type without a fixed size or a negative dimension" in refusal(folder / "odd.onnx")


def test_a_model_behind_a_link_finds_its_data_where_it_lies(folder, tmp_path):
    write(folder).rename(folder / "blob")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "m.onnx").symlink_to(folder / "blob")
    assert "No such file" in refusal(tmp_path / "snapshot" / "m.onnx")
    (tmp_path / "snapshot" / "w.bin").symlink_to(folder / "w.bin")
    loaded = graph_io.load_model(tmp_path / "snapshot" / "m.onnx")
    assert loaded.weights == folder.resolve()


def test_small_weights_and_those_outside_the_main_graph_are_read(tmp_path):
    """They steer fusions and shapes, and the runtime takes no others from files."""

    def constant(name, output):
        return node("Constant", "", output, value=numpy_helper.from_array(WEIGHTS, name))

    def body(name):
        # Read by both branches: a weight of the body's own, and one that a node of the body holds.
        return helper.make_graph(
            [constant(f"{name}_c", "c"), node("MatMul", "x c", "a"), node("MatMul", f"a {name}_w", f"{name}_y")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, (2, 64))],
            [numpy_helper.from_array(WEIGHTS, f"{name}_w")],
        )

    nodes = [
        constant("k", "k_out"),
        node("Cast", "flag", "choice", to=TensorProto.BOOL),
        node("If", "choice", "z", then_branch=body("then"), else_branch=body("else")),
        node("MatMul", "z k_out", "m"),
        node("MatMul", "m w", "n"),
        node("Add", "n b", "y"),
    ]
    weights = {"w": WEIGHTS, "b": WEIGHTS[0]}
    made = model(nodes, {"x": (2, 64), "flag": ()}, ["y"], weights)
    proto = onnx.ModelProto.FromString(made.SerializeToString())
    content = bytearray()

    for tensor in proto.graph.initializer:
        raw = tensor.raw_data
        refer(tensor, "all.bin", len(content), len(raw))
        content.extend(raw)
    branches = [attribute.g for attribute in proto.graph.node[2].attribute]
    bodies = [*(node_ for branch in branches for node_ in branch.node), proto.graph.node[0]]
    held = [attribute.t for node_ in bodies for attribute in node_.attribute if attribute.name == "value"]
    for tensor in (*held, *(tensor for branch in branches for tensor in branch.initializer)):
        raw = tensor.raw_data
        refer(tensor, "all.bin", len(content), len(raw))
        content.extend(raw)
    (tmp_path / "all.bin").write_bytes(content)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    graph, expected = graph_io.load_graph(tmp_path / "m.onnx"), graph_io.load_graph(made)
    assert [place.length for place in graph_io.references(graph.graph["model"])] == [SIZE]
    assert graph.graph["structure_sha256"] == expected.graph["structure_sha256"]
    assert [data["layer"] for data in graph.nodes.values()] == [data["layer"] for data in expected.nodes.values()]
    parts = graph_io.split(graph, [[layer] for layer in graph])
    feeds = inputs_of(made)
    result = run_parts([part.embedded() for part in parts], feeds, ["y"])
    assert worst_error(result, run_whole(made, feeds)) <= TOLERANCE


def test_parts_of_a_model_whose_data_has_gone(folder):
    graph = graph_io.load_graph(write(folder), granularity="node")
    parts = graph_io.split(graph, [[layer] for layer in graph])
    (folder / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"weights '.*w\.bin' cannot be read: No such file"):
        parts[0].embedded()


def test_shapes_that_need_a_run_read_the_weights(tmp_path):
    """What NonZero gives depends on values, so the model is run once, from bytes and the file of weights."""
    nodes = [node("MatMul", "x w", "a"), node("Relu", "a", "r"), node("NonZero", "r", "y")]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "n"])]
    proto = model(nodes, {"x": (2, 64)}, outputs, {"w": WEIGHTS})
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    refer(proto.graph.initializer[0], "w.bin")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    shape = graph_io.load_graph(tmp_path / "m.onnx").graph["tensors"]["y"].shape
    assert shape == graph_io.load_graph(made).graph["tensors"]["y"].shape


def test_too_much_outside_the_main_graph(folder, monkeypatch):
    from graph_io import external

    monkeypatch.setattr(external, "LARGEST_MESSAGE_BYTES", SIZE - 1)
    constant = node("Constant", "", "w", value=numpy_helper.from_array(WEIGHTS, "held"))
    proto = model([constant, node("MatMul", "x w", "y")], {"x": (2, 64)}, ["y"])
    refer(proto.graph.node[0].attribute[0].t, "w.bin")
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    assert re.search(r"tensor 'held' has to be read, .* exceed 2\.1 GB together", refusal(folder / "m.onnx"))


@pytest.mark.parametrize(("dims", "size"), [([64, 65], 16640), ([64], 256), ([-64, -64], 0)])
def test_weights_that_do_not_fit_their_shape(dims, size):
    proto = model([node("MatMul", "x w", "y")], {"x": (2, 64)}, ["y"], {"w": WEIGHTS})
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    with pytest.raises(ModelError, match=rf"initializer 'w' holds {SIZE} bytes, but type float32 and .* take {size};"):
        graph_io.load_graph(proto)
