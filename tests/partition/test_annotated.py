"""The copy of a model that ``--annotate`` writes: the original, but for what its nodes say; and what is refused."""

import json

import numpy as np
import onnx
import pytest

from graph_io import ModelError, Reference, load_graph
from graph_io.external import set_reference
from partition import InputError, partition
from partition.annotated import write_annotated
from partition.report.inspection import inspection_json, inspection_view
from tests.graph_io.hard_models import with_external_weights
from tests.graph_io.running import identical, inputs_of, run_whole
from tests.models import model, node, random_model, relu_chain, transformer_block
from tests.partition.conftest import entries
from tests.scale import scaled


def metadata(place):
    return {entry.key: entry.value for entry in place.metadata_props}


def without_metadata(proto):
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    bare.ClearField("ir_version")
    for place in (bare, *bare.graph.node):
        place.ClearField("metadata_props")
    return bare


def text_of(graph):
    from rich.console import Console

    console = Console(width=160, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(inspection_view(graph))
    return capture.get()


# --- the copy -------------------------------------------------------------------------------------------------------


def test_placement_of_every_node(tmp_path):
    source = relu_chain()
    onnx.save(source, tmp_path / "chain.onnx")
    plan = partition(tmp_path / "chain.onnx", "wifi", cut="t0")
    write_annotated(plan.source, tmp_path / "copy.onnx", plan=plan)
    copy = onnx.load(tmp_path / "copy.onnx")
    placed = [metadata(one) for one in copy.graph.node]
    assert [one["dnn-partition.layer"] for one in placed] == ["n0", "n1", "n2"]
    assert [one["dnn-partition.machine"] for one in placed] == ["device", "server", "server"]
    assert [one["dnn-partition.stage"] for one in placed] == ["0", "1", "1"]
    assert [one["dnn-partition.part"] for one in placed] == ["part-0.device.onnx", *["part-1.server.onnx"] * 2]
    assert metadata(copy) == {
        "dnn-partition.granularity": "layer",
        "dnn-partition.cut": "t0",
        "dnn-partition.device": "raspberry-pi-4",
        "dnn-partition.server": "xeon-server",
    }
    assert (copy.ir_version, source.ir_version) == (10, 8)
    assert without_metadata(copy) == without_metadata(source)
    feeds = inputs_of(source)
    assert identical(run_whole(copy, feeds), run_whole(source, feeds))
    assert entries(tmp_path) == ["chain.onnx", "copy.onnx"]


def test_random_graphs_keep_everything(tmp_path):
    # Nodes without names, names used twice, nodes out of order, nodes that lead nowhere: all of them stay as they are.
    for seed in range(scaled(10, 200)):
        source = random_model(seed)
        onnx.save(source, tmp_path / "m.onnx")
        graph = load_graph(tmp_path / "m.onnx", granularity="node")
        write_annotated(graph, tmp_path / "copy.onnx")
        copy = onnx.load(tmp_path / "copy.onnx")
        assert without_metadata(copy) == without_metadata(source)
        layers = [metadata(one)["dnn-partition.layer"] for one in copy.graph.node]
        assert sorted(one for one in layers if not one.startswith("none: ")) == sorted(graph)


def test_nodes_without_a_layer_say_why(tmp_path):
    nodes = [
        node("Neg", "w", "c", "Constant"),
        node("Add", "x c", "y", "Sum"),
        node("Tanh", "x", "z", "Nowhere"),
    ]
    onnx.save(model(nodes, {"x": (1, 4)}, ["y"], {"w": np.ones((1, 4), np.float32)}), tmp_path / "m.onnx")
    write_annotated(load_graph(tmp_path / "m.onnx"), tmp_path / "copy.onnx")
    layers = [metadata(one)["dnn-partition.layer"] for one in onnx.load(tmp_path / "copy.onnx").graph.node]
    assert layers == [
        "none: a constant, copied to each part that reads it",
        "Sum",
        "none: leads to no output, so it is left out",
    ]


def test_a_copied_dequantize_names_all_its_layers(tmp_path):
    nodes = [
        node("QuantizeLinear", "x scale zero", "q", "Q"),
        node("DequantizeLinear", "q scale zero", "d", "D"),
        node("Tanh", "d", "a", "A"),
        node("Sigmoid", "d", "b", "B"),
        node("Add", "a b", "y", "Y"),
    ]
    weights = {"scale": np.float32(0.1), "zero": np.uint8(128)}
    onnx.save(model(nodes, {"x": (1, 4)}, ["y"], weights), tmp_path / "m.onnx")
    write_annotated(load_graph(tmp_path / "m.onnx"), tmp_path / "copy.onnx")
    found = metadata(onnx.load(tmp_path / "copy.onnx").graph.node[1])
    assert found == {"dnn-partition.layer": "A", "dnn-partition.copied to": "B"}


def test_an_annotated_copy_can_be_annotated_again(tmp_path):
    source = relu_chain()
    source.graph.node[0].metadata_props.add(key="author", value="somebody")
    onnx.save(source, tmp_path / "m.onnx")
    plan = partition(tmp_path / "m.onnx", "wifi", cut="t0")
    write_annotated(plan.source, tmp_path / "first.onnx", plan=plan)
    write_annotated(load_graph(tmp_path / "first.onnx"), tmp_path / "second.onnx")
    copy = onnx.load(tmp_path / "second.onnx")
    assert metadata(copy) == {"dnn-partition.granularity": "layer"}
    assert metadata(copy.graph.node[0]) == {"author": "somebody", "dnn-partition.layer": "n0"}


def test_a_model_in_memory(tmp_path):
    write_annotated(load_graph(transformer_block()), tmp_path / "copy.onnx")
    assert all(metadata(one) for one in onnx.load(tmp_path / "copy.onnx").graph.node)


def test_external_data_stays_where_it_is(tmp_path):
    (tmp_path / "other").mkdir()
    path, _ = with_external_weights(tmp_path)
    graph = load_graph(path)
    write_annotated(graph, path.with_name("copy.onnx"))
    assert without_metadata(onnx.load(path.with_name("copy.onnx"))) == without_metadata(onnx.load(path))
    files = [onnx.load(one, load_external_data=False).graph.initializer for one in (path, path.with_name("copy.onnx"))]
    assert files[0] == files[1]
    assert files[1][0].data_location == onnx.TensorProto.EXTERNAL
    with pytest.raises(ModelError, match="write the copy into"):
        write_annotated(graph, tmp_path / "other" / "copy.onnx")
    assert entries(tmp_path / "other") == []


@pytest.mark.parametrize("size", [4, 4096])
def test_the_files_of_the_model_itself_are_refused(command, tmp_path, size):
    # Small weights and those of bodies are read in when a model is loaded, and still lie in its file.
    source = model([node("Add", "x w", "y")], {"x": (1, size)}, ["y"], {"w": np.ones((1, size), np.float32)})
    inner = model([node("Add", "y v", "b")], {}, ["b"], {"v": np.ones((1, size), np.float32)}).graph
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "go"))
    source.graph.node.append(onnx.helper.make_node("If", ["go"], ["z"], then_branch=inner, else_branch=inner))
    source.graph.output[0].name = "z"
    onnx.save(source, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    body = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for attribute in body.graph.node[1].attribute:
        tensor = attribute.g.initializer[0]
        (tmp_path / "v.bin").write_bytes(np.ones((1, size), np.float32).tobytes())
        set_reference(tensor, Reference("v.bin", 0, 4 * size))
    onnx.save(body, tmp_path / "m.onnx")
    (tmp_path / "link").symlink_to("w.bin")
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    graph = load_graph(tmp_path / "m.onnx")
    for name in ("m.onnx", "w.bin", "v.bin", "link"):
        with pytest.raises(InputError, match=r"is the model itself|holds weights of the model"):
            write_annotated(graph, tmp_path / name)
    done = command("inspect", "m.onnx", "--annotate", "w.bin", "--force")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "holds weights of the model" in done.err
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


# --- the commands ---------------------------------------------------------------------------------------------------


def test_commands(command, small_files, tmp_path):
    done = command("inspect", small_files / "chain.onnx", "--annotate", "copy.onnx")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("annotated copy: copy.onnx\n")
    done = command(
        "split", small_files / "chain.onnx", "-b", "wifi", "--cut", "t0", "--annotate", "plan.onnx", "--json"
    )
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["messages"][0]["tensors"] == ["t0"]
    assert metadata(onnx.load(tmp_path / "plan.onnx").graph.node[2])["dnn-partition.machine"] == "server"
    assert command("inspect", small_files / "chain.onnx", "--annotate", "copy.onnx", "--force", "--json").code == 0
    assert entries(tmp_path) == ["copy.onnx", "plan.onnx"]


@pytest.mark.parametrize("subcommand", [["inspect"], ["split", "-b", "wifi"]])
def test_commands_refuse(command, tmp_path, subcommand):
    onnx.save(relu_chain(), tmp_path / "chain.onnx")
    before = (tmp_path / "chain.onnx").read_bytes()
    (tmp_path / "there.onnx").touch()
    for target, said in [
        ("there.onnx", "exists"),
        ("nowhere/copy.onnx", "cannot be written"),
        ("chain.onnx", "is the model itself"),
    ]:
        force = [] if target == "there.onnx" else ["--force"]
        done = command(*subcommand, "chain.onnx", "--annotate", target, *force)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"dnn-partition: error: annotated copy '{target}'")
        assert said in done.err
        assert done.err.count("\n") == 1
    assert entries(tmp_path) == ["chain.onnx", "there.onnx"]
    assert (tmp_path / "chain.onnx").read_bytes() == before


# --- what inspect says ----------------------------------------------------------------------------------------------


def test_inspect_says_why():
    graph = load_graph(transformer_block(blocks=1))
    content = inspection_json(graph)
    by_name = {one["name"]: one for one in content["tensors"]}
    assert by_name["b0_norm1"]["cut"] == {"place": "alone", "beside": [], "n_beside": 0, "size_bytes": 1536}
    assert by_name["b0_gelu"]["cut"]["beside"] == ["b0_norm1"]
    no_cut = {one["name"]: one for one in content["no_cut"]}
    assert no_cut["b0_wide_erf"]["reason"] == "inside layer"
    assert no_cut["b0_wide_erf"]["inside"] in graph
    assert no_cut["b0_q_w"] == {"name": "b0_q_w", "reason": "constant", "inside": None}
    assert content["single_tensor_cuts"] == [
        one["name"] for one in content["tensors"] if one["cut"]["place"] == "alone"
    ]
    shown = text_of(graph)
    assert "with b0_norm1: 4.61 kB in all" in shown
    assert "no cut: inside a layer, which the runtime runs as one (--granularity node cuts there): " in shown
    assert "no cut: constants, copied to each part that reads them: " in shown


def test_a_long_table_is_cut_short():
    length = 2003
    graph = load_graph(relu_chain(length), granularity="node")
    shown = text_of(graph)
    assert "4 more layers are not shown; --json lists all of them" in shown
    assert f"{length:,} layers" in shown
    assert len(inspection_json(graph)["layers"]) == length
