"""What waits for ever to be read is refused: a pipe, a socket or a device in place of any file that is read."""

import os
import shutil
import socket

import numpy as np
import onnx
import pytest

import graph_io
from partition import InputError, load_machine, load_parts, load_plan, partition, split_model
from partition.files import open_file
from partition.runtime.files import read_inputs
from partition.saved import load_saved
from tests.models import relu_chain

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
SAID = "it is a pipe, a socket or a device, and not a file"


def put(path, kind):
    """Put something special in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(path.parent)  # a socket's path may only be so long
            made.bind(path.name)
    else:
        path.symlink_to("/dev/zero")


@pytest.fixture(params=["pipe", "socket", "device"])
def kind(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return request.param


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    partition(relu_chain(), "wifi", cut=["t0"]).save(folder / "plan")
    split_model(relu_chain(), ["t0"]).save(folder / "parts")
    return folder


@pytest.mark.parametrize("folder", ["plan", "parts"])
def test_a_manifest(saved, tmp_path, kind, folder):
    shutil.copytree(saved / folder, tmp_path / "out")
    put(tmp_path / "out" / f"{folder}.json", kind)
    for load in ({"plan": load_plan, "parts": load_parts}[folder], load_saved):
        with pytest.raises(InputError, match=f"{folder}.json': {SAID}; check the path"):
            load(tmp_path / "out")
    with pytest.raises(InputError, match=r"holds '.*', which no plan wrote"):
        partition(relu_chain(), "wifi").save(tmp_path / "out", overwrite=True)


def test_a_part(saved, tmp_path, kind):
    shutil.copytree(saved / "plan", tmp_path / "out")
    plan = load_plan(tmp_path / "out")
    put(tmp_path / "out" / "part-1.server.onnx", kind)
    again = tmp_path / "again"
    for use in (lambda: load_plan(tmp_path / "out"), plan.session, lambda: plan.save(again)):
        with pytest.raises(InputError, match=rf"part '.*part-1\.server\.onnx' cannot be read: {SAID}; save the plan"):
            use()
    assert not again.exists()


def test_weights_of_a_part(tmp_path, kind):
    whole = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1,64] x) => (float[1,64] y) {\n'
        "t = MatMul(x, w)\ny = Tanh(t)\n}"
    )
    weights = onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")
    whole.graph.initializer.append(weights)
    (tmp_path / "model").mkdir()
    onnx.save(whole, tmp_path / "model" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    plan = partition(tmp_path / "model" / "m.onnx", "wifi").save(tmp_path / "out")
    (name,) = {weights.file for part in plan.parts for weights in part.weights_files}
    put(tmp_path / "out" / name, kind)
    # The device is a link, and links may not lead out of the folder.
    said = (
        "lie outside of the plan's own folder" if kind == "device" else f"cannot be read: {SAID}; save the plan again"
    )
    with pytest.raises(InputError, match=f"weights '.*{name}' .*{said}"):
        load_plan(tmp_path / "out")


def test_inputs_machines_and_models(tmp_path, kind):
    put(tmp_path / "special", kind)
    with pytest.raises(InputError, match=f"input file '.*special' cannot be read: {SAID}"):
        read_inputs(tmp_path / "special")
    with pytest.raises(InputError, match=f"machine or timings file '.*special': {SAID}"):
        load_machine(tmp_path / "special")
    with pytest.raises(graph_io.ModelError, match=f"model '.*special' cannot be read: {SAID}; check the path"):
        graph_io.load_graph(tmp_path / "special")


def test_a_file_is_opened_and_a_folder_says_what_it_is(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with open_file(tmp_path / "file") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError, match="Is a directory"):
        open_file(tmp_path)
