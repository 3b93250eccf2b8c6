"""The command line when native code crashes below it: one line, exit code 2, and nothing left among temporary files."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from onnx import helper

from partition.command import FORKS
from tests.models import model, node
from tests.partition.conftest import ROOT, Finished, command_environment, entries
from tests.partition.test_cli import check_refused

pytestmark = pytest.mark.skipif(not FORKS, reason="the command runs in one process there")

# What stands in for the runtime: it says that it was loaded, leaves a temporary file, and does what the test asks.
FAKE = """
import os, signal, tempfile, time
if os.environ.get("FAKE_RUNTIME"):
    tempfile.mkstemp(prefix="left-behind-")
    exec(os.environ["FAKE_RUNTIME"])
"""


@pytest.fixture
def start(small_files, tmp_path):
    """Start ``dnn-partition inspect`` with a runtime that misbehaves when it is loaded."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "onnxruntime.py").write_text(FAKE, encoding="utf-8")
    (tmp_path / "temporary").mkdir()

    def run(what, *, file="chain.onnx"):
        paths = os.pathsep.join([str(tmp_path / "fake"), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-m", "partition", "inspect", file],
            cwd=small_files,
            env=command_environment(PYTHONPATH=paths, TMPDIR=str(tmp_path / "temporary"), FAKE_RUNTIME=what),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    return run


def finish(process):
    out, err = process.communicate(timeout=60)
    return Finished(process.returncode, out, err)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("SIGSEGV", "onnx or onnxruntime crashed on 'inspect chain.onnx' (segmentation fault)"),
        ("SIGABRT", "onnx or onnxruntime crashed on 'inspect chain.onnx' (it gave up"),
        ("SIGKILL", "'inspect chain.onnx' was killed from outside, as the system does when memory runs out"),
    ],
)
def test_a_crash_ends_in_one_line(start, tmp_path, number, said):
    done = finish(start(f"os.kill(os.getpid(), signal.{number})"))
    check_refused(done, said)
    assert entries(tmp_path / "temporary") == []


def test_a_crash_that_is_real(start, tmp_path):
    """Read where no memory is: the system itself ends the process, no signal that is sent."""
    done = finish(start("import ctypes; ctypes.string_at(1)"))
    check_refused(done, "crashed on 'inspect chain.onnx' (segmentation fault)")
    assert entries(tmp_path / "temporary") == []


def test_memory_that_runs_out_is_one_line(start):
    check_refused(finish(start("raise MemoryError")), "out of memory")


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_loading(tmp_path):
    return any((tmp_path / "temporary").rglob("left-behind-*"))


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, -signal.SIGTERM, ""), (signal.SIGINT, 130, "dnn-partition: error: interrupted\n")],
)
@pytest.mark.parametrize("whom", ["the command", "its group"])
def test_asked_to_end_it_ends_in_that_way(start, tmp_path, number, code, said, whom):
    process = start("time.sleep(60)")
    wait_for(lambda: is_loading(tmp_path))
    if whom == "the command":
        process.send_signal(number)
    else:
        child = children(process.pid)[0]
        # As a terminal does it: both get the signal, and the parent passes it on once more.
        os.kill(child, number)
        process.send_signal(number)
    assert finish(process) == Finished(code, "", said)
    assert entries(tmp_path / "temporary") == []


def children(process):
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid="], capture_output=True, encoding="utf-8", check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return [int(child) for parent, child in pairs if int(parent) == process]


def test_killed_it_leaves_no_child(start, tmp_path):
    process = start("time.sleep(60)")
    wait_for(lambda: is_loading(tmp_path))
    (child,) = children(process.pid)
    process.kill()
    # Both ends of the child's output close only when it is gone.
    assert finish(process).code == -signal.SIGKILL

    def gone():
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{child}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"

    wait_for(gone)


def call_of_a_function_without_outputs():
    base = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    square = helper.make_function("local", "Square", ["u", "v"], [], [node("Mul", "u u", "v")], base)
    call = helper.make_node("Square", ["w"], ["b"], domain="local")
    weights = {"w": np.ones(3, np.float32)}
    return model([call, node("Add", "x b", "y")], {"x": (2, 3)}, ["y"], weights, functions=[square], opset_imports=base)


def test_a_file_that_ends_the_runtime_ends_in_one_line(command, tmp_path):
    """Found by mutation. It crashes onnx 1.23 or onnxruntime 1.31; other releases may well refuse it."""
    (tmp_path / "m.onnx").write_bytes(call_of_a_function_without_outputs().SerializeToString())
    done = command("inspect", "m.onnx")
    assert (done.code, done.out) == (2, "")
    # A library may print which of its assertions failed before it aborts.
    assert done.err.splitlines()[-1].startswith("dnn-partition: error: "), done.err
    assert "Traceback" not in done.err
