"""What is refused: one line that names the object, never another exception, never a file left behind."""

import re
import tempfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graph_io
from graph_io import ModelError
from tests.graph_io.hard_models import with_external_weights
from tests.models import model, node, relu_chain, value


@pytest.fixture(autouse=True)
def no_file_left_behind(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("tmpdir")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(folder)
    yield
    assert list(folder.iterdir()) == []


def refusal(source, **options):
    with pytest.raises(ModelError) as caught:
        graph_io.load_graph(source, **options)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


# -- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not an ONNX file"),
        (np.random.default_rng(0).bytes(4096), "is not an ONNX file, or it is cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an ONNX file"),
        (b"def main():\n    pass\n" * 50, "is not an ONNX file"),
        (b'{"format": "not ONNX"}', "is not an ONNX file"),
        (b"\x00" * 512, "is not an ONNX file"),
    ],
    ids=["empty", "random", "png", "python", "json", "zeros"],
)
@pytest.mark.parametrize("ending", ["onnx", "bin", "json", "textproto", "onnxtxt"])
def test_file_of_something_else(content, reason, ending, tmp_path):
    path = tmp_path / f"strange.{ending}"
    path.write_bytes(content)
    text = refusal(path)
    assert str(path) in text
    assert reason in text or "is not an ONNX file" in text


def test_missing_file_and_folder(tmp_path):
    text = refusal(tmp_path / "missing.onnx")
    assert "missing.onnx' cannot be read: No such file" in text
    assert f"model '{tmp_path}' cannot be read: Is a directory" in refusal(str(tmp_path))


def test_cut_short_at_every_length(tmp_path):
    source = relu_chain()
    source.ClearField("producer_name")
    whole = source.SerializeToString()
    path = tmp_path / "short.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(path), length
    path.write_bytes(whole)
    assert len(graph_io.load_graph(path)) == 3


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999999])
def test_real_model_cut_short(share, tmp_path):
    whole = graph_io.light_model("squeezenet").SerializeToString()
    path = tmp_path / "short.onnx"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert refusal(path) == f"model '{path}' is not an ONNX file, or it is cut short; export or download it again"


def test_external_weights(tmp_path):
    path, _ = with_external_weights(tmp_path)
    assert len(graph_io.load_graph(path)) > 1
    (tmp_path / "weights.bin").write_bytes(b"1234")
    assert f"model '{path}': its external data cannot be read" in refusal(path)
    (tmp_path / "weights.bin").unlink()
    assert f"model '{path}': its external data cannot be read" in refusal(path)


def test_external_weights_of_a_model_in_memory(tmp_path):
    path, _ = with_external_weights(tmp_path)
    text = refusal(onnx.load(path, load_external_data=False))
    assert "external data" in text
    assert "load it from its path" in text


# -- graphs -------------------------------------------------------------------------------------------------------


def broken(nodes, inputs=None, outputs=("y",), **options):
    return model(nodes, inputs or {"x": (2, 3)}, list(outputs), **options)


SEQUENCE = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
REFUSED = {
    "no node": (broken([], outputs=["x"]), "model 'small' has no compute node"),
    "constant output": (
        broken([node("Constant", "", "y", value_float=1.0)]),
        "model 'small' has no compute node: its outputs do not depend on its inputs",
    ),
    "dead node": (broken([node("Tanh", "x", "a")], outputs=["x"]), "model 'small' has no compute node"),
    "unknown operator": (
        broken([node("Tanh", "x", "a"), node("Wobble", "a", "y", "wobbly")]),
        "model 'small' cannot run in onnxruntime: .*Wobble",
    ),
    "unknown domain": (
        broken(
            [helper.make_node("Wobble", ["x"], ["y"], domain="my.own")],
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.own", 1)],
        ),
        "model 'small' cannot run in onnxruntime: .*(Wobble|my.own)",
    ),
    "cycle": (
        broken([node("Add", "x b", "a", "one"), node("Tanh", "a", "b", "two"), node("Exp", "b", "y")]),
        "model 'small': node 'one' is part of a cycle",
    ),
    "own input": (broken([node("Add", "x y", "y", "loop")]), "model 'small': node 'loop' is part of a cycle"),
    "produced twice": (
        broken([node("Tanh", "x", "y"), node("Exp", "x", "y")]),
        "model 'small': tensor 'y' is produced more than once",
    ),
    "input produced": (
        broken([node("Exp", "x", "x")], outputs=["x"]),
        "model 'small': tensor 'x' is produced more than once",
    ),
    "input and product": (
        broken([node("Tanh", "x", "a"), node("Exp", "a", "x")], outputs=["x"]),
        "model 'small': tensor 'x' is produced more than once",
    ),
    "unknown tensor": (
        broken([node("Add", "x ghost", "y", "adder")]),
        "model 'small': node 'adder' reads tensor 'ghost', which nothing produces",
    ),
    "unknown output": (broken([node("Tanh", "x", "y")], outputs=["y", "ghost"]), "output 'ghost'"),
    "no output": (broken([node("Tanh", "x", "y")], outputs=[]), "no output"),
    "sequence input": (
        broken([node("ConcatFromSequence", "s", "y", axis=0)], inputs=[SEQUENCE]),
        "input 's' is a sequence, not a tensor",
    ),
    "string input": (
        broken([node("Cast", "s", "y", to=TensorProto.FLOAT)], inputs=[value("s", [2], TensorProto.STRING)]),
        r"input 's' is of strings, which cannot be made up; pass inputs=\{...\} or --input FILE.npz",
    ),
    "sequence output": (
        broken([node("SequenceConstruct", "x x", "s")], outputs=[SEQUENCE]),
        "output 's' of model 'small' is a sequence, an optional or a map, not a tensor",
    ),
    "no rank": (broken([node("Tanh", "x", "y")], inputs={"x": None}), "input 'x' has no shape, not even a rank"),
    "shapes that clash": (
        broken([node("MatMul", "x w", "y")], weights={"w": np.zeros((4, 4), np.float32)}),
        "model 'small'",
    ),
    "data-dependent failure": (
        broken([node("Cast", "x", "shape", to=TensorProto.INT64), node("Reshape", "x shape", "y")], inputs={"x": (3,)}),
        "model 'small': some shapes can only be found by running it, and the run failed",
    ),
    "no opset": (broken([node("Tanh", "x", "y")], opset_imports=[]), "model 'small'"),
    "opset of the future": (broken([node("Tanh", "x", "y")], opset=9999), "model 'small'"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_graph(case, granularity):
    source, pattern = REFUSED[case]
    text = refusal(source, granularity=granularity)
    assert re.search(pattern, text), text
    assert not re.search(r"/tmp|onnxruntime_src|::", text), "neither our files nor the runtime's source are any help"


def test_graph_from_a_file_is_named_by_its_path(tmp_path):
    path = tmp_path / "wobbly.onnx"
    onnx.save(REFUSED["unknown tensor"][0], path)
    assert refusal(path).startswith(f"model '{path}': node 'adder'")


def test_granularity():
    assert "granularity 'kernel' is unknown; use 'layer' or 'node'" in refusal(relu_chain(), granularity="kernel")
