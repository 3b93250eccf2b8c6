"""Timings files: strict reading, the round trip, and whether they fit a model. Also JSON files in general."""

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_io import load_graph
from partition import partition
from partition.errors import InputError
from partition.files import read_json, write_json
from partition.latency.timings import LayerTiming, Timings, load_timings
from tests.models import relu_chain
from tests.partition.costs import timings_of

SHA = "0123456789abcdef" * 4


def timings_object():
    return {
        "format": "dnn-partition/timings",
        "version": 1,
        "name": "bench",
        "model": {
            "name": "tiny",
            "structure_sha256": SHA,
            "granularity": "layer",
            "input_shapes": {"x": [1, 4], "scale": []},
        },
        "hardware": {"processor": "some", "cores": 4, "clock_hz": 2.5e9, "laptop": True, "note": None},
        "runtime": {
            "name": "onnxruntime",
            "version": "1.20.0",
            "provider": "CPUExecutionProvider",
            "threads": 1,
            "optimization": "extended",
        },
        "date": "2025-01-31T12:00:00+00:00",
        "whole_model": {"latency_s": 0.01, "spread_s": 0.001, "runs": 30, "cpu_s": 0.0099},
        "layers": [
            {"id": "a", "nodes": ["conv", "relu"], "latency_s": 0.004, "spread_s": 0.0},
            {"id": "b", "nodes": ["gemm"], "latency_s": 0.006, "spread_s": 0.0001},
            {"id": "c", "nodes": ["identity"], "latency_s": 0, "spread_s": 0},
        ],
        "shared_kernels": [{"kernel": "fused", "layers": ["a", "b"]}],
        "conversions": [{"tensor": "t", "encode_s": 0.001, "decode_s": 0.0}],
        "notes": ["measured on a quiet machine"],
    }


def changed(path, value):
    """Return the object with one field replaced; `path` is dotted, numbers are places in lists."""
    obj = timings_object()
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = obj
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return obj


def test_round_trip(tmp_path):
    timings = Timings.from_json(timings_object(), "t.json")
    assert timings.to_json() == timings_object()
    write_json(tmp_path / "t.json", timings.to_json())
    assert load_timings(tmp_path / "t.json") == timings
    assert load_timings(str(tmp_path / "t.json")) == timings
    assert copy.deepcopy(timings) == timings
    assert hash(timings) == hash(load_timings(tmp_path / "t.json"))


@given(
    st.dictionaries(
        st.text(min_size=1).filter(str.strip), st.floats(min_value=0, max_value=1e300, allow_nan=False), min_size=1
    ).filter(lambda latencies: sum(latencies.values()) > 0)
)
def test_round_trip_of_any_layers(latencies):
    obj = timings_object() | {"shared_kernels": []}
    obj["layers"] = [
        {"id": name, "nodes": [name], "latency_s": value, "spread_s": 0.0} for name, value in latencies.items()
    ]
    obj["whole_model"]["latency_s"] = sum(latencies.values())
    timings = Timings.from_json(json.loads(json.dumps(obj)), "t.json")
    assert {layer.id: layer.latency_s for layer in timings.layers} == latencies
    assert timings.to_json() == obj


def test_repr_and_text():
    timings = Timings.from_json(timings_object(), "t.json")
    assert repr(timings) == "<Timings of 'tiny' on 'bench', 3 layers>"
    assert str(timings).startswith("tiny on bench: 10 ms (spread 1 ms, 30 runs), 3 layers, onnxruntime 1.20.0")
    assert "\n" not in str(timings)


def test_fields():
    timings = Timings.from_json(timings_object(), "t.json")
    assert timings.layers[1] == LayerTiming("b", ("gemm",), 0.006, 0.0001)
    assert timings.whole_model.runs == 30
    assert timings.model.input_shapes == {"x": (1, 4), "scale": ()}
    assert timings.shared_kernels[0].layers == ("a", "b")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("format", "other", "'other', expected 'dnn-partition/timings'"),
        ("format", ..., "has the format None"),
        ("version", 7, "has version 7; this release reads version 1"),
        ("version", True, "has version True"),
        ("name", "", "the field 'name' is ''"),
        ("model", [], "the field 'model' is a JSON list"),
        ("model.granularity", ..., "the field 'model.granularity' is missing"),
        ("model.structure_sha256", "ABC", "the field 'model.structure_sha256' is 'ABC', expected 64"),
        ("model.colour", 1, "unknown field 'model.colour'"),
        ("model.input_shapes", ..., "the field 'model.input_shapes' is missing"),
        ("model.input_shapes", [[1, 4]], "the field 'model.input_shapes' is a JSON list"),
        ("model.input_shapes.x", [1, "seq"], "the field 'model.input_shapes.x' is .* expected a list of whole numbers"),
        ("hardware", None, "the field 'hardware' is None"),
        ("hardware.cores", [4], "the field 'hardware.cores'"),
        ("hardware.clock_hz", float("inf"), "the field 'hardware.clock_hz' is inf"),
        ("runtime.version", None, "the field 'runtime.version' is None"),
        ("runtime.threads", 0, "the field 'runtime.threads' is 0, expected a whole number"),
        ("runtime.threads", 1.0, "the field 'runtime.threads' is 1.0"),
        ("runtime.colour", 1, "unknown field 'runtime.colour'"),
        ("date", "2025-01-31", "the field 'date' is '2025-01-31'"),
        ("date", "2025-01-31T12:00:00", "the field 'date'"),
        ("date", "yesterday", "the field 'date' is 'yesterday'"),
        ("whole_model.latency_s", 0, "the field 'whole_model.latency_s' is 0"),
        ("whole_model.spread_s", -1, "the field 'whole_model.spread_s' is -1"),
        ("whole_model.runs", True, "the field 'whole_model.runs' is True"),
        ("whole_model.cpu_s", float("nan"), "the field 'whole_model.cpu_s' is nan"),
        ("whole_model.colour", 1, "unknown field 'whole_model.colour'"),
        ("layers", {}, "the field 'layers' is {}"),
        ("layers.0", 3, r"the field 'layers\[0\]' is a JSON number"),
        ("layers.0.latency_s", -1e-9, r"the field 'layers\[0\].latency_s' is -1e-09"),
        ("layers.0.latency_s", "1", r"the field 'layers\[0\].latency_s' is '1'"),
        ("layers.0.latency_s", 10**400, r"the field 'layers\[0\].latency_s' is 'a number that is too large'"),
        ("layers.1.id", "a", r"the field 'layers\[1\].id' is 'a', expected an id that no other layer has"),
        ("layers.0.nodes", ..., r"the field 'layers\[0\].nodes' is missing"),
        ("layers.0.nodes", [], r"the field 'layers\[0\].nodes' is \[\], expected one name or more"),
        ("layers.0.nodes", ["conv", "conv"], r"the field 'layers\[0\].nodes' is"),
        ("layers.1.nodes", ["relu"], r"the field 'layers\[1\].nodes' is \['relu'\]"),
        ("layers.0.colour", 1, r"unknown field 'layers\[0\].colour'"),
        ("shared_kernels.0.layers", ["a", "z"], r"the field 'shared_kernels\[0\].layers' is \['a', 'z'\]"),
        ("conversions.0.tensor", "", r"the field 'conversions\[0\].tensor'"),
        ("conversions.0.encode_s", -1.0, r"the field 'conversions\[0\].encode_s' is -1.0"),
        ("conversions.0.decode_s", ..., r"the field 'conversions\[0\].decode_s' is missing"),
        ("shared_kernels.0.layers", [], r"the field 'shared_kernels\[0\].layers'"),
        ("shared_kernels.0.colour", 1, r"unknown field 'shared_kernels\[0\].colour'"),
        ("notes", "text", "the field 'notes' is 'text'"),
        ("notes", ..., "the field 'notes' is missing"),
        ("colour", 1, "unknown field 'colour'"),
    ],
)
def test_refused_with_the_name_of_file_and_field(path, value, named):
    with pytest.raises(InputError, match=named) as caught:
        Timings.from_json(changed(path, value), "t.json")
    assert str(caught.value).startswith("timings file 't.json'")


def test_layers_that_do_not_add_up_to_the_whole_are_refused():
    assert Timings.from_json(changed("whole_model.latency_s", 0.01 * (1 + 1e-7)), "t.json")
    assert Timings.from_json(changed("layers.2.latency_s", 1e-9), "t.json")
    with pytest.raises(InputError, match=r"'whole_model.latency_s' is 0.01, expected the sum of .* 0\.01\d+"):
        Timings.from_json(changed("layers.0.latency_s", 0.0040001), "t.json")
    with pytest.raises(InputError, match=r"'whole_model.latency_s' is 0.01, expected the sum of .* latencies, 0,"):
        Timings.from_json(timings_object() | {"layers": [], "shared_kernels": []}, "t.json")


def test_save(tmp_path):
    timings = Timings.from_json(timings_object(), "t.json")
    path = tmp_path / "t.json"
    timings.save(path)
    assert load_timings(path) == timings
    renamed = dataclasses.replace(timings, name="other")
    with pytest.raises(InputError, match=r"timings file '.*t\.json' exists; .* overwrite=True"):
        renamed.save(path)
    assert load_timings(path) == timings
    renamed.save(str(path), overwrite=True)
    assert load_timings(path) == renamed


def test_save_writes_nothing_that_could_not_be_read(tmp_path):
    timings = dataclasses.replace(Timings.from_json(timings_object(), "t.json"), name=" ")
    with pytest.raises(InputError, match="the field 'name' is ' '"):
        timings.save(tmp_path / "t.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff{}", "is not UTF-8 text"),
        (b"[]", "holds a JSON list, expected one object"),
        (b"null", "holds a JSON null"),
        (b"true", "holds a JSON boolean"),
        (b'"x"', "holds a JSON string"),
        (b'{"a": NaN}', "holds the literal NaN"),
        (b'{"a": [-Infinity]}', "holds the literal -Infinity"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "gives the field 'c' more than once"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_read_json_refuses(tmp_path, content, problem):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_json(path, "plan file")
    assert f"plan file {str(path)!r}" in str(caught.value)


@pytest.mark.parametrize("name", ["missing.json", "no/such/folder.json", ".", "null\0.json"])
def test_read_json_of_what_is_no_file(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="cannot read the timings file") as caught:
        load_timings(path)
    assert repr(str(path)) in str(caught.value)


def test_write_json_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    write_json(path, {"b": [1, "ü", None, 0.1]})
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert '\n  "b": [' in path.read_text(encoding="utf-8")
    assert read_json(path, "file") == {"b": [1, "ü", None, 0.1]}
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_write_json_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"cannot write '.*x\.json'.*finite"):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("name", ["no/such/x.json", "folder", "file/x.json", "null\0.json"])
def test_write_json_names_the_path_that_cannot_be_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(InputError, match="cannot write") as caught:
        write_json(path, {})
    assert repr(str(path)) in str(caught.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


def test_noisy_timings_are_assumptions_of_a_plan():
    graph = load_graph(relu_chain())
    quiet = timings_of(graph, 1e-3)
    for share, said in ((0.1, []), (0.3, ["device: noisy: the middle half of the runs spans 30% of their median"])):
        whole = dataclasses.replace(quiet.whole_model, spread_s=share * quiet.whole_model.latency_s)
        plan = partition(graph, "wifi", device=dataclasses.replace(quiet, whole_model=whole), server=quiet)
        assert [one.partition(",")[0] for one in plan.assumptions if "noisy" in one] == said
