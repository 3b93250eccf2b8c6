"""Measuring a model on this machine, and planning with what was measured. No time itself is asserted."""

import copy

import pytest

import graph_io
from graph_io import ModelError
from partition import InputError, Timings, annotate, load_machine, load_timings, measure, partition
from partition.files import write_json
from tests.models import model, node, relu_chain, value
from tests.partition.costs import timings_of


@pytest.fixture(scope="module")
def squeezenet():
    return graph_io.light_model("squeezenet")


@pytest.fixture(scope="module")
def measured(squeezenet):
    return measure(squeezenet, threads=1, name="here")


def test_the_layers_add_up_to_the_whole_run(measured, light_graph):
    layers = {layer.id: layer.latency_s for layer in measured.layers}
    assert list(layers) == list(light_graph("squeezenet"))
    assert sum(layers.values()) == pytest.approx(measured.whole_model.latency_s, rel=1e-9)
    assert all(seconds >= 0 for seconds in layers.values())
    assert max(layers.values()) > 0
    assert measured.whole_model.runs >= 10


def test_what_was_measured_and_how_is_kept(measured, light_graph):
    import onnxruntime

    assert measured.name == "here"
    assert measured.model.name == "squeezenet"
    assert measured.model.structure_sha256 == light_graph("squeezenet").graph["structure_sha256"]
    assert measured.model.granularity == "layer"
    assert measured.runtime.threads == 1
    assert measured.runtime.version == onnxruntime.__version__
    assert measured.hardware["processors_available"] >= 1


def test_round_trip_through_a_file(measured, tmp_path):
    write_json(tmp_path / "t.json", measured.to_json())
    assert load_timings(tmp_path / "t.json") == measured
    assert Timings.from_json(measured.to_json(), "t.json") == measured
    assert load_machine(tmp_path / "t.json") == measured


def test_measured_on_either_side_as_object_and_as_file(measured, squeezenet, tmp_path):
    write_json(tmp_path / "t.json", measured.to_json())
    on_device = partition(squeezenet, "1kbps", device=measured)
    assert on_device.latency_s == pytest.approx(measured.whole_model.latency_s, rel=1e-9)
    assert (on_device.device.name, on_device.device.kind) == ("here", "measured")
    assert "onnxruntime" in on_device.device.description
    from_file = partition(squeezenet, "1kbps", device=tmp_path / "t.json")
    assert from_file.to_json() == on_device.to_json()
    on_server = partition(squeezenet, "wifi", server=str(tmp_path / "t.json"), cut=["data_0"])
    assert on_server.estimates[0].server_s == pytest.approx(measured.whole_model.latency_s, rel=1e-9)
    assert on_server.server.kind == "measured"


def test_every_node_can_be_measured_apart():
    timings = measure(relu_chain(4, (64, 512)), granularity="node", threads=1)
    assert [layer.id for layer in timings.layers] == ["n0", "n1", "n2", "n3"]
    assert sum(layer.latency_s for layer in timings.layers) == pytest.approx(timings.whole_model.latency_s, rel=1e-9)
    assert partition(relu_chain(4, (64, 512)), "wifi", granularity="node", device=timings, server=timings).optimal


def test_progress_rises_to_the_end():
    shares = []
    measure(relu_chain(2, (256, 1024)), threads=1, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all(0 <= share <= 1 for share in shares)


def test_open_dimensions_and_inputs_of_ones_own():
    import numpy as np

    proto = model([node("Tanh", "x", "y")], {"x": ("batch", "seq")}, [value("y", ["batch", "seq"])])
    feeds = {"x": np.ones((64, 2048), dtype=np.float32)}
    timings = measure(proto, dims={"seq": 2048, "batch": 64}, threads=1, inputs=feeds)
    assert timings.whole_model.latency_s > 0
    with pytest.raises(ModelError, match="unknown dimension 'seq'"):
        measure(proto)


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2"])
def test_threads_that_cannot_be(threads):
    with pytest.raises(InputError, match=r"threads is .*; give a whole number of 1 or more"):
        measure(relu_chain(), threads=threads)


def test_timings_that_do_not_fit_are_refused(measured, squeezenet):
    with pytest.raises(InputError, match="are of another model"):
        partition(relu_chain(), "wifi", device=measured)
    with pytest.raises(InputError, match="have the granularity 'layer', asked for is 'node'"):
        partition(squeezenet, "wifi", device=measured, granularity="node")
    content = measured.to_json()
    content["layers"] = content["layers"][1:]
    with pytest.raises(InputError, match="lack the layer '"):
        partition(squeezenet, "wifi", server=Timings.from_json(content, "t.json"))


def test_timings_of_another_version(measured, squeezenet, tmp_path):
    write_json(tmp_path / "t.json", measured.to_json() | {"version": 2})
    with pytest.raises(InputError, match=r"t\.json' has version 2; this release reads version 1"):
        partition(squeezenet, "wifi", device=tmp_path / "t.json")


# --- annotated graphs ----------------------------------------------------------------------------------------------


def test_annotate_adds_seconds_by_role():
    graph = graph_io.load_graph(relu_chain())
    before = copy.deepcopy(dict(graph.nodes(data=True)))
    annotate(graph, {"device": load_machine("raspberry-pi-4")})
    annotate(graph, {"server": timings_of(graph, 0.25), "gateway": load_machine("laptop-4-core")})
    for layer, data in graph.nodes(data=True):
        assert set(data) == {"layer", "latency_s"}
        assert list(data["latency_s"]) == ["device", "server", "gateway"]
        assert data["latency_s"]["server"] == 0.25
        assert data["layer"] == before[layer]["layer"]
    annotate(graph, {"device": timings_of(graph, 0.5)})
    assert {data["latency_s"]["device"] for _, data in graph.nodes(data=True)} == {0.5}
    assert {data["latency_s"]["server"] for _, data in graph.nodes(data=True)} == {0.25}


def test_annotate_refuses_timings_of_another_model(measured):
    graph = graph_io.load_graph(relu_chain())
    with pytest.raises(InputError, match="are of another model"):
        annotate(graph, {"device": measured})


def test_planning_an_annotated_graph_uses_the_machines_of_the_call():
    graph = graph_io.load_graph(relu_chain())
    expected = partition(graph, "wifi").to_json()
    annotate(graph, {"device": timings_of(graph, 9.0)})
    assert partition(graph, "wifi").to_json() == expected
    assert {data["latency_s"]["device"] for _, data in graph.nodes(data=True)} == {9.0}
