"""The command ``calibrate-codecs``, as typer calls it."""

import json

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner

from partition import InputError, partition
from partition.codecs_command import calibrate_codecs
from tests.models import relu_chain


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(relu_chain(), tmp_path / "chain.onnx")
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "one.npz", x=np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32))
    app = typer.Typer()
    app.command()(calibrate_codecs)

    def call(*arguments):
        return CliRunner().invoke(app, ["chain.onnx", *arguments], catch_exceptions=True)

    return call


def test_it_writes_a_file_that_planning_reads(run, tmp_path):
    done = run("--data", "data", "-o", "codecs.json", "--granularity", "node", "--codec", "uint8")
    assert done.exit_code == 0, done.output
    assert "3 inputs from" in done.output
    content = json.loads((tmp_path / "codecs.json").read_text())
    assert content["data"]["n_inputs"] == 3
    plan = partition(tmp_path / "chain.onnx", "4Mbps", codecs="codecs.json", granularity="node")
    assert plan.loss is not None


def test_random_inputs_are_told(run, tmp_path):
    done = run("--random", "-o", "codecs.json", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"]["kind"] == "random"
    assert "random inputs" in json.loads((tmp_path / "codecs.json").read_text())["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give --data DIR"),
        (("--data", "data", "--random"), "and not both"),
        (("--random", "--inputs", "0"), "--inputs is 0"),
        (("--random", "--all", "--tensor", "t0"), "leave one of them out"),
        (("--random", "--metric", "nice"), "metric 'nice' is unknown"),
        (("--data", "nowhere"), "cannot be read"),
    ],
)
def test_bad_arguments(run, arguments, reason):
    done = run(*arguments, "-o", "codecs.json")
    assert isinstance(done.exception, InputError)
    assert reason in str(done.exception)
