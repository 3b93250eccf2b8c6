"""The thin install of a device: saved plans run where nothing but NumPy and onnxruntime is installed."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from partition import load_plan, partition
from tests.models import model, node, transformer_block, value
from tests.partition.conftest import ROOT
from tests.partition.exits.families import branchy
from tests.partition.exits.policies import deciding_policy
from tests.scale import scaled

INSTALLED = ("numpy", "onnxruntime")
OURS = ("graph_io", "partition", "solvers")

RUN = """
import json, sys
import numpy
from partition import InputError, Link, ModelError, SolverError, load_plan, __version__
plan = load_plan(sys.argv[1])
with plan.session(threads=1) as session:
    outputs = session.run(dict(numpy.load(sys.argv[2])))
from partition.runtime.files import default_inputs, read_inputs, write_outputs
made = default_inputs(plan)
from pathlib import Path
write_outputs(Path(sys.argv[3]), outputs)
site = [name for name, module in sys.modules.items() if "site" in (getattr(module, "__file__", "") or "")]
third = sorted({name.partition(".")[0] for name in site})
made = {name: list(array.shape) for name, array in made.items()}
print(json.dumps({"text": str(plan), "repr": repr(plan), "third": third, "made": made}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Make a folder in which only NumPy, onnxruntime and our own packages can be found, as ``pip --no-deps`` would."""
    folder = tmp_path_factory.mktemp("thin") / "site"
    folder.mkdir()
    for name in INSTALLED:
        home = Path(importlib.util.find_spec(name).submodule_search_locations[0])
        (folder / name).symlink_to(home)
        libraries = home.with_name(f"{name}.libs")
        if libraries.is_dir():
            (folder / libraries.name).symlink_to(libraries)
    for name in OURS:
        (folder / name).symlink_to(ROOT / name)
    return folder


def thin(site, code, *arguments):
    """Run code in an interpreter without any other package."""
    start = f"import sys; sys.path.insert(0, {str(site)!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", start + code, *map(str, arguments)],
        env={name: text for name, text in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder with a plan of two parts, and inputs for it."""
    folder = tmp_path_factory.mktemp("saved")
    graph_plan = partition(transformer_block(), "wifi", granularity="node", cut=transformer_cut())
    plan = graph_plan.save(folder / "out")
    inputs = {
        one.name: np.random.default_rng(0).standard_normal(one.shape).astype(one.dtype) for one in plan.model.inputs
    }
    np.savez(folder / "inputs.npz", **inputs)
    return folder


def transformer_cut():
    from graph_io import load_graph, single_tensor_cuts

    cuts = single_tensor_cuts(load_graph(transformer_block(), granularity="node"))
    return [cuts[len(cuts) // 2]]


def test_a_saved_plan_runs_with_numpy_and_onnxruntime_alone(site, saved, tmp_path):
    done = thin(site, RUN, saved / "out", saved / "inputs.npz", tmp_path / "y.npz")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["third"]) <= {*INSTALLED, *OURS}
    plan = load_plan(saved / "out")
    with plan.session(threads=1) as session, np.load(saved / "inputs.npz") as inputs:
        expected = session.run(dict(inputs))
    assert len(plan.parts) == 2
    with np.load(tmp_path / "y.npz") as outputs:
        assert set(outputs.files) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(outputs[name], array)
    assert said["repr"] == repr(plan)
    assert said["made"] == {one.name: list(one.shape) for one in plan.model.inputs}
    # The same lines as with rich, without the tables.
    lines = said["text"].splitlines()
    assert lines[:4] == str(plan).splitlines()[:4]
    assert lines[4].startswith(f"0 device: {plan.parts[0].file}, ")
    assert lines[5].startswith(f"  uplink: {plan.cut[0]}, ")


def test_the_example_of_the_page_runs_there(site, saved):
    page = (ROOT / "docs" / "device.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    code = f"import os; os.chdir({str(saved)!r})\n{example}\nprint(*outputs)"
    done = thin(site, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == list(load_plan(saved / "out").model.output_names)


EXITS = """
import json, sys
import numpy
from partition import load_exit_policy
policy = load_exit_policy(sys.argv[1])
inputs = dict(numpy.load(sys.argv[2]))
with policy.session(threads=1) as session:
    found = [session.run({"x": row[None]}) for row in inputs["x"]]
site = [name for name, module in sys.modules.items() if "site" in (getattr(module, "__file__", "") or "")]
third = sorted({name.partition(".")[0] for name in site})
exits = [one.exit for one in found]
print(json.dumps({"text": str(policy), "repr": repr(policy), "third": third, "exits": exits}))
"""


def test_a_saved_policy_of_exits_runs_there(site, tmp_path):
    """And stops where it is confident; its text has the same first line as with rich."""
    policy = deciding_policy(branchy()).save(tmp_path / "out")
    x = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    done = thin(site, EXITS, tmp_path / "out", tmp_path / "x.npz")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["third"]) <= {*INSTALLED, *OURS}
    with policy.session(threads=1) as session:
        exits = [session.run({"x": row[None]}).exit for row in x]
    assert said["exits"] == exits
    assert len(set(exits)) > 1
    assert said["repr"] == repr(policy)
    assert said["text"].startswith(f"branchy: answer by {policy.heads[0].exit} if its confidence is ")
    assert "uplink: " in said["text"]


def test_a_damaged_part_is_refused_there_too(site, saved, tmp_path):
    shutil.copytree(saved / "out", tmp_path / "out")
    with open(tmp_path / "out" / "part-1.server.onnx", "ab") as file:
        file.write(b"\0")
    done = thin(site, "from partition import load_plan; load_plan(sys.argv[1])", tmp_path / "out")
    assert done.returncode == 1
    assert "InputError" in done.stderr
    assert "is not the file that was saved" in done.stderr


@pytest.mark.parametrize("arguments", [["run", "out"], ["--help"]])
def test_the_command_says_what_is_missing(site, saved, arguments):
    done = thin(site, f"sys.argv[1:] = {arguments}\nfrom partition.command import main; main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "dnn-partition: error: the package 'typer' is not installed. The thin install runs saved plans from Python: "
        "partition.load_plan(folder).session(). The command needs all dependencies: install without --no-deps\n"
    )


def test_a_module_of_ours_that_is_missing_is_no_thin_install(monkeypatch):
    from partition import cli, command

    def fail():
        raise ModuleNotFoundError("No module named 'graph_io.lost'", name="graph_io.lost")

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(ModuleNotFoundError):
        command._run()


def test_bfloat16_inside_runs_there(site, tmp_path):
    """A tensor of a type that NumPy lacks goes from part to part in the runtime's own containers."""
    whole = model(
        [node("Cast", "x", "a", to=16), node("Cast", "a", "b", to=1), node("Tanh", "b", "y")],
        {"x": (2, 3)},
        [value("y", [2, 3])],
    )
    plan = partition(whole, "wifi", granularity="node", cut=["a"]).save(tmp_path / "out")
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "x.npz", x=x)
    done = thin(site, RUN, tmp_path / "out", tmp_path / "x.npz", tmp_path / "y.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "y.npz") as outputs, plan.session(threads=1) as session:
        np.testing.assert_array_equal(outputs["y"], session.run({"x": x})["y"])


def test_bfloat16_inputs_and_verifying_say_which_package_they_need(site, tmp_path):
    whole = model(
        [node("Cast", "x", "a", to=1), node("Tanh", "a", "y")],
        [value("x", [2, 3], TensorProto.BFLOAT16)],
        [value("y", [2, 3])],
    )
    partition(whole, "wifi", granularity="node", cut=["a"]).save(tmp_path / "out")
    code = """
from partition import InputError, ModelError, load_plan
from partition.runtime.files import default_inputs
plan = load_plan(sys.argv[1])
for use in (lambda: default_inputs(plan), plan.verify):
    try:
        use()
    except (InputError, ModelError) as error:
        print(error)
"""
    done = thin(site, code, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    made, verified = done.stdout.splitlines()
    assert "input 'x' is of type bfloat16, which NumPy cannot hold without the package ml_dtypes (install it)" in made
    assert "the package 'onnx' is not installed; install it, or verify where the plan is made" in verified


@pytest.mark.skipif(scaled(0, 1) == 0, reason="builds and installs a wheel; in the full run")
def test_a_wheel_installed_without_its_dependencies(saved, tmp_path):
    """As docs/device.md says: ``pip install --no-deps``, beside NumPy and onnxruntime."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", tmp_path / "wheels", ROOT], check=True)
    (wheel,) = (tmp_path / "wheels").glob("dnn_partition-*.whl")
    target = tmp_path / "site"
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", "--target", target, wheel], check=True)
    assert {path.name for path in target.iterdir() if path.is_dir() and "." not in path.name} == {*OURS, "bin"}
    for name in INSTALLED:
        home = Path(importlib.util.find_spec(name).submodule_search_locations[0])
        (target / name).symlink_to(home)
        if home.with_name(f"{name}.libs").is_dir():
            (target / f"{name}.libs").symlink_to(home.with_name(f"{name}.libs"))
    done = thin(target, RUN, saved / "out", saved / "inputs.npz", tmp_path / "y.npz")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "y.npz").exists()
