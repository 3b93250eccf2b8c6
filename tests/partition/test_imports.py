"""What importing loads, what shadows the package, and that all that is public is there and documented."""

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import graph_io
import partition
import solvers
from tests.models import relu_chain
from tests.partition.conftest import ROOT, command_environment
from tests.partition.exits.families import branchy
from tests.partition.exits.policies import deciding_policy

HEAVY = ("numba", "onnxruntime", "matplotlib", "onnx", "networkx", "scipy", "rich", "typer", "psutil")


def python(code, *arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env=command_environment(**environment),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def loaded_by(code, *arguments, cwd=ROOT):
    """Return which of the heavy packages a piece of code loads."""
    ending = f"\nimport sys, json; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = python(code + ending, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


COMMAND_LINE = """
import sys
from partition.cli import main
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""


def test_importing_is_light():
    assert loaded_by("import partition") == []
    assert loaded_by("from partition import Link, InputError, Plan, load_machine; Link.parse('wifi')") == []
    # The function itself needs what reads a model, but neither what runs one nor what compiles.
    assert loaded_by("from partition import partition; partition.__doc__") == ["onnx", "networkx"]


def test_the_version_is_light():
    assert loaded_by(COMMAND_LINE, "--version") == ["typer"]


def test_a_small_split_never_loads_the_compiler(small_files, tmp_path):
    loaded = loaded_by(COMMAND_LINE, "split", small_files / "chain.onnx", "-b", "wifi", "-o", tmp_path / "out")
    assert "onnxruntime" in loaded
    assert not {"numba", "matplotlib"} & set(loaded)


def test_running_a_saved_plan_loads_the_runtime_alone(tmp_path):
    plan = partition.partition(relu_chain(), "wifi", granularity="node").save(tmp_path / "out")
    assert plan.model.input_names == ("x",)
    code = "import sys; from partition import load_plan; load_plan(sys.argv[1]).session(threads=1)"
    assert loaded_by(code, tmp_path / "out") == ["onnxruntime"]


def test_running_a_saved_policy_of_exits_loads_the_runtime_alone(tmp_path):
    deciding_policy(branchy()).save(tmp_path / "out")
    code = "import sys; from partition import load_exit_policy; load_exit_policy(sys.argv[1]).session(threads=1)"
    assert loaded_by(code, tmp_path / "out") == ["onnxruntime"]


def test_bad_input_is_found_before_the_runtime_is_loaded():
    code = "from partition import partition\ntry:\n    partition('x.onnx', '8.8')\nexcept ValueError:\n    pass"
    assert loaded_by(code) == ["onnx", "networkx"]


@pytest.mark.parametrize("name", ["solvers", "graph_io"])
@pytest.mark.parametrize(
    "marker", ["", "__version__ = '0.1.0'", "__distribution__ = 'dnn-partition'\n__version__ = '0.0.1'"]
)
def test_a_package_that_shadows_ours_is_named(tmp_path, name, marker):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(marker, encoding="utf-8")
    done = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import partition", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"the package '{name}' at {tmp_path / name}" in last
    assert "shadows it" in last


def test_a_folder_without_code_that_shadows_ours_is_named(tmp_path):
    """A namespace package has no file; one found first has no say unless nothing else has the name."""
    (tmp_path / "solvers").mkdir()
    done = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import partition", cwd=tmp_path)
    assert done.returncode == 0


def test_everything_public_is_there_and_documented():
    for package in (partition, graph_io, solvers):
        assert sorted(package.__all__) == sorted(set(package.__all__))
        for name in package.__all__:
            thing = getattr(package, name)
            if isinstance(thing, type) or inspect.isfunction(thing):
                assert (thing.__doc__ or "").strip(), f"{package.__name__}.{name}"
    assert set(partition._HOMES) == set(partition.__all__)
    with pytest.raises(AttributeError, match="module 'partition' has no attribute 'nowhere'"):
        partition.nowhere  # noqa: B018
    namespace = {}
    exec("from partition import *", namespace)  # noqa: S102
    assert set(partition.__all__) <= set(namespace)


def test_what_is_public_has_documented_members():
    for name in partition.__all__:
        thing = getattr(partition, name)
        if isinstance(thing, type):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property | classmethod)):
                    assert (getattr(thing, member).__doc__ or value.__doc__ or "").strip(), f"{name}.{member}"


def test_the_errors_are_one_family():
    for error in (partition.InputError, partition.ModelError, partition.SolverError):
        assert issubclass(error, ValueError)
    assert issubclass(partition.VerificationError, partition.InputError)


def test_dir_lists_what_is_public():
    assert set(partition.__all__) <= set(dir(partition))


def modules():
    for package in (partition, graph_io, solvers):
        yield package.__name__
        for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if one.name != "partition.__main__":
                yield one.name


@pytest.mark.parametrize("name", list(modules()))
def test_doctests(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} does not say what it is for"
    failed, _ = doctest.testmod(module)
    assert failed == 0
