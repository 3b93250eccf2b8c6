"""A calibration of this very machine, tiny but real: it runs, stops, goes on, plans, and refuses what is not its."""

import json

import numpy as np
import pytest

import graph_io
from partition import partition
from partition.errors import InputError
from partition.latency import calibrate as module
from partition.latency.annotate import annotate
from partition.latency.calibrate import calibrate
from partition.latency.machines import load_machine
from partition.latency.predict import ESTIMATED, predict_layers
from partition.load.model import LoadModel
from tests.models import model, node, relu_chain
from tests.scale import SUITE_SEEDS


@pytest.fixture(scope="module", autouse=True)
def light_suite():
    """Draw light layers: only how much the largest one weighs is another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SEED", SUITE_SEEDS[-1])
        yield


@pytest.fixture(scope="module")
def tiny():
    """A machine calibrated on two layers of each type."""
    return calibrate(threads=(1,), share=0.001, load=False, name="tiny")


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("machines") / "tiny.json"
    tiny.save(path)
    return path


def test_what_a_calibration_holds(tiny):
    assert tiny.kind == "calibrated"
    assert tiny.runtime.threads == 1
    assert tiny.calibration.threads == (1,)
    assert tiny.calibration.share == 1.0
    kinds = {row.features.kind for row in tiny.calibration.rows}
    assert {"conv", "gemm", "matmul", "max_pool", "softmax", "lstm", "gru", "rnn", "resize", "concat"} <= kinds
    assert all(row.seconds > 0 for row in tiny.calibration.rows)
    assert not [row for row in tiny.calibration.rows if row.features.op_type == "Neg"]
    assert tiny.roofline.peak_flops_per_s > 1e8
    assert "single layers in" in tiny.provenance


def test_its_file_predicts_the_same(tiny, tiny_file):
    again = load_machine(tiny_file)
    graph = graph_io.load_graph(graph_io.light_model("squeezenet"))
    first, second = predict_layers(tiny, graph), predict_layers(again, graph)
    assert first.seconds == second.seconds
    assert all(seconds > 0 for seconds in first.seconds.values())
    assert set(first.seconds) == set(graph.nodes)
    assert first.deviations_s == second.deviations_s
    assert all(0 <= share <= 1 for share in first.memory_shares.values())


def test_a_plan_from_a_calibration_shows_how_sure_it_is(tiny_file, light_file):
    plan = partition(light_file("squeezenet"), "wifi", device=tiny_file, server=tiny_file)
    assert plan.estimates[0].deviation_s > 0
    assert "±" in str(plan)
    assert "device as predicted from a calibration, not measured" in str(plan)
    unsure = partition(light_file("squeezenet"), "wifi")
    assert unsure.estimates[0].deviation_s is None
    assert "±" not in str(unsure)


def test_a_layer_type_without_data_is_a_marked_estimate(tiny_file):
    proto = model([node("Tanh", "x", "h"), node("Det", "h", "y")], {"x": (4, 32, 32)}, ["y"])
    graph = graph_io.load_graph(proto)
    costs = predict_layers(load_machine(tiny_file), graph)
    assert all(seconds > 0 for seconds in costs.seconds.values())
    (note,) = [note for note in costs.notes if "estimated by its roofline" in note]
    assert "no calibration of Det (1)" in note
    assert "dnn-partition profile" in note
    assert ESTIMATED in next(
        iter(costs.deviations_s[layer] for layer in graph if "det" in layer.lower()), {ESTIMATED: 0}
    )


def test_a_published_regression_can_be_chosen(tiny_file, light_file):
    own = partition(light_file("squeezenet"), "wifi", device=tiny_file, server=tiny_file)
    other = partition(light_file("squeezenet"), "wifi", device=tiny_file, server=tiny_file, regression="neurosurgeon")
    assert other.estimates[1].device_s > 0
    assert other.estimates[1].device_s != own.estimates[1].device_s
    with pytest.raises(InputError, match="regression 'guess' is unknown"):
        partition(light_file("squeezenet"), "wifi", device=tiny_file, regression="guess")


def test_other_threads_than_calibrated(tiny_file, light_file):
    with pytest.raises(InputError, match="was calibrated at 1 threads, asked for is 7; ask for one of these, or run"):
        partition(light_file("squeezenet"), "wifi", device=tiny_file, threads={"device": 7})
    with pytest.raises(InputError, match="is for 4 threads, asked for is 2"):
        partition(light_file("squeezenet"), "wifi", threads={"device": 2})
    with pytest.raises(InputError, match="threads has the key 'cloud'"):
        partition(light_file("squeezenet"), "wifi", threads={"cloud": 2})
    with pytest.raises(InputError, match="threads of the server is 0"):
        partition(light_file("squeezenet"), "wifi", threads={"server": 0})


def test_load_slows_a_machine_down(tiny_file, light_file):
    idle = partition(light_file("squeezenet"), "wifi", device=tiny_file)
    half = partition(light_file("squeezenet"), "wifi", device=tiny_file, load={"device": 0.5, "server": "50%"})
    device, server = (
        next(one for one in half.estimates if one.name == name) for name in ("all on the device", "all on the server")
    )
    device_idle, server_idle = (
        next(one for one in idle.estimates if one.name == name) for name in ("all on the device", "all on the server")
    )
    assert device.device_s == pytest.approx(2 * device_idle.device_s)
    assert server.server_s == pytest.approx(2 * server_idle.server_s)
    assert "device: load: 50% of the processor time taken by others" in str(half)
    with pytest.raises(InputError, match=r"load of the device is 1\.5"):
        partition(light_file("squeezenet"), "wifi", load={"device": 1.5})


def test_the_load_of_this_machine_now(tiny_file, light_file):
    plan = partition(light_file("squeezenet"), "wifi", device=tiny_file, load={"device": "now"})
    assert any(one.startswith("device: load: CPU share") for one in plan.assumptions)


def test_a_calibrated_load_model_is_used(tiny, light_file):
    import dataclasses

    slow = LoadModel(1, 3.0, 3.0, 0.002, 1.0, 1.0, 1e-3, None, 0)
    calibration = dataclasses.replace(tiny.calibration, load_models=(slow,))
    machine = dataclasses.replace(tiny, calibration=calibration)
    graph = graph_io.load_graph(graph_io.light_model("squeezenet"))
    annotate(graph, {"device": tiny, "loaded": machine}, loads={"loaded": 0.5})
    for _, data in graph.nodes(data=True):
        assert data["latency_s"]["loaded"] == pytest.approx(4 * data["latency_s"]["device"])


def test_it_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "unfinished"
    stopped = []

    def stop(share, what):
        stopped.append(what)
        if len(stopped) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(threads=(1,), share=0.001, load=False, checkpoint=path, progress=stop)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    # As if it had been killed while it wrote.
    path.write_text("\n".join(lines) + "\n" + lines[-1][:40], encoding="utf-8")
    told = []
    machine = calibrate(
        threads=(1,), share=0.001, load=False, checkpoint=path, progress=lambda share, what: told.append(what)
    )
    assert len([what for what in told if what.startswith("timing layer")]) < 10 * len(lines)
    assert told[0] != "timing layer 1"
    assert machine.calibration.share == 1.0
    again = calibrate(threads=(1,), share=0.001, load=False, checkpoint=path)
    assert again.calibration.rows == machine.calibration.rows


def test_a_checkpoint_of_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BUDGET_S", 0.0)
    path = tmp_path / "unfinished"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(InputError, match="is not a checkpoint of a calibration"):
        calibrate(threads=(1,), share=0.001, load=False, checkpoint=path)
    header = {"format": "dnn-partition/calibration-checkpoint", "version": 1, "suite": 1, "share": 0.001}
    header |= {"quick": False, "threads": [3]}
    path.write_text(json.dumps(header) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"was begun with threads \[3\], now it is \[1\]"):
        calibrate(threads=(1,), share=0.001, load=False, checkpoint=path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"threads": ()}, "give one number or more"),
        ({"threads": (1, 1)}, "each once"),
        ({"threads": (0,)}, "threads is 0"),
        ({"provider": "AbacusExecutionProvider"}, "execution provider 'AbacusExecutionProvider' is not in"),
        ({"name": " "}, "the machine's name is ' '"),
        ({"share": 1.5}, r"share is 1\.5; give how much"),
    ],
)
def test_bad_arguments(arguments, said):
    with pytest.raises(InputError, match=said):
        calibrate(**{"threads": (1,), "quick": True, **arguments})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda content: content | {"version": 0}, "has version 0; this release reads version 1"),
        (lambda content: content | {"format": "abacus"}, "has the format 'abacus'"),
        (
            lambda content: {name: one for name, one in content.items() if name != "calibration"},
            "'calibration' is missing",
        ),
        (lambda content: content | {"kind": "datasheet-roofline"}, "unknown field 'calibration'"),
        (lambda content: content | {"calibration": []}, "'calibration' is a JSON list, expected an object"),
    ],
)
def test_files_that_cannot_be_used(tiny, tmp_path, edit, said):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(edit(tiny.to_json())), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_machine(path)


def test_an_empty_file(tmp_path):
    (tmp_path / "m.json").touch()
    with pytest.raises(InputError, match="is not JSON"):
        load_machine(tmp_path / "m.json")


def test_timing_a_plan_against_its_prediction(tiny_file, light_file):
    graph = graph_io.load_graph(light_file("squeezenet"))
    middle = graph_io.single_tensor_cuts(graph)[len(graph_io.single_tensor_cuts(graph)) // 2]
    plan = partition(graph, "wifi", device=tiny_file, server=tiny_file, cut=[middle])
    verification = plan.verify(timing=True, threads=1)
    assert verification.ok
    assert [stage.machine for stage in verification.stages] == ["device", "server"]
    for stage, planned in zip(verification.stages, plan.stages, strict=False):
        assert stage.predicted_s == planned.compute_s
        assert stage.measured_s > 0
        assert stage.runs >= 5
        assert stage.threads == 1
    assert "predicted" in str(verification)
    assert [one["stage"] for one in verification.to_json()["stages"]] == [0, 1]
    assert plan.verify(threads=1).stages == ()


def test_the_last_run_says_what_each_part_took():
    plan = partition(relu_chain(), "wifi", cut=["t0"])
    with plan.session(threads=1) as session:
        assert session.part_s == ()
        session.run({"x": np.zeros((1, 4), np.float32)})
        assert len(session.part_s) == 2
        assert all(seconds > 0 for seconds in session.part_s)
