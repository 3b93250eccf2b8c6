"""Strings may cross from part to part in one process; sequences, optionals and maps never do."""

import networkx as nx
import numpy as np
import pytest
from onnx import TensorProto, helper

import graph_io
from graph_io import ModelError
from graph_io.dataflow import dataflow
from graph_io.fusion import single_groups
from graph_io.glue import glued_groups
from partition import InputError, partition
from partition.runtime.files import read_inputs, write_outputs
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node, random_model, value

TEXT = np.array(["a", "bcé", ""], object)


def text_model():
    """Two texts joined, compared with a third: strings at an input, inside and at an output."""
    nodes = [
        node("StringConcat", "s tail", "long"),
        node("StringConcat", "long s", "both"),
        node("Equal", "both s", "y"),
    ]
    inputs = [value("s", ["n"], TensorProto.STRING)]
    outputs = [value("y", None, TensorProto.BOOL), value("both", None, TensorProto.STRING)]
    return model(nodes, inputs, outputs, {"tail": np.array(["-x"], object)}, opset=20, ir_version=9)


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("kind", [object, "U"])
def test_strings_cross(granularity, kind):
    feeds = {"s": TEXT.astype(kind)}
    graph = graph_io.load_graph(text_model(), inputs=feeds, granularity=granularity)
    tensors = graph.graph["tensors"]
    assert (tensors["s"].dtype, tensors["s"].shape) == ("string", (3,))
    # Characters in UTF-8 and four bytes for the length of each.
    assert tensors["s"].size_bytes == (1 + 4 + 0) + 3 * 4
    assert tensors["both"].size_bytes == (2 + 8 + 0) + 3 * 2 + 3 * 4
    assert any("sizes of strings read off one run on the given inputs" in note for note in graph.graph["notes"])
    assert graph.graph["constant_bytes"] == {"tail": 6}
    reference = run_whole(text_model(), feeds)
    order = list(graph)
    for index in range(1, len(order)):
        protos = [part.proto for part in graph_io.split(graph, [order[:index], order[index:]])]
        got = run_parts(protos, feeds, ["y", "both"])
        assert all(np.array_equal(got[name], reference[name]) for name in got)


@pytest.mark.parametrize("kind", [object, "U"])
def test_a_plan_with_strings_runs_and_is_verified(kind, tmp_path):
    feeds = {"s": TEXT.astype(kind)}
    plan = partition(text_model(), "wifi", inputs=feeds, cut=["long", "s"], granularity="node")
    assert {tensor.dtype for tensor in plan.parts[1].inputs} == {"string"}
    verification = plan.verify()
    assert verification.ok
    assert verification.bit_identical
    saved = plan.save(tmp_path / "out")
    with saved.session() as session:
        outputs = session.run(feeds)
    assert outputs["both"].tolist() == ["a-xa", "bcé-xbcé", "-x"]
    write_outputs(tmp_path / "y.npz", outputs)
    assert read_inputs(tmp_path / "y.npz")["both"].tolist() == outputs["both"].tolist()
    with saved.session() as session, pytest.raises(InputError, match="input 's' has type float64"):
        session.run({"s": np.ones(3)})


def test_strings_cannot_be_made_up():
    with pytest.raises(ModelError, match="input 's' is of strings, which cannot be made up; pass inputs="):
        graph_io.load_graph(text_model(), dims={"n": 3})
    for wrong in (np.ones(3), np.array([1, "a", None], object), np.array([b"a"])):
        with pytest.raises(ModelError, match=r"input 's' is of type .*, the model's is string; pass an array of str"):
            graph_io.load_graph(text_model(), inputs={"s": wrong})


def test_strings_inside_need_no_inputs():
    nodes = [node("Cast", "x", "text", to=TensorProto.STRING), node("Cast", "text", "y", to=TensorProto.FLOAT)]
    source = model(nodes, {"x": (2, 3)}, ["y"])
    plan = partition(source, "wifi", cut=["text"], granularity="node")
    assert plan.messages[0].size_bytes > 6 * 4
    assert plan.verify().ok


# -- what never crosses -------------------------------------------------------------------------------------------


def sequence_model():
    """Two tensors go into a sequence and come out again; other work goes on beside it, before and behind."""
    nodes = [
        node("Tanh", "x", "a"),
        node("Exp", "x", "b"),
        node("SequenceConstruct", "a b", "s"),
        node("Neg", "a", "beside"),
        node("ConcatFromSequence", "s", "joined", axis=0),
        node("SequenceLength", "s", "length"),
        node("Add", "beside beside", "double"),
        node("Abs", "joined", "c"),
        node("MatMul", "c double", "y"),
    ]
    return model(nodes, {"x": (3, 3)}, ["y", value("length", None, TensorProto.INT64)])


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_sequences_are_glued(granularity):
    source = sequence_model()
    graph = graph_io.load_graph(source, granularity=granularity)
    assert "s" not in graph.graph["tensors"]
    (glued,) = [data["layer"] for _, data in graph.nodes(data=True) if "SequenceConstruct" in data["layer"].op_types]
    assert {"SequenceConstruct", "ConcatFromSequence", "SequenceLength"} <= set(glued.op_types)
    assert nx.is_directed_acyclic_graph(graph)
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    order = list(graph)
    for index in range(1, len(order)):
        protos = [part.proto for part in graph_io.split(graph, [order[:index], order[index:]])]
        assert worst_error(run_parts(protos, feeds, ["y", "length"]), reference) <= TOLERANCE
    assert graph_io.cut_reasons(graph)["s"].place == "type"
    with pytest.raises(
        ModelError,
        match="cut: 's' is a sequence, an optional or a map, which never crosses; cut at",
    ):
        graph_io.head_of_cut(graph, ["s"])


def test_what_lies_between_the_ends_of_a_sequence_is_glued_too():
    nodes = [
        node("SequenceConstruct", "x x", "s"),
        node("SequenceLength", "s", "length"),
        node("Sub", "length one", "last"),
        node("SequenceAt", "s last", "y"),
    ]
    source = model(nodes, {"x": (2, 3)}, ["y"], {"one": np.array(1)})
    graph = graph_io.load_graph(source, granularity="node")
    assert len(graph) == 1
    with pytest.raises(ModelError, match=r"cut: tensor 'last' lies inside .* holds together; cut at 'y'"):
        graph_io.head_of_cut(graph, ["last"])
    flow = dataflow(graph_io.load_model(source).proto)
    assert glued_groups(flow, single_groups(flow), {"s"}) == ((0, 1, 2, 3),)


def test_optionals_and_maps_inside():
    body = helper.make_graph([node("SequenceConstruct", "x", "inner")], "then", [], [_sequence("inner")])
    other = helper.make_graph([node("SequenceConstruct", "x x", "outer")], "else", [], [_sequence("outer")])
    nodes = [
        node("If", "flag", "s", then_branch=body, else_branch=other),
        node("ConcatFromSequence", "s", "joined", axis=0),
        node("Tanh", "joined", "y"),
    ]
    source = model(nodes, [value("x", (2, 3)), value("flag", (), TensorProto.BOOL)], ["y"])
    graph = graph_io.load_graph(source, granularity="node")
    assert len(graph) == 2
    plan = partition(source, "wifi", cut=["joined"], granularity="node")
    assert plan.verify().ok


def _sequence(name):
    return helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None)


@pytest.mark.parametrize("seed", range(20))
def test_glue_is_the_finest(seed):
    """Against brute force: no named value crosses, the quotient has no cycle, and nothing is joined without need."""
    generator = np.random.default_rng(seed)
    flow = dataflow(graph_io.load_model(random_model(seed)).proto)
    groups = single_groups(flow)
    read = [name for name in flow.producer if name in flow.consumers]
    names = set(generator.choice(read, min(2, len(read)), replace=False)) if read else set()
    joined = glued_groups(flow, groups, names)
    assert sorted(node for group in joined for node in group) == list(range(len(flow.nodes)))
    member = {node: number for number, group in enumerate(joined) for node in group}
    reads = [(name, number) for number, row in enumerate(flow.reads) for name in row]
    edges = [(flow.producer[name], number, name) for name, number in reads if name in flow.producer]
    for maker, reader, name in edges:
        assert member[maker] <= member[reader], "in topological order"
        assert name not in names or member[maker] == member[reader]
    # What a group holds has to be together: each pair can be reached from the other over the named values turned round.
    both_ways = nx.DiGraph()
    both_ways.add_nodes_from(range(len(flow.nodes)))
    both_ways.add_edges_from((maker, reader) for maker, reader, _ in edges)
    both_ways.add_edges_from((reader, maker) for maker, reader, name in edges if name in names)
    for group in joined:
        for node_number in group:
            assert nx.has_path(both_ways, group[0], node_number)
            assert nx.has_path(both_ways, node_number, group[0])
