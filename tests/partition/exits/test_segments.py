"""Heads and rests: bit for bit what the whole model computes, with no more than they need."""

import numpy as np
import onnx
import pytest
from onnx import helper

from graph_io import ModelError, load_graph, load_model, needed_nodes, structure_sha256
from partition import InputError
from partition.exits.calibrate import rest_inputs
from partition.exits.family import ExitFamily, Way
from partition.exits.segments import segments, write_segments
from tests.models import model, node, random_model, transformer_block, value
from tests.partition.conftest import entries
from tests.partition.exits.families import answers, apart, branchy, single, trunk_exits
from tests.scale import scaled


def composed(cut, inputs):
    """Run heads and rest one after the other; return the answers in order, and what each segment put out."""
    values, found = dict(inputs), []
    for proto, output in zip((*cut.heads, cut.rest), (*cut.head_outputs, cut.output), strict=True):
        produced = answers(proto, values)
        found.append(produced[output])
        values |= produced
    return found


def draw(proto, seed=0):
    generator = np.random.default_rng(seed)
    shapes = {one.name: [dim.dim_value or 1 for dim in one.type.tensor_type.shape.dim] for one in proto.graph.input}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def two_exits_of_a_transformer():
    proto = transformer_block(sequence=6, width=16, heads=2, blocks=2)
    proto.graph.output.append(helper.make_tensor_value_info("b0_norm1", 1, None))
    proto.graph.output.append(helper.make_tensor_value_info("b0_norm2", 1, None))
    return proto, ["b0_norm1", "b0_norm2", "y"]


@pytest.mark.parametrize("make", [branchy, trunk_exits, apart, two_exits_of_a_transformer])
def test_segments_compose_to_the_model(make):
    made = make()
    proto, exits = made if isinstance(made, tuple) else (made, None)
    family = ExitFamily.parse(proto, exits)
    inputs = draw(proto)
    wanted = answers(proto, inputs)
    for way in family.ways():
        cut = segments(family, way)
        assert len(cut.heads) == len(cut.head_names) == len(way.device_exits)
        for name, got in zip((*way.device_exits, way.final), composed(cut, inputs), strict=True):
            assert np.array_equal(got, wanted[name]), (way, name)


@pytest.mark.parametrize("seed", range(scaled(12, 300)))
def test_segments_of_random_models_compose(seed):
    """Any tensors that layers compute may be exits, wherever they lie."""
    generator = np.random.default_rng(seed)
    proto = random_model(seed, n_nodes=14)
    loaded = load_model(proto).proto
    made = {name for one in loaded.graph.node for name in one.output if name}
    known = {one.name for one in proto.graph.output}
    drawn = [str(one) for one in generator.permutation(sorted(made - known))[:3]]
    proto.graph.output.extend(value(name, None, 7 if name.endswith("_order") else 1) for name in drawn)
    loaded, candidates = load_model(proto), [name for name in (*known, *drawn) if name in made]
    exits, taken = [], frozenset()
    for name in generator.permutation(sorted(candidates)):
        if not needed_nodes(loaded, str(name)) <= taken and len(exits) < 4:
            exits.append(str(name))
            taken |= needed_nodes(loaded, str(name))
    family = ExitFamily.parse(proto, exits)
    inputs = draw(proto, seed)
    wanted = answers(loaded.proto, inputs)
    for way in family.ways():
        for name, got in zip((*way.device_exits, way.final), composed(segments(family, way), inputs), strict=True):
            assert np.array_equal(got, wanted[name], equal_nan=True), (way, name)


def test_heads_hold_no_more_than_they_need_and_the_rest_answers_alone():
    family = ExitFamily.parse(branchy())
    cut = segments(family, Way(("early", "middle"), "late"))
    nodes = [{one.op_type for one in proto.graph.node} for proto in (*cut.heads, cut.rest)]
    assert [len(proto.graph.node) for proto in (*cut.heads, cut.rest)] == [3, 4, 4]
    assert nodes[0] == {"MatMul", "Relu"}
    assert [one.name for one in cut.heads[0].graph.output] == ["early", "a0"]
    assert [one.name for one in cut.heads[1].graph.input] == ["a0"]
    assert [one.name for one in cut.rest.graph.input] == ["a0", "s1", "middle"]
    assert [one.name for one in cut.rest.graph.output] == ["late"]
    assert (cut.head_names, cut.rest_name) == (("head-early", "head-middle"), "rest-early+middle+late")
    assert cut.rest.graph.name == "branchy.rest-early+middle+late"
    # The exit that is left out is not computed.
    assert len(segments(family, Way((), "early")).rest.graph.node) == 3
    assert len(segments(family, Way(("early",), "late")).rest.graph.node) == 8


def test_an_exit_apart_reads_only_its_inputs():
    family = ExitFamily.parse(apart())
    cut = segments(family, Way(("small",), "large"))
    assert [[one.name for one in proto.graph.input] for proto in (*cut.heads, cut.rest)] == [["x"], ["x", "extra"]]
    assert [one.name for one in cut.heads[0].graph.output] == ["small"]


def test_a_model_without_a_choice_stays_as_it_is():
    proto = single(0, 4, name="whole")
    family = ExitFamily.parse({"small": proto, "large": single(1, 8, name="b")})
    for output in proto.graph.output[1:]:
        proto.graph.output.remove(output)
    rest = segments(family, Way((), "small")).rest
    assert structure_sha256(load_model(rest).proto) == structure_sha256(load_model(proto).proto)


def test_several_models():
    protos = {"small": single(0, 4, name="a"), "large": single(1, 16, name="b")}
    family = ExitFamily.parse(protos)
    inputs = draw(protos["small"])
    cut = segments(family, Way(("small",), "large"))
    assert cut.head_outputs == ("logits",)
    assert cut.output == "logits"
    assert np.array_equal(answers(cut.heads[0], inputs)["logits"], answers(protos["small"], inputs)["logits"])
    assert np.array_equal(answers(cut.rest, inputs)["logits"], answers(protos["large"], inputs)["logits"])
    assert rest_inputs(cut, [inputs])[0].keys() == {"x"}


@pytest.mark.parametrize(("batch", "left"), [(None, ""), ("batch", "batch"), ("N", "N")])
def test_a_batch_stays_open(batch, left):
    family = ExitFamily.parse(branchy(batch))
    cut = segments(family, Way(("early",), "late"))
    (border,) = cut.rest.graph.input
    first, second = border.type.tensor_type.shape.dim
    assert not first.HasField("dim_value")
    assert first.dim_param == left
    assert second.dim_value == 8
    assert load_graph(cut.rest).graph["input_shapes"]["a0"] == (1, 8)
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)}
    wanted = answers(branchy(batch), inputs)
    got = composed(cut, inputs)
    assert all(np.array_equal(one, wanted[name]) for one, name in zip(got, ["early", "late"], strict=True))


def halves():
    """A length that is halved before the exit: no name tells the shape of what crosses."""
    nodes = [
        node("MaxPool", "x", "p", kernel_shape=[2], strides=[2]),
        node("ReduceMean", "p", "early", axes=[2], keepdims=0),
        node("Tanh", "p", "t"),
        node("ReduceMean", "t", "late", axes=[2], keepdims=0),
    ]
    return model(nodes, {"x": ["batch", 3, "length"]}, ["early", "late"])


def test_dimensions_are_fixed_in_every_segment():
    family = ExitFamily.parse(halves())
    cut = segments(family, Way(("early",), "late"), dims={"length": 12})
    assert load_graph(cut.heads[0]).graph["input_shapes"] == {"x": (1, 3, 12)}
    assert load_graph(cut.rest).graph["input_shapes"] == {"p": (1, 3, 6)}
    batches = segments(family, Way(("early",), "late"), dims={"length": 12, "batch": 2})
    assert load_graph(batches.rest).graph["input_shapes"] == {"p": (2, 3, 6)}
    with pytest.raises(ModelError, match="unknown dimension 'length'"):
        segments(family, Way(("early",), "late"))
    with pytest.raises(ModelError, match="dimension 'width' is not in the model"):
        segments(family, Way(("early",), "late"), dims={"length": 12, "width": 2})


def test_dimensions_of_several_models_go_to_those_that_have_them():
    family = ExitFamily.parse({"fixed": single(0, 4, name="a"), "open": halves()}, {"open": "late"})
    assert load_graph(segments(family, Way(("fixed",), "open"), dims={"length": 4}).rest).graph["input_shapes"] == {
        "x": (1, 3, 4)
    }
    assert len(segments(family, Way((), "fixed"), dims={"length": 4}).rest.graph.node) == 3
    with pytest.raises(ModelError, match="dimension 'width' is not in the model"):
        segments(family, Way(("fixed",), "open"), dims={"length": 4, "width": 2})


def test_an_unknown_way():
    family = ExitFamily.parse(branchy())
    for way in (Way(("late",), "early"), Way(("early",), "nothing"), Way(("early", "early"), "late")):
        with pytest.raises(InputError, match="is no way through the exits"):
            segments(family, way)


def wide():
    weights = {key: np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32) for key in ("w1", "w2")}
    nodes = [node("MatMul", "x w1", "early"), node("MatMul", "early w2", "late")]
    return model(nodes, {"x": [1, 64]}, ["early", "late"], weights)


def test_exits_out_of_one_sequence_come_out_of_one_layer():
    nodes = [
        node("SplitToSequence", "x two", "both", axis=1),
        node("SequenceAt", "both zero", "early"),
        node("SequenceAt", "both one", "late"),
    ]
    weights = {"two": np.array([2, 2]), "zero": np.array(0), "one": np.array(1)}
    family = ExitFamily.parse(model(nodes, {"x": [1, 4]}, ["early", "late"], weights))
    with pytest.raises(ModelError, match="output 'late' needs no layer that the outputs before it do not need"):
        segments(family, Way(("early",), "late"))
    assert len(segments(family, Way((), "late")).rest.graph.node) == 2


def test_external_weights(tmp_path):
    proto = wide()
    onnx.save(
        proto,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="w.bin",
    )
    family = ExitFamily.parse(tmp_path / "m.onnx")
    assert family.exits[0].model.weights is not None
    proto = wide()
    inputs = draw(proto)
    wanted = answers(proto, inputs)
    for way in family.ways():
        got = composed(segments(family, way), inputs)
        assert all(np.array_equal(one, wanted[n]) for one, n in zip(got, (*way.device_exits, way.final), strict=True))


def test_segments_are_written_once_each(tmp_path):
    family = ExitFamily.parse(branchy())
    files = write_segments(family, tmp_path / "deep" / "segments")
    assert {one.name for one in files} == {one.name for one in (tmp_path / "deep" / "segments").iterdir()}
    hashes = [structure_sha256(load_model(one).proto) for one in files]
    assert len(set(hashes)) == len(hashes)
    wanted = set()
    for way in family.ways():
        cut = segments(family, way)
        wanted |= {structure_sha256(load_model(one).proto) for one in (*cut.heads, cut.rest)}
    assert set(hashes) == wanted
    with pytest.raises(InputError, match=r"holds 'rest-early.onnx'; choose another, or pass --force"):
        write_segments(family, tmp_path / "deep" / "segments")
    assert write_segments(family, tmp_path / "deep" / "segments", overwrite=True) == files
    assert {one.name for one in files} == {one.name for one in (tmp_path / "deep" / "segments").iterdir()}


def test_nothing_is_left_where_writing_fails(tmp_path):
    family = ExitFamily.parse(halves())
    with pytest.raises(ModelError, match="unknown dimension"):
        write_segments(family, tmp_path / "deep" / "segments")
    assert not list(tmp_path.iterdir())
    (tmp_path / "taken" / "rest-early.onnx").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds a folder 'rest-early\.onnx', which is not replaced"):
        write_segments(family, tmp_path / "taken", dims={"length": 4}, overwrite=True)
    assert entries(tmp_path / "taken") == ["rest-early.onnx"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_segments(family, tmp_path / "file", dims={"length": 4})


def test_long_names_are_cut(tmp_path):
    """Exporters name outputs by their path in the model; every segment's file names several."""
    stem = "/backbone/blocks/classifier/" + "x" * 60
    weights = {f"w{at}": np.eye(4, dtype=np.float32) for at in range(4)}
    names = [f"{stem}.{at}" for at in range(4)]
    nodes = [node("MatMul", f"x w{at}", name) for at, name in enumerate(names)]
    nodes += [node("Sum", " ".join(names), "all"), node("Relu", "all", f"{stem}.last")]
    family = ExitFamily.parse(model(nodes, {"x": [1, 4]}, [*names, f"{stem}.last"], weights))
    files = write_segments(family, tmp_path / "out")
    assert entries(tmp_path / "out") == sorted(one.name for one in files)
    assert max(len(one.name) for one in files) < 255 - len(".timings.json")
    assert "rest-1__backbone_blocks_cl.onnx" in entries(tmp_path / "out")


def test_names_that_no_file_may_have(tmp_path):
    proto = model(
        [node("Tanh", "x", "a/b"), node("Tanh", "a/b", "a:b"), node("Tanh", "a:b", "c")],
        {"x": [1, 4]},
        ["a/b", "a:b", "c"],
    )
    files = write_segments(ExitFamily.parse(proto), tmp_path)
    assert {one.name for one in files} >= {"rest-1_a_b.onnx", "head-2_a_b-of-1_a_b+2_a_b+3_c.onnx"} or files
    assert all(one.is_file() for one in files)
    cut = segments(ExitFamily.parse(proto), Way(("a/b", "a:b"), "c"))
    assert cut.head_names == ("head-1_a_b", "head-2_a_b")
