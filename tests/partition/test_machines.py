"""Machine files, the machines that come with the library, and what is predicted from them."""

import copy
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition import partition
from partition.errors import InputError
from partition.files import write_json
from partition.latency.machines import Machine, Power, load_machine, shipped_machines
from partition.latency.roofline import roofline_layer_s, roofline_s
from partition.latency.timings import Timings
from tests.partition.test_timings import timings_object

ROOT = Path(__file__).parents[2]
DATASHEETS = ("gpu-server", "jetson-nano-cpu", "laptop-4-core", "raspberry-pi-4", "raspberry-pi-5", "xeon-server")
CALIBRATED = ("cloud-xeon-2-core",)


@dataclasses.dataclass(frozen=True)
class Layer:
    op_types: tuple[str, ...] = ("Conv",)
    flops: float = 0.0
    traffic_bytes: int = 0


def machine_object():
    return {
        "format": "dnn-partition/machine",
        "version": 1,
        "name": "mine",
        "kind": "datasheet-roofline",
        "description": "a machine of round figures",
        "hardware": {"cores": 2},
        "runtime": {"name": "onnxruntime", "version": None, "provider": "CPUExecutionProvider", "threads": 2},
        "date": "2025-01-31",
        "provenance": "made up for a test",
        "roofline": {
            "peak_flops_per_s": 1e9,
            "memory_bytes_per_s": 1e8,
            "compute_efficiency": {"default": 0.1, "Conv": 0.5, "MatMul": 0.25, "Relu": 1.0},
            "layer_overhead_s": 1e-5,
        },
        "power": None,
    }


def changed(path, value):
    """Return the object with one field replaced; `path` is dotted."""
    obj = machine_object()
    *way, last = path.split(".")
    place = obj
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return obj


MINE = Machine.from_json(machine_object(), "mine.json")


def test_shipped_machines():
    assert shipped_machines() == tuple(sorted((*DATASHEETS, *CALIBRATED)))


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_shipped_calibration_plans(name, light_file):
    machine = load_machine(name)
    assert (machine.name, machine.kind) == (name, "calibrated")
    assert machine.calibration.threads == (1, 2)
    assert machine.calibration.share == 1.0
    assert len(machine.calibration.rows) > 5000
    assert machine.provenance.startswith("Measured by dnn-partition calibrate")
    path = ROOT / "partition" / "latency" / "shipped" / f"{name}.json"
    assert machine.to_json() == json.loads(path.read_text(encoding="utf-8"))
    plan = partition(light_file("squeezenet"), "wifi", server=name, threads={"server": 1}, load={"server": 0.2})
    alone = next(one for one in plan.estimates if one.name == "all on the server")
    # A network of 0.7 GFLOPs on one core with AVX-512.
    assert 1e-3 < alone.server_s < 50e-3
    assert f"server {name} (calibrated)" in str(plan)
    assert any(note.startswith("server: load: 20% of the processor time") for note in plan.assumptions)


@pytest.mark.parametrize("name", DATASHEETS)
def test_shipped_machine_loads_and_says_where_it_comes_from(name):
    machine = load_machine(name)
    assert isinstance(machine, Machine)
    assert machine.name == name
    assert machine.kind == "datasheet-roofline"
    assert machine.power is None
    assert machine.provenance.startswith("Computed from public datasheet figures")
    assert "not measured" in machine.provenance
    path = ROOT / "partition" / "latency" / "shipped" / f"{name}.json"
    assert machine.to_json() == json.loads(path.read_text(encoding="utf-8"))
    if "cores" in machine.hardware:
        peak = (
            machine.hardware["cores"] * machine.hardware["clock_hz"] * machine.hardware["fp32_flops_per_cycle_per_core"]
        )
        assert machine.roofline.peak_flops_per_s == peak
    assert machine.roofline.memory_bytes_per_s < machine.hardware["nominal_memory_bytes_per_s"]


def test_round_trip(tmp_path):
    for power in (None, {"compute_watts": 5.0, "idle_watts": 0.0, "send_watts": 1.0, "receive_watts": 1.5}):
        obj = machine_object() | {"power": power}
        machine = Machine.from_json(obj, "mine.json")
        assert machine.to_json() == obj
        write_json(tmp_path / "mine.json", obj)
        assert load_machine(tmp_path / "mine.json") == machine
        assert load_machine(str(tmp_path / "mine.json")) == machine
        assert copy.deepcopy(machine) == machine
        assert isinstance(hash(machine), int)
    assert machine.power == Power(5.0, 0.0, 1.0, 1.5)


def test_save(tmp_path):
    machine = dataclasses.replace(MINE, kind="fitted-roofline", name="fitted")
    path = tmp_path / "m.json"
    machine.save(path)
    assert load_machine(path) == machine
    with pytest.raises(InputError, match=r"machine file '.*m\.json' exists; .* overwrite=True"):
        MINE.save(path)
    assert load_machine(path) == machine
    MINE.save(str(path), overwrite=True)
    assert load_machine(path) == MINE


def test_save_writes_nothing_that_could_not_be_read(tmp_path):
    with pytest.raises(InputError, match="'kind' is 'guess', expected one of 'datasheet-roofline', 'fitted-roofline'"):
        dataclasses.replace(MINE, kind="guess").save(tmp_path / "m.json")
    assert not list(tmp_path.iterdir())


def test_loaded_machines_pass_through():
    timings = Timings.from_json(timings_object(), "t.json")
    assert load_machine(MINE) is MINE
    assert load_machine(timings) is timings


def test_a_timings_file_is_a_machine_too(tmp_path):
    write_json(tmp_path / "t.json", timings_object())
    assert load_machine(tmp_path / "t.json") == Timings.from_json(timings_object(), "t.json")


def test_a_shipped_name_wins_over_a_file_unless_it_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json("raspberry-pi-4", machine_object())
    assert load_machine("raspberry-pi-4").name == "raspberry-pi-4"
    assert load_machine("./raspberry-pi-4").name == "mine"
    assert load_machine(Path("raspberry-pi-4")).name == "mine"


def test_repr_and_text():
    assert repr(MINE) == "<Machine 'mine', datasheet-roofline>"
    assert str(MINE) == ("mine: a machine of round figures (datasheet-roofline: 1 GFLOP/s, 0.1 GB/s, 10 us a layer)")


@pytest.mark.parametrize("name", ["raspberry-pi-9", "no/such.json", "Raspberry-Pi-4", "x\0y"])
def test_unknown_machine_lists_what_there_is(name):
    with pytest.raises(InputError, match="unknown machine") as caught:
        load_machine(name)
    message = str(caught.value)
    assert repr(name) in message
    assert ", ".join(shipped_machines()) in message
    assert "path" in message


@pytest.mark.parametrize("value", [None, 3, {"name": "x"}])
def test_what_is_no_machine_at_all(value):
    with pytest.raises(InputError, match="a machine is given as") as caught:
        load_machine(value)
    assert repr(value) in str(caught.value)
    assert "raspberry-pi-4" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ("{}", "has the format None, expected 'dnn-partition/machine' or 'dnn-partition/timings'"),
        ('{"format": "dnn-partition/plan"}', "has the format 'dnn-partition/plan'"),
        ('{"format": "dnn-partition/machine", "version": 7}', "has version 7; this release reads version 1"),
        ('{"format": "dnn-partition/timings", "version": 7}', "has version 7; this release reads version 1"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, problem):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=problem) as caught:
        load_machine(path)
    assert repr(str(path)) in str(caught.value)


def test_a_folder_is_no_machine(tmp_path):
    with pytest.raises(InputError, match="cannot read") as caught:
        load_machine(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("format", "dnn-partition/timings", "has the format 'dnn-partition/timings', expected 'dnn-partition/machine'"),
        ("version", "1", "has version '1'"),
        ("name", None, "the field 'name' is None"),
        ("kind", "guess", "the field 'kind' is 'guess', expected one of 'datasheet-roofline'"),
        ("description", 3, "the field 'description' is 3"),
        ("hardware", [], "the field 'hardware'"),
        ("runtime.version", "", "the field 'runtime.version' is ''"),
        ("runtime.version", ..., "the field 'runtime.version' is missing"),
        ("runtime.threads", "2", "the field 'runtime.threads' is '2'"),
        ("runtime.colour", 1, "unknown field 'runtime.colour'"),
        ("date", "31.1.2025", "the field 'date' is '31.1.2025'"),
        ("date", "20250131", "the field 'date' is '20250131'"),
        ("date", "2025-02-31", "the field 'date' is '2025-02-31'"),
        ("provenance", " ", "the field 'provenance'"),
        ("roofline", ..., "the field 'roofline' is missing"),
        ("roofline.peak_flops_per_s", 0, "the field 'roofline.peak_flops_per_s' is 0"),
        ("roofline.peak_flops_per_s", True, "the field 'roofline.peak_flops_per_s' is True"),
        ("roofline.memory_bytes_per_s", math.inf, "the field 'roofline.memory_bytes_per_s' is inf"),
        ("roofline.layer_overhead_s", 0, "the field 'roofline.layer_overhead_s' is 0"),
        ("roofline.compute_efficiency", {}, "the field 'roofline.compute_efficiency.default' is missing"),
        ("roofline.compute_efficiency.Conv", 0, "the field 'roofline.compute_efficiency.Conv' is 0"),
        ("roofline.compute_efficiency.Conv", 50, "the field 'roofline.compute_efficiency.Conv' is 50"),
        ("roofline.colour", 1, "unknown field 'roofline.colour'"),
        ("power", ..., "the field 'power' is missing"),
        ("power", 5, "the field 'power' is a JSON number"),
        ("power", {"compute_watts": -5}, "the field 'power.compute_watts' is -5"),
        ("power", {"compute_watts": 5}, "the field 'power.idle_watts' is missing"),
        ("colour", 1, "unknown field 'colour'"),
    ],
)
def test_refused_with_the_name_of_file_and_field(path, value, named):
    with pytest.raises(InputError, match=named) as caught:
        Machine.from_json(changed(path, value), "x.json")
    assert str(caught.value).startswith("machine file 'x.json'")


@pytest.mark.parametrize(
    ("layer", "seconds"),
    [
        (Layer(("Conv", "Relu"), flops=5e8), 1.0),
        (Layer(("Relu", "Conv"), flops=5e8), 1.0),  # a convolution is the main operator wherever it stands
        (Layer(("Add", "Relu"), flops=1e9), 1.0),  # else the first that the machine names
        (Layer(("Gemm",), flops=1e8), 1.0),  # a main operator that the machine does not name has the default
        (Layer(("Unheard",), flops=1e8), 1.0),
        (Layer((), flops=1e8), 1.0),
        (Layer(flops=5e8, traffic_bytes=2 * 10**8), 2.0),
        (Layer(("Reshape",)), 0.0),
    ],
)
def test_roofline(layer, seconds):
    assert roofline_layer_s(MINE, layer) == pytest.approx(seconds + 1e-5, rel=1e-12)


def test_only_a_layer_without_any_work_takes_no_time():
    assert roofline_layer_s(MINE, Layer(())) == 0.0


layers = st.builds(
    Layer,
    st.lists(st.sampled_from(["Conv", "Relu", "Gemm", "Softmax", "Unheard"]), min_size=1, max_size=3).map(tuple),
    st.floats(0, 1e15),
    st.integers(0, 10**12),
)


@given(layers, st.sampled_from(DATASHEETS))
def test_predictions_are_positive_and_grow_with_the_work(layer, name):
    machine = load_machine(name)
    seconds = roofline_layer_s(machine, layer)
    assert math.isfinite(seconds)
    assert seconds >= machine.roofline.layer_overhead_s > 0
    assert roofline_layer_s(machine, dataclasses.replace(layer, flops=2 * layer.flops + 1)) >= seconds
    assert roofline_layer_s(machine, dataclasses.replace(layer, traffic_bytes=layer.traffic_bytes + 1)) >= seconds


def test_predict_keeps_names_and_order():
    got = roofline_s(MINE, {"b": Layer(flops=5e8), "a": Layer()})
    assert list(got) == ["b", "a"]
    assert got["b"] == roofline_layer_s(MINE, Layer(flops=5e8))


@pytest.mark.parametrize(
    ("feature", "value"), [("flops", math.nan), ("flops", -1.0), ("flops", math.inf), ("traffic_bytes", -1)]
)
def test_predict_refuses_features_that_cannot_be(feature, value):
    with pytest.raises(InputError, match=f"layer 'conv_1': {feature} is {value!r}"):
        roofline_s(MINE, {"conv_1": dataclasses.replace(Layer(), **{feature: value})})


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, partition.links, partition.latency.roofline\n"
        "print([m for m in ('numba', 'onnx', 'onnxruntime', 'networkx', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
