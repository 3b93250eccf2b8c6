"""The commands that measure this machine, as processes: what they write, print and refuse."""

import dataclasses
import json

import onnx
import pytest
from typer.testing import CliRunner

from graph_io import load_graph
from partition.cli import app
from tests.models import relu_chain
from tests.partition.conftest import entries
from tests.partition.costs import timings_of
from tests.scale import SUITE_SEEDS

TINY = ("--share", "0.001", "--threads", "1", "--no-load")
# What a process runs first: it draws light layers, as the tests of the calibration do.
LIGHT = f"import partition.latency.calibrate as module; module._SEED = {SUITE_SEEDS[-1]}"


@pytest.fixture(scope="module")
def machine_file(tmp_path_factory):
    from partition.latency import calibrate as module

    path = tmp_path_factory.mktemp("machines") / "here.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SEED", SUITE_SEEDS[-1])
        module.calibrate(threads=(1,), share=0.001, load=False, name="here").save(path)
    return path


def test_calibrate_writes_a_machine_file_and_shows_it(command, tmp_path):
    done = command("calibrate", "-o", "here.json", "--name", "bench", *TINY, first=LIGHT)
    assert done.code == 0, done.err
    assert entries(tmp_path) == ["here.json"]
    content = json.loads((tmp_path / "here.json").read_text(encoding="utf-8"))
    assert (content["name"], content["kind"]) == ("bench", "calibrated")
    assert "error on held-out sizes" in done.out
    assert "conv/" in done.out
    assert "written: here.json (use it with --device or --server)" in done.out
    again = command("calibrate", "-o", "here.json", *TINY)
    assert again.code == 2
    assert "exists; choose another, or pass --force" in again.err


def test_an_unfinished_calibration_of_other_choices(command, tmp_path):
    (tmp_path / "here.json.unfinished").write_text("{}\n", encoding="utf-8")
    done = command("calibrate", "-o", "here.json", *TINY)
    assert done.code == 2
    assert "is not a checkpoint of a calibration" in done.err
    assert entries(tmp_path) == ["here.json.unfinished"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate",), "Missing option '--out'"),
        (("calibrate", "-o", "m.json", "--share", "2"), "share is 2.0; give how much"),
        (("calibrate", "-o", "m.json", "--threads", "0"), "threads is 0"),
        (("calibrate", "-o", "m.json", "--provider", "Abacus"), "execution provider 'Abacus' is not in"),
        (("calibrate", "-o", "m.json", "--name", " "), "--name is ' '"),
        (("calibrate", "-o", "no-such-folder/m.json"), "cannot be written"),
        (("profile", "chain.onnx", "--provider", "Abacus"), "execution provider 'Abacus' is not in"),
        (("split", "chain.onnx", "-b", "wifi", "--timing"), "--timing compares what --verify runs"),
        (("split", "chain.onnx", "-b", "wifi", "--device-load", "130%"), "load of the device is '130%'"),
        (("split", "chain.onnx", "-b", "wifi", "--server-load", "now"), "which would wait for each other"),
        (("split", "chain.onnx", "-b", "wifi", "--device-threads", "3"), "is for 4 threads, asked for is 3"),
        (("split", "chain.onnx", "-b", "wifi", "--radio", "wifi"), "which only objective 'energy' uses"),
    ],
)
def test_what_is_refused(command, tmp_path, arguments, said):
    onnx.save(relu_chain(), tmp_path / "chain.onnx")
    done = command(*arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert entries(tmp_path) == ["chain.onnx"]


def test_a_noisy_measurement_is_written_with_a_warning(tmp_path, monkeypatch):
    from partition.latency import measure as module

    quiet = timings_of(load_graph(relu_chain()), 1e-3)
    onnx.save(relu_chain(), tmp_path / "chain.onnx")
    for share, warnings in ((0.05, 0), (0.5, 1)):
        whole = dataclasses.replace(quiet.whole_model, spread_s=share * quiet.whole_model.latency_s)
        timings = dataclasses.replace(quiet, whole_model=whole)
        monkeypatch.setattr(module, "measure", lambda *_, given=timings, **__: given)
        written = tmp_path / f"{share}.json"
        done = CliRunner().invoke(app, ["profile", str(tmp_path / "chain.onnx"), "-o", str(written)])
        assert (done.exit_code, written.is_file()) == (0, True)
        assert done.stderr.count("warning: noisy: the middle half of the runs spans 50% of their median") == warnings
        assert bool(done.stderr) == bool(warnings)


def test_a_split_from_a_calibration_with_load_and_timing(command, light_file, machine_file):
    options = ("--device", machine_file, "--server", machine_file, "--device-load", "30%", "--verify", "--timing")
    done = command("split", light_file("squeezenet"), "-b", "wifi", *options)
    assert done.code == 0, done.err
    assert "±" in done.out
    assert "load: 30% of the processor time taken by others" in done.out
    assert "predicted" in done.out
    assert "measured here" in done.out
    quoted = command("split", light_file("squeezenet"), "-b", "wifi", *options, "--json")
    content = json.loads(quoted.out)
    assert content["estimates"][0]["deviation_s"] > 0
    assert content["verification"]["stages"][0]["threads"] == 1
