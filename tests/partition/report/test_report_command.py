"""The command ``report``: of a model, of a saved plan, with a run beside it; what it refuses and what it says."""

import json

import onnx
import pytest
import typer
from typer.testing import CliRunner

from partition import InputError, load_plan, partition
from partition.report.execution import execution_json
from partition.report_command import report
from tests.models import relu_chain


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "chain.onnx"
    onnx.save(relu_chain(4), path)
    return path


def run(*arguments):
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(one) for one in arguments], standalone_mode=False)


def refused(*arguments):
    done = run(*arguments)
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


def test_a_model(model_path, tmp_path):
    out = tmp_path / "x.html"
    done = run(model_path, "--bandwidth", "wifi", "-o", out, "--output-on", "any")
    assert done.exception is None
    assert "predicted to take" in done.output
    assert f"report: {out}" in done.output.replace("\n", "")
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert f"'{out}' exists" in refused(model_path, "-b", "wifi", "-o", out)
    done = run(model_path, "-b", "wifi", "-o", out, "--force", "--json")
    said = json.loads(done.output)
    assert said["report"] == str(out)
    assert said["size_bytes"] == out.stat().st_size
    assert said["plan"]["format"] == "dnn-partition/plan"


def test_a_model_needs_a_bandwidth(model_path, tmp_path):
    assert "needs --bandwidth" in refused(model_path, "-o", tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


def test_a_folder(model_path, tmp_path):
    partition(model_path, "wifi").save(tmp_path / "out")
    out = tmp_path / "x.html"
    assert run(tmp_path / "out", "-o", out).exception is None
    assert "A saved plan holds these placements alone" in out.read_text(encoding="utf-8")
    message = refused(tmp_path / "out", "-o", tmp_path / "y.html", "--bandwidth", "4g")
    assert message.startswith("--bandwidth belongs to planning a model")


def test_a_run_beside_it(model_path, tmp_path):
    partition(model_path, "wifi").save(tmp_path / "out")
    plan = load_plan(tmp_path / "out")
    verification = plan.verify(model_path, timing=True, threads=1)
    run_file = tmp_path / "run.json"
    run_file.write_text(json.dumps(execution_json(plan, {}, [0.1], verification)), encoding="utf-8")
    out = tmp_path / "x.html"
    assert run(tmp_path / "out", "-o", out, "--run", run_file).exception is None
    assert "ms measured" in out.read_text(encoding="utf-8")
    run_file.write_text("{}", encoding="utf-8")
    assert "holds no timed stages" in refused(tmp_path / "out", "-o", out, "--force", "--run", run_file)
