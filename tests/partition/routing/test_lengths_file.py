"""The lengths file: written and read back, layers that add up, timings of one length, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from partition import InputError
from partition.latency.timings import Timings
from partition.routing.length_models import LengthModel
from partition.routing.length_records import ConversionLengths
from partition.routing.lengths_file import LengthTimings, load_lengths
from tests.partition.routing.length_files import lengths_for, lstm_net


@pytest.fixture(scope="module")
def timings():
    return lengths_for(lstm_net(), "bench", most=64)


def test_it_is_read_back_as_it_was(timings, tmp_path):
    path = tmp_path / "bench.json"
    timings.save(path)
    again = load_lengths(path)
    assert again == timings
    assert "bench" in repr(again)
    assert "seq = 1 to 64" in str(again)
    with pytest.raises(InputError, match="exists; choose another"):
        timings.save(path)
    timings.save(path, overwrite=True)


def test_layers_add_up_to_the_run(timings):
    lengths = np.arange(1, 65)
    seconds = timings.layer_seconds(lengths)
    assert seconds.shape == (64, len(timings.layers))
    assert seconds.sum(axis=1) == pytest.approx(timings.latency.over(lengths))
    assert seconds.min() >= 0


def test_timings_of_one_length_are_a_timings_file(timings):
    one = timings.at(10)
    assert Timings.from_json(one.to_json(), "one") == one
    assert one.model.input_shapes == {"words": (10, 1, 6)}
    assert one.whole_model.latency_s == timings.latency.at(10)
    with pytest.raises(InputError, match="outside of the fitted range 1 to 64"):
        timings.at(65)
    assert timings.at(65, extrapolate=True).whole_model.latency_s == timings.latency.extended(65)


def test_a_slower_machine(timings):
    slow = timings.slowed(8, name="slow")
    assert LengthTimings.from_json(slow.to_json(), "slow") == slow
    assert slow.name == "slow"
    assert slow.layer_seconds([1, 64]) == pytest.approx(8 * timings.layer_seconds([1, 64]))
    assert slow.at(7).whole_model.latency_s == pytest.approx(8 * timings.at(7).whole_model.latency_s)
    for factor in (0, -1, float("inf"), float("nan"), "8", True):
        with pytest.raises(InputError, match="give a finite number above 0"):
            timings.slowed(factor, name="slow")


def test_conversions_travel_along(timings):
    curve = LengthModel((1e-6, 1e-7, 0.0), 1, 64)
    more = replace(timings, conversions=(ConversionLengths("joined0", curve, curve),))
    assert LengthTimings.from_json(more.to_json(), "more") == more
    assert more.at(11).conversions[0].encode_s == curve.at(11)


def changed(content, path, value):
    content = json.loads(json.dumps(content))
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), "dnn-partition/timings", "expected 'dnn-partition/lengths'"),
        (("version",), 2, "this release reads version 1"),
        (("dim",), "", "a text that is not empty"),
        (("dim",), "batch", "a list of whole numbers and 'batch'"),
        (("date",), "yesterday", "a date and time with its zone"),
        (("model", "structure_sha256"), "abc", "64 hexadecimal digits"),
        (("model", "input_dims"), {"words": [3, 1, 6]}, "an input with 'seq' in its shape"),
        (("runtime", "threads"), 0, "a whole number, 1 or more"),
        (("latency", "coefficients"), [0.0, -1.0, 0.0], "a curve that is not below 0"),
        (("latency", "coefficients"), [0.0, 0.0, 0.0], "a curve that is above 0 s at its least length, 1"),
        (("latency", "coefficients"), [-1e-4, 1e-4, 0.0], "a curve that is above 0 s at its least length, 1"),
        (("samples", 0, "times_s"), [], "a list of seconds above 0"),
        (("samples", 0, "median_s"), 1.0, "the median of the field 'times_s'"),
        (("samples", 1, "length"), 1, "a length that no other sample has"),
        (("layers",), [], "at least one layer"),
        (("layers", 0, "latency", "most"), 63, "the range of the whole run"),
        (("layers", 1, "id"), "lstm0", "an id that no other layer has"),
        (("cpu_share",), -1, "0 or more"),
        (("surprise",), 1, "unknown field 'surprise'"),
    ],
)
def test_what_is_refused(timings, path, value, said):
    with pytest.raises(InputError, match=said):
        LengthTimings.from_json(changed(timings.to_json(), path, value), "bench.json")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="cannot read the lengths file"):
        load_lengths(tmp_path / "no-such-file.json")
