"""What the tests of this package share: model files that are written once, and the command line as a process."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

import graph_io
from partition.command import FORKS
from tests.models import model, node, relu_chain, value
from tests.partition.warm_process import WarmProcesses
from tests.scale import FULL

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def light_file(tmp_path_factory):
    """Path of a small light model's file by its name, written once a session."""
    folder = tmp_path_factory.mktemp("light")

    def write(name):
        path = folder / f"{name}.onnx"
        if not path.exists():
            onnx.save(graph_io.light_model(name), path)
        return path

    return write


@pytest.fixture(scope="session")
def small_files(tmp_path_factory):
    """Return a folder of files for the command line: good models, and what is wrong in one way each."""
    folder = tmp_path_factory.mktemp("files")
    whole = relu_chain()
    onnx.save(whole, folder / "chain.onnx")
    onnx.save(
        model([node("Tanh", "x", "y")], {"x": ("batch", "seq")}, [value("y", ["batch", "seq"])]), folder / "open.onnx"
    )
    unheard = model([node("Unheard", "x", "y")], {"x": (1, 4)}, [value("y", [1, 4])])
    onnx.save(unheard, folder / "unheard.onnx")
    onnx.save(model([], {"x": (1, 4)}, [value("x", [1, 4])]), folder / "no-node.onnx")
    (folder / "short.onnx").write_bytes(whole.SerializeToString()[:60])
    (folder / "text.onnx").write_text("not a model\n", encoding="utf-8")
    (folder / "empty.onnx").touch()
    return folder


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def warm_processes():
    """Return what forks processes that have loaded the command line, or None: the full run starts each from nothing."""
    if FULL or not FORKS:
        yield None
        return
    with contextlib.closing(WarmProcesses(ROOT, command_environment())) as processes:
        yield processes


@pytest.fixture
def command(tmp_path, warm_processes):
    """Run ``dnn-partition`` as a process of its own, in an empty folder."""

    def run(*arguments, cwd=None, first=""):
        texts = [str(argument) for argument in arguments]
        if warm_processes is not None:
            return Finished(
                *warm_processes.run(
                    texts, cwd=cwd or tmp_path, environment=command_environment(), first=first, timeout_s=300
                )
            )
        start = ["-c", f"{first}\nimport runpy; runpy.run_module('partition', run_name='__main__', alter_sys=True)"]
        done = subprocess.run(
            [sys.executable, *(start if first else ["-m", "partition"]), *texts],
            cwd=cwd or tmp_path,
            env=command_environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def command_environment(**more):
    """Return an environment in which a process finds this working tree and warns of nothing that is not ours."""
    clean = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")}
    return clean | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | more


def entries(folder):
    """Return the names in a folder, hidden ones included."""
    return sorted(path.name for path in Path(folder).iterdir())
