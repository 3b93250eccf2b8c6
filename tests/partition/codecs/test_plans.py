"""Plans with codecs: measured, chosen, saved, run here and on a server, and refused where nothing fits."""

import json
from dataclasses import replace

import numpy as np
import pytest

from graph_io import load_graph, random_inputs
from partition import InputError, load_plan, partition
from partition.codecs.measure import calibrate_codecs
from partition.codecs.table import load_codecs
from partition.remote.options import RemoteOptions
from partition.serve import Limits, Server
from tests.models import model, node, random_model, relu_chain, transformer_block, value
from tests.partition.costs import timings_of
from tests.scale import scaled


def convolutions(seed=0):
    """Conv, Relu, Conv, Relu, mean, linear: a net whose middle is smaller than its input."""
    draw = np.random.default_rng(seed)
    weights = {
        "w1": draw.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.3,
        "w2": draw.standard_normal((8, 8, 3, 3)).astype(np.float32) * 0.2,
        "w3": draw.standard_normal((8, 10)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w1", "c1", "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1", "relu1"),
        node("Conv", "r1 w2", "c2", "conv2", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "c2", "r2", "relu2"),
        node("GlobalAveragePool", "r2", "mean", "pool"),
        node("Flatten", "mean", "flat", "flatten"),
        node("MatMul", "flat w3", "y", "linear"),
    ]
    return model(nodes, {"x": ("batch", 3, 32, 32)}, [value("y", ["batch", 10])], weights)


@pytest.fixture(scope="module")
def graph():
    return load_graph(convolutions())


@pytest.fixture(scope="module")
def machines(graph):
    layers = list(graph)
    device = {layer: 2e-3 if number == 0 else 50e-3 for number, layer in enumerate(layers)}
    return {"device": timings_of(graph, device, "device"), "server": timings_of(graph, 1e-4, "server")}


@pytest.fixture(scope="module")
def table(graph):
    return quick(calibrate_codecs(graph, inputs(6)))


def quick(table):
    """Let codecs cost next to nothing: of a model of microseconds they would take a large share."""
    return replace(table, model_s=1e3)


def inputs(count, seed=0):
    draw = np.random.default_rng(seed)
    return [{"x": draw.standard_normal((1, 3, 32, 32)).astype(np.float32)} for _ in range(count)]


def coded(plan):
    return {name: codec for message in plan.messages for name, codec in message.coded.items()}


def test_every_cut_and_codec_is_measured(table, graph):
    assert [one.name for one in table.tensors] == ["x", "r1", "r2", "mean", "flat"] or len(table.tensors) >= 3
    for tensor in table.tensors:
        figures = {one.codec: one for one in tensor.codecs}
        assert len(figures) == 7
        assert figures["uint8"].size_bytes <= tensor.raw_bytes / 3.5 or tensor.raw_bytes < 300
        assert figures["float16"].loss < figures["uint8"].loss < figures["uint4"].loss < 1
        assert all(one.encode_s > 0 and one.decode_s > 0 for one in tensor.codecs)
        assert all(one.loss == one.output_error for one in tensor.codecs)
    assert table.metric == "max-relative-error"
    assert "loss by max-relative-error" in str(table)


def test_the_file_holds_all_of_it(table, tmp_path):
    table.save(tmp_path / "codecs.json")
    again = load_codecs(tmp_path / "codecs.json")
    assert again.to_json() == table.to_json()
    content = json.loads((tmp_path / "codecs.json").read_text())
    assert content["format"] == "dnn-partition/codecs"
    for change, reason in (
        ({"tensors": content["tensors"] * 2}, "each tensor once"),
        ({"model_s": 0}, "above 0"),
        ({"more": 1}, "unknown field 'more'"),
    ):
        (tmp_path / "odd.json").write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=reason):
            load_codecs(tmp_path / "odd.json")


@pytest.mark.parametrize("max_loss", [1.0, 0.05, 1e-2, 1e-3])
def test_a_plan_keeps_the_bound_and_runs(graph, machines, table, tmp_path, max_loss):
    plan = partition(graph, "4Mbps", rtt="2ms", codecs=table, max_loss=max_loss, **machines)
    assert plan.optimal
    assert coded(plan)
    assert plan.loss.measured
    assert plan.loss.loss <= max_loss
    again = plan.verify(inputs=inputs(6))
    assert again.ok
    assert again.max_relative_error <= plan.loss.output_error * 1.001 + 1e-6
    loaded = plan.save(tmp_path / "out")
    assert load_plan(tmp_path / "out").to_json() == loaded.to_json()
    assert load_plan(tmp_path / "out").verify(convolutions(), inputs=inputs(6)).ok
    assert "times fewer bytes than" in str(plan)
    assert "measured on 6 inputs in memory" in str(plan)


def test_int8_sends_a_quarter(graph, machines, table):
    plan = partition(graph, "4Mbps", rtt="2ms", codecs=table.only("int8"), max_loss=1.0, **machines)
    (message,) = [one for one in plan.messages if one.direction == "uplink"]
    assert message.raw_bytes / message.size_bytes >= 3.5
    assert plan.latency_s < partition(graph, "4Mbps", rtt="2ms", **machines).latency_s


def test_the_joint_choice_is_never_worse_than_one_codec(graph, machines, table):
    for bandwidth in ("0.5Mbps", "2Mbps", "10Mbps", "100Mbps"):
        joint = partition(graph, bandwidth, codecs=table, max_loss=0.05, **machines)
        for codec in ("float16", "uint8", "uint8-channel", "int8", "int8-channel", "uint4", "uint4-channel"):
            single = partition(graph, bandwidth, codecs=table.only(codec), max_loss=0.05, **machines)
            assert joint.latency_s <= single.latency_s * (1 + 1e-12)
        assert joint.latency_s <= partition(graph, bandwidth, **machines).latency_s * (1 + 1e-12)


def test_an_input_is_encoded_by_a_part_without_layers(graph, table, tmp_path):
    slow = timings_of(graph, 1.0, "device")
    plan = partition(graph, "8Mbps", codecs=table, max_loss=0.1, device=slow, server=timings_of(graph, 1e-4, "server"))
    assert plan.parts[0].layers == ()
    assert list(coded(plan)) == ["x"]
    assert "everything on the server" in str(plan)
    plan.save(tmp_path / "out")
    assert load_plan(tmp_path / "out").verify(convolutions(), inputs=inputs(3)).ok


def test_a_bound_that_nothing_meets_gives_the_lossless_plan(graph, machines, table):
    table = table.only("float16", "uint8", "int8", "uint4")
    plan = partition(graph, "4Mbps", codecs=table, max_loss=0.0, **machines)
    assert not coded(plan)
    assert plan.loss.loss == 0
    assert any("no codec stays within a loss of 0" in one for one in plan.assumptions)
    assert plan.latency_s == partition(graph, "4Mbps", **machines).latency_s


def test_a_cut_of_ones_own_gets_the_best_codecs_there(graph, machines, table):
    (name,) = [one.name for one in table.tensors if one.shape == (1, 8, 8, 8)]
    plan = partition(graph, "1Mbps", cut=[name], codecs=table, max_loss=0.05, **machines)
    assert plan.cut == (name,)
    assert list(coded(plan)) == [name]
    assert plan.chosen_by == "user"
    assert plan.verify(inputs=inputs(6)).ok


def test_a_server_runs_it(graph, machines, table, tmp_path):
    partition(graph, "4Mbps", rtt="2ms", codecs=table, max_loss=0.05, **machines).save(tmp_path / "out")
    plan = load_plan(tmp_path / "out")
    x = inputs(1)[0]
    with plan.session(threads=1) as here:
        wanted = here.run(x)
    with Server([tmp_path / "out"], threads=1, limits=Limits(concurrency=1)) as server:
        for hold in ("all", "own"):
            with plan.session(server=server.url, threads=1, options=RemoteOptions(hold=hold)) as session:
                assert np.array_equal(session.run(x)["y"], wanted["y"])
                assert session.is_remote
                with pytest.raises(InputError, match="holds NaN or infinity"):
                    session.run({"x": np.full_like(x["x"], np.nan)})


def test_features_that_are_not_finite_are_refused(graph, machines, table):
    plan = partition(graph, "4Mbps", codecs=table.only("uint8", "uint4"), max_loss=1.0, **machines)
    assert coded(plan)
    with plan.session(threads=1) as session:
        for bad in (np.nan, np.inf, -np.inf):
            x = inputs(1)[0]["x"]
            x[0, 1, 5, 5] = bad
            with pytest.raises(InputError, match="holds NaN or infinity, or values beyond float32, which codec 'uint"):
                session.run({"x": x})
        assert session.run(inputs(1)[0])["y"].shape == (1, 10)


def test_a_tensor_that_is_not_finite_on_the_data_gets_no_codec(graph):
    bad = inputs(2)
    bad[1]["x"][0, 0, 0, 0] = np.inf
    table = calibrate_codecs(graph, bad, tensors=["x"])
    assert table.tensors[0].codecs == ()
    assert "NaN or infinity" in table.tensors[0].note


def test_the_device_keeps_the_exact_tensor(tmp_path):
    """x -> a -> b -> c on the server, and c + a back on the device, which reads `a` itself."""
    nodes = [
        *(node("Mul", "x two", "a", "n0"), node("Tanh", "a", "b", "n1"), node("Tanh", "b", "c", "n2")),
        *(node("Add", "c a", "d", "n3"), node("Neg", "d", "y", "n4")),
    ]
    whole = model(nodes, {"x": (1, 4000)}, [value("y", [1, 4000])], {"two": np.float32(2)})
    graph = load_graph(whole, granularity="node")
    device = {layer: 10.0 if layer in ("n1", "n2") else 0.0 for layer in graph}
    server = {layer: 0.0 if layer in ("n1", "n2") else 10.0 for layer in graph}
    given = [{"x": np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)}]
    table = quick(calibrate_codecs(graph, given, tensors="all", codecs=["uint8"]))
    plan = partition(
        *(graph, "1Mbps"),
        codecs=table,
        max_loss=0.5,
        device=timings_of(graph, device, "device"),
        server=timings_of(graph, server, "server"),
    )
    assert coded(plan) == {"a": "uint8", "c": "uint8"}
    assert plan.loss.measured
    by_file = {part.file: [one.name for one in part.outputs] for part in plan.parts}
    assert "a" in by_file[plan.parts[0].file]
    assert "a" not in [one.name for part in plan.parts[1:2] for one in part.inputs]
    check = plan.verify(inputs=given)
    assert check.max_relative_error == pytest.approx(plan.loss.output_error, rel=1e-6)


# Of seed 22 the device only encodes an input that it does not read itself.
@pytest.mark.parametrize("seed", sorted({*range(scaled(12, 120)), 22}))
def test_random_models_with_random_costs(seed, tmp_path):
    draw = np.random.default_rng(seed)
    whole = random_model(seed, n_nodes=10)
    graph = load_graph(whole, granularity="node")
    if not len(graph):
        pytest.skip("nothing to place")
    shapes = graph.graph["input_shapes"]
    given = [random_inputs(shapes, dict.fromkeys(shapes, "float32"), seed=one) for one in range(2)]
    table = quick(calibrate_codecs(graph, given, tensors="all", max_tensors=100))
    device, server = ({layer: float(draw.uniform(0, 1)) for layer in graph} for _ in range(2))
    plan = partition(
        *(graph, "1kbps"),
        rtt="1ms",
        codecs=table,
        max_loss=5.0,
        max_server_visits=None,
        device=timings_of(graph, device, "device"),
        server=timings_of(graph, server, "server"),
    )
    assert plan.loss.loss <= 5.0
    plan.save(tmp_path / "out")
    loaded = load_plan(tmp_path / "out")
    if plan.loss.measured:
        check = loaded.verify(whole, inputs=given, tolerance=plan.loss.output_error * (1 + 1e-6) + 1e-5)
        assert check.ok, str(check)


def test_attention_crosses_too():
    graph = load_graph(transformer_block())
    given = [{"x": np.random.default_rng(0).standard_normal((1, 12, 32)).astype(np.float32)}]
    table = quick(calibrate_codecs(graph, given))
    device = timings_of(graph, {layer: 1e-2 * (number > 5) for number, layer in enumerate(graph)}, "device")
    plan = partition(graph, "1Mbps", codecs=table, max_loss=0.2, device=device, server=timings_of(graph, 0.0, "server"))
    assert coded(plan)
    assert plan.verify(inputs=given).ok


def test_a_table_without_its_data_adds_losses_up(tmp_path):
    """Two branches cross at once: with the data they are measured together, without it their losses are added."""
    nodes = [
        *(node("Tanh", "x", "a", "n0"), node("Sigmoid", "x", "b", "n1")),
        *(node("Mul", "a b", "c", "n2"), node("ReduceMean", "c", "y", "n3", axes=[1])),
    ]
    whole = model(nodes, {"x": (1, 4000)}, [value("y", [1, 1])])
    graph = load_graph(whole, granularity="node")
    given = [{"x": np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32) + 1}]
    np.savez(tmp_path / "x.npz", **given[0])
    table = quick(calibrate_codecs(graph, tmp_path, tensors=["a", "b"]))
    path = tmp_path / "codecs.json"
    table.save(path)
    device = {layer: 10.0 if layer in ("n2", "n3") else 0.0 for layer in graph}
    server = {layer: 10.0 - seconds for layer, seconds in device.items()}
    machines = {"device": timings_of(graph, device, "device"), "server": timings_of(graph, server, "server")}
    plan = partition(graph, "1Mbps", codecs=str(path), max_loss=0.5, **machines)
    assert set(coded(plan)) == {"a", "b"}
    assert plan.loss.measured
    np.savez(tmp_path / "x.npz", x=given[0]["x"] + 1)
    other = partition(graph, "1Mbps", codecs=str(path), max_loss=0.5, **machines)
    assert not other.loss.measured
    assert any("not measured together" in one for one in other.assumptions)
    assert "assumed" in str(other)


def two_lists(reference, outputs):
    return 0.25


def failing(reference, outputs):
    raise KeyError("label")


@pytest.mark.parametrize(
    ("metric", "loss"),
    [("top-1", None), ("mean-absolute-error", None), (two_lists, 0.25), (f"{__name__}:two_lists", 0.25)],
)
def test_metrics(graph, metric, loss):
    table = calibrate_codecs(graph, inputs(2), metric=metric, tensors=["x"], codecs=["uint4"])
    (figures,) = table.tensors[0].codecs
    assert figures.loss == loss if loss is not None else 0 <= figures.loss < 1
    assert table.metric == (metric if isinstance(metric, str) else f"{__name__}:two_lists")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"data": []}, "data holds no input"),
        ({"data": "nowhere"}, "data folder 'nowhere' cannot be read"),
        ({"data": [{"z": np.zeros(1)}]}, "'z' is not an input of the model"),
        ({"data": [{}]}, "input 'x' is missing"),
        ({"data": [{"x": np.zeros((1, 3, 16, 16), np.float32)}]}, r"has shape \[1, 3, 16, 16\], planned is"),
        ({"data": [{"x": np.zeros((1, 3, 32, 32))}]}, "has type float64, the model takes float32"),
        ({"codecs": ["gzip"]}, "codec 'gzip' is unknown"),
        ({"tensors": ["nothing"]}, "tensor 'nothing' does not cross"),
        ({"tensors": ["y"]}, "is an output of the model"),
        ({"tensors": "some"}, "use 'cuts', 'all' or names"),
        ({"metric": "nice"}, "metric 'nice' is unknown"),
        ({"metric": "no.module:here"}, "cannot be imported"),
        ({"metric": "json:__version__x"}, "cannot be imported"),
        ({"metric": failing}, "failed: KeyError"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_arguments(graph, arguments, reason):
    with pytest.raises(InputError, match=reason):
        calibrate_codecs(graph, **({"data": inputs(1)} | arguments))


def test_a_codec_that_the_type_does_not_allow():
    nodes = [node("Cast", "x", "a", "n0", to=7), node("Neg", "a", "b", "n1"), node("Cast", "b", "y", "n2", to=1)]
    graph = load_graph(model(nodes, {"x": (1, 4)}, [value("y", [1, 4])]), granularity="node")
    with pytest.raises(InputError, match="tensor 'a': codec 'uint8' takes float32 or float16, not int64"):
        calibrate_codecs(graph, [{"x": np.ones((1, 4), np.float32)}], tensors=["a"], codecs=["uint8"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"max_loss": -1}, "max_loss is -1"),
        ({"max_loss": float("nan")}, "max_loss is nan"),
        ({"adapt": "1Mbps..9Mbps"}, "codecs are chosen for one cut"),
        ({"codecs": "missing.json"}, "missing.json"),
    ],
)
def test_bad_plans(graph, table, arguments, reason):
    with pytest.raises(InputError, match=reason):
        partition(graph, "4Mbps", **({"codecs": table} | arguments))


def test_codecs_of_another_model_or_shape(table):
    with pytest.raises(InputError, match="measured on another model"):
        partition(relu_chain(), "4Mbps", codecs=table)
    with pytest.raises(InputError, match="measure them again"):
        partition(convolutions(), "4Mbps", dims={"batch": 2}, codecs=table)


def test_data_of_several_inputs_is_taken_apart(graph, tmp_path):
    stacked = np.concatenate([one["x"] for one in inputs(5)])
    np.savez(tmp_path / "many.npz", x=stacked)
    table = calibrate_codecs(graph, tmp_path, tensors=["x"], codecs=["uint8"], limit=4)
    assert table.data.n_inputs == 4
    assert len(table.inputs) == 4
