"""The benchmarks' machinery: arguments, the JSON file's shape. No timing is asserted here."""

import json
import subprocess
import sys

import pytest

from benchmarks.result import Bar


def run_benchmarks(*arguments):
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], capture_output=True, text=True, timeout=120)


def test_emit_writes_its_result(tmp_path):
    target, cache = tmp_path / "emit.json", tmp_path / "cache"
    options = ("--models", "squeezenet", "--repetitions", "1", "--cache", str(cache))
    done = run_benchmarks("emit", "--quick", "--json", str(target), *options)
    assert done.returncode == 0, done.stderr
    assert "squeezenet" in done.stdout
    assert [path.name for path in cache.iterdir()] == ["squeezenet-seed0.onnx"]

    content = json.loads(target.read_text(encoding="utf-8"))
    assert set(content) == {"benchmark", "machine", "bars", "rows"}
    assert content["benchmark"] == "emit"
    assert set(content["machine"]) == {"processor", "cores", "python", "onnx", "onnxruntime", "date"}
    for bar in content["bars"]:
        assert set(bar) == {"name", "value", "limit", "better", "holds"}
        assert bar["holds"] is (bar["value"] <= bar["limit"])
        assert bar["better"] == "lower"
    assert any(bar["name"].startswith("command") and bar["limit"] == 3 for bar in content["bars"])

    rows = {kind: [row for row in content["rows"] if row["kind"] == kind] for kind in ("model", "cut", "command")}
    assert sum(map(len, rows.values())) == len(content["rows"])
    assert [row["place"] for row in rows["model"]] == ["layer boundary", "inside a fusion"]
    assert [row["cuts"] for row in rows["model"]] == [4, 2]
    assert len(rows["cut"]) == 6
    for row in rows["cut"]:
        assert row["repetitions"] == 1
        assert row["ratio"] > 0
        assert row["max_relative_error"] < 1e-5
    (command,) = rows["command"]
    parts = command["plan_s"] + command["write_and_open_s"] + command["around_s"]
    assert parts == pytest.approx(command["process_s"])
    assert command["baseline_s"] > 0
    assert str(tmp_path) not in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("emitt",), "benchmark 'emitt' does not exist; the names are emit"),
        (("emit", "--models", "resnet"), "light model 'resnet' does not exist"),
        (("emit", "--repetitions", "0"), "'0' is not a whole number"),
        (("emit", "--json", "no-such-folder/x.json"), "cannot be written"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments, said):
    done = run_benchmarks(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_without_a_name_the_benchmarks_are_listed():
    done = run_benchmarks()
    assert done.returncode == 0
    assert done.stdout.startswith("emit  ")


def test_a_limit_itself_holds():
    assert Bar("x", 2.0, 2.0, "lower").holds
    assert Bar("x", 2.0, 2.0, "higher").holds
    assert not Bar("x", 2.1, 2.0, "lower").holds
    assert not Bar("x", 1.9, 2.0, "higher").holds
