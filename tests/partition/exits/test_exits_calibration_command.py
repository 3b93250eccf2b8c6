"""The command ``calibrate-exits``, as typer calls it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner

from partition import InputError, load_exits
from partition.exits_calibration_command import calibrate_exits
from tests.partition.exits.families import branchy, rows, single


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(branchy(), tmp_path / "branchy.onnx")
    onnx.save(single(0, 4, name="a"), tmp_path / "small.onnx")
    onnx.save(single(1, 16, name="b"), tmp_path / "large.onnx")
    data = rows(6)
    (tmp_path / "data").mkdir()
    labels = np.array([label for _, label in data])
    np.savez(tmp_path / "data" / "one.npz", x=np.concatenate([inputs["x"] for inputs, _ in data]), label=labels)
    app = typer.Typer()
    app.command()(calibrate_exits)

    def call(*arguments):
        return CliRunner().invoke(app, [*arguments], catch_exceptions=True)

    return call


def test_it_writes_a_file(run):
    done = run("branchy.onnx", "--data", "data", "-o", "exits.json", "--exit", "early", "--exit", "late")
    assert done.exit_code == 0, done.output
    assert "2 exits on 6 inputs from" in done.output
    table = load_exits("exits.json")
    assert [one.name for one in table.exits] == ["early", "late"]
    assert not table.codecs
    again = run("branchy.onnx", "--data", "data", "-o", "exits.json")
    assert "exits file 'exits.json' exists" in str(again.exception)
    options = ("--force", "--json", "--codec", "uint8", "--inputs", "2", "--confidence", "max")
    forced = run("branchy.onnx", "--data", "data", "-o", "exits.json", *options)
    assert forced.exit_code == 0, forced.output
    assert json.loads(forced.stdout) == json.loads(Path("exits.json").read_text())
    assert len(load_exits("exits.json").codecs) == 7
    assert "7 ways to use them" in str(load_exits("exits.json"))


def test_several_models(run):
    done = run("small.onnx", "large.onnx", "--data", "data", "-o", "exits.json", "--codecs", "--exit", "small=logits")
    assert done.exit_code == 0, done.output
    table = load_exits("exits.json")
    assert [(one.name, one.output) for one in table.exits] == [("small", "logits"), ("large", "logits")]
    assert len(table.codecs) == 3


def test_accuracies_that_are_known(run):
    known = ("--accuracy", "early=0.5", "--accuracy", "middle=0.75", "--accuracy", "late=1")
    done = run("branchy.onnx", *known, "-o", "exits.json")
    assert done.exit_code == 0, done.output
    assert [one.accuracy for one in load_exits("exits.json").exits] == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give --data DIR with inputs and labels, or --accuracy of every exit"),
        (("--data", "data", "--accuracy", "early=1"), "and not both"),
        (("--accuracy", "early=1", "--codecs"), "leave them out beside --accuracy"),
        (("--accuracy", "early=much"), "--accuracy early=much: 'much' is not a number"),
        (("--accuracy", "early"), "write it as NAME=VALUE"),
        (("--data", "data", "--inputs", "0"), "--inputs is 0"),
        (("--data", "data", "--exit", "nothing"), "exit 'nothing' is not an output"),
        (("--data", "data", "--labels", "digit"), "the labels 'digit' are missing"),
        (("--data", "data", "--score", "nice"), "score 'nice' is unknown"),
        (("--data", "nowhere"), "cannot be read"),
    ],
)
def test_bad_arguments(run, tmp_path, arguments, reason):
    done = run("branchy.onnx", *arguments, "-o", "exits.json")
    assert isinstance(done.exception, InputError)
    assert reason in str(done.exception)
    assert not (tmp_path / "exits.json").exists()
