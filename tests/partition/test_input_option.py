"""``--input FILE.npz``: dimensions and values that only the user knows, through each command that loads a model."""

import json

import numpy as np
import onnx
import pytest

from tests.graph_io.test_inputs import needs_legal_values


@pytest.fixture
def files(tmp_path):
    onnx.save(needs_legal_values(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.linspace(-1, 1, 6, dtype=np.float32), shape=np.array([2, 3]))
    np.savez(tmp_path / "short.npz", x=np.linspace(-1, 1, 6, dtype=np.float32))
    return tmp_path


def test_inspect_split_and_run(command, files):
    done = command("inspect", "m.onnx", "--input", "x.npz", "--json")
    assert (done.code, done.err) == (0, "")
    assert [2, 3] in [tensor["shape"] for tensor in json.loads(done.out)["tensors"]]

    arguments = ("split", "m.onnx", "-b", "wifi", "--cut", "b", "--granularity", "node")
    done = command(*arguments, "--input", "x.npz", "-o", "out", "--verify", "--json")
    assert (done.code, done.err) == (0, "")
    verification = json.loads(done.out)["verification"]
    assert verification["ok"]
    assert verification["depends_on_input"], "the written plan is verified on the given inputs and variations, too"
    done = command("run", "out", "--input", "x.npz", "--verify")
    assert (done.code, done.err) == (0, "")


def test_refusals_name_the_way_out(command, files):
    done = command("inspect", "m.onnx", "--dim", "n=6")
    assert done.code == 2
    assert "pass inputs={...} or --input FILE.npz" in done.err
    done = command("inspect", "m.onnx", "--input", "short.npz")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "input 'shape' is missing; the model's inputs are x, shape" in done.err
    done = command("profile", "m.onnx", "--input", "no.npz")
    assert done.code == 2
    assert "no.npz" in done.err
