"""The exits file: read as it was written, and refused where it is damaged or of another model."""

import json

import numpy as np
import pytest

from partition import InputError, calibrate_exits, given_exits, load_exits
from partition.exits.family import ExitFamily
from tests.partition.exits.families import branchy, rows, single


@pytest.fixture(scope="module")
def table():
    return calibrate_exits(branchy(), rows(6), exits=["early", "late"], codecs=["uint8"])


@pytest.fixture
def content(table):
    return json.loads(json.dumps(table.to_json()))


def test_it_is_read_as_it_was_written(table, tmp_path):
    table.save(tmp_path / "exits.json")
    read = load_exits(tmp_path / "exits.json")
    assert read.to_json() == table.to_json()
    assert read.codecs.keys() == table.codecs.keys()
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(read.exits, table.exits, strict=True))
    assert read.exit("late").confidences.dtype == np.float64
    assert str(read) == str(table)
    assert repr(read) == "<ExitTable of 2 exits, 6 inputs in memory>"
    assert read.inputs == read.labels == ()
    with pytest.raises(InputError, match="exit 'middle' is not in this table; it has early, late"):
        read.exit("middle")


def test_given_accuracies_are_read_too(tmp_path):
    table = given_exits(branchy(), {"early": 0.5, "middle": 1, "late": 0.75})
    table.save(tmp_path / "exits.json")
    assert load_exits(tmp_path / "exits.json").to_json() == table.to_json()


def test_a_table_belongs_to_its_model(table):
    table.check(ExitFamily.parse(branchy(), ["early", "late"]))
    with pytest.raises(InputError, match="the exits file is of early, late, and the exits of 'branchy' are early, mid"):
        table.check(ExitFamily.parse(branchy()))
    other = branchy(outputs=("early", "late"))
    with pytest.raises(InputError, match="the exits file is not of this model: its exit 'early' is output 'early' of"):
        table.check(ExitFamily.parse(other))
    models = {"early": single(0, 4, name="a"), "late": single(0, 8, name="b")}
    with pytest.raises(InputError, match=r"here it is 'logits' of 'a'"):
        table.check(ExitFamily.parse(models))


def test_it_belongs_to_the_shapes_that_were_measured(table):
    assert table.shapes == {"x": (1, 8)}
    table.check_shapes({"x": (1, 8)})
    with pytest.raises(InputError, match=r"measured on inputs 'x' of shape \[1, 8\], and the policy is for \[4, 8\]"):
        table.check_shapes({"x": (4, 8)})
    assert given_exits(single(0, 4, name="a"), {"logits": 1, "r": 1}, exits=["r", "logits"]).shapes == {}


def put(*path, value):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def drop(*path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("format", value="dnn-partition/codecs"), "has the format 'dnn-partition/codecs'"),
        (put("version", value=2), "has version 2"),
        (put("confidence", value="entropy"), "'confidence' is 'entropy', expected one of softmax, max"),
        (put("data", value=None), "'n_inputs' is 6"),
        (put("data", "kind", value="random"), "'data.kind' is 'random'"),
        (put("n_inputs", value=5), "'n_inputs' is 5, expected the number of inputs of the data"),
        (put("exits", value=[]), r"'exits' is \[\], expected 1 to 8 exits"),
        (put("exits", 0, "name", value="late"), r"expected 1 to 8 exits, each name once"),
        (put("exits", 0, "source", value="given"), r"'exits\[0\].source' is 'given', expected 'measured' on data"),
        (put("exits", 0, "accuracy", value=1.5), r"'exits\[0\].accuracy' is 1.5, expected 0 to 1"),
        (put("exits", 0, "accuracy", value=0.123), r"expected the mean of the scores"),
        (put("exits", 0, "scores", value=None), r"'exits\[0\].scores' is 'None', expected a list of 6 numbers"),
        (put("exits", 0, "scores", 0, value=2), r"expected a list of 6 numbers from 0 to 1"),
        (put("exits", 0, "scores", 0, value="1"), r"expected a list of 6 numbers from 0 to 1"),
        (put("exits", 0, "scores", 0, value=True), r"expected a list of 6 numbers from 0 to 1"),
        (put("exits", 1, "confidences", 0, value=10**400), "a number that is too large"),
        (put("exits", 1, "confidences", value=[0.5]), "expected a list of 6 finite numbers"),
        (drop("exits", 1, "confidences"), r"'exits\[1\].confidences' is missing"),
        (put("exits", 0, "colour", value=1), r"unknown field 'exits\[0\].colour'"),
        (
            put("codecs", 0, "final", value="nothing"),
            r"'codecs\[0\].device_exits' is \[\], expected exits of this file",
        ),
        (put("codecs", 0, "device_exits", value=["late"]), "expected exits of this file in their order"),
        (put("codecs", 0, "table", "metric", value=3), r"'codecs\[0\].table.metric' is 3"),
        (put("codecs", 0, "table", "format", value="x"), "has the format 'x'"),
        (put("codecs", 0, "table", value=[]), r"'codecs\[0\].table' is a JSON list"),
        (put("surplus", value=1), "unknown field 'surplus'"),
        (put("shapes", value=[8]), r"'shapes' is a JSON list"),
        (put("shapes", "x", value=[1, -8]), r"'shapes.x' is \[1, -8\], expected a list of whole numbers"),
        (drop("shapes"), "'shapes' is missing"),
    ],
)
def test_damaged_files(content, change, reason, tmp_path):
    change(content)
    (tmp_path / "exits.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=reason):
        load_exits(tmp_path / "exits.json")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="cannot read the exits file"):
        load_exits(tmp_path / "nowhere.json")
    (tmp_path / "cut.json").write_text('{"format": ')
    with pytest.raises(InputError, match="is not JSON"):
        load_exits(tmp_path / "cut.json")
    with pytest.raises(InputError, match="cannot write"):
        given_exits(single(0, 4, name="a"), {"logits": 1, "r": 1}, exits=["r", "logits"]).save(tmp_path / "no" / "f")
