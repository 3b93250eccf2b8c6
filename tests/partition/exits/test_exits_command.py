"""The commands ``exits``, ``run`` and ``serve`` with a policy: what they print, write and refuse."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from graph_io import load_graph
from partition.cli import app
from partition.exits.calibrate import calibrate_exits
from partition.exits.confidence import confidence_of
from partition.exits.policy import load_exit_policy
from partition.files import write_json
from tests.partition.conftest import entries
from tests.partition.exits.families import answers, branchy, rows, single
from tests.partition.exits.policies import deciding_policy, table_with_good_exits
from tests.partition.serve.test_serve_command import posix, served


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the command line, in a folder with a model, several models and their tables of exits."""
    monkeypatch.chdir(tmp_path)
    onnx.save(branchy(), tmp_path / "branchy.onnx")
    models = {"small": single(1, 4, name="small"), "large": single(2, 24, name="large")}
    for name, proto in models.items():
        onnx.save(proto, tmp_path / f"{name}.onnx")
    table_with_good_exits(tmp_path / "branchy.onnx").save("exits.json")
    table_with_good_exits({name: tmp_path / f"{name}.onnx" for name in models}).save("several.json")

    def call(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=True)

    return call


CHOOSE = ("exits", "branchy.onnx", "--table", "exits.json", "-b", "1Mbps")


def test_it_prints_the_sentence_the_tables_and_the_curve(run):
    done = run(*CHOOSE, "--accuracy", "0.9")
    assert done.exit_code == 0, done.output
    for words in (
        "branchy: answer by ",
        "latency  ",
        "accuracy ",
        "asked for 90 %",
        "trade-off: ",
        "expected",
        "The rest",
    ):
        assert words in done.output
    assert "nothing written (-o FOLDER writes the policy)" in done.output
    assert entries(".") == ["branchy.onnx", "exits.json", "large.onnx", "several.json", "small.onnx"]


def test_it_writes_a_policy_that_is_loaded(run):
    done = run(*CHOOSE, "--deadline", "100ms", "--accuracy", "0.95", "--margin", "0.2", "--out", "policy", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    policy = load_exit_policy("policy")
    assert {key: said[key] for key in policy.to_json()} == json.loads(json.dumps(policy.to_json()))
    assert (said["deadline_s"], said["accuracy_bound"], said["margin"]) == (0.1, 0.95, 0.2)
    assert said["plan"]["format"] == "dnn-partition/plan"
    again = run(*CHOOSE, "--deadline", "100ms", "--out", "policy")
    assert "output folder 'policy' exists; choose another, or pass --force" in str(again.exception)
    forced = run(*CHOOSE, "--deadline", "100ms", "--out", "policy", "--force")
    assert forced.exit_code == 0, forced.output
    assert "policy/policy.json" in forced.output


def test_several_models_are_called_as_their_files(run):
    done = run(
        "exits", "small.onnx", "large.onnx", "--table", "several.json", "-b", "1Mbps", "--accuracy", "1", "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["exits"] == ["small", "large"]
    assert json.loads(done.stdout)["joint"] is False


def test_segments_are_written_measured_and_used(run, tmp_path):
    done = run("exits", "branchy.onnx", "--write-segments", "segments", "--exit", "early", "--exit", "late", "--json")
    assert done.exit_code == 0, done.output
    files = json.loads(done.stdout)["segments"]
    assert len(files) == len(entries("segments")) > 2
    shown = run("exits", "branchy.onnx", "--write-segments", "other", "--table", "exits.json")
    assert shown.exit_code == 0, shown.output
    assert "segments written; measure each on both machines" in shown.output
    from tests.partition.costs import timings_of

    for role, seconds in (("device", 1e-3), ("server", 1e-5)):
        (tmp_path / role).mkdir()
        for name in entries("other"):
            timings = timings_of(load_graph(tmp_path / "other" / name), seconds, role)
            write_json(tmp_path / role / f"{name}.json", timings.to_json())
    chosen = run(*CHOOSE, "--accuracy", "0.9", "--device", "device", "--server", "server", "--json")
    assert chosen.exit_code == 0, chosen.output
    assert json.loads(chosen.stdout)["plan"]["device"]["kind"] == "measured"
    (tmp_path / "device" / f"{entries('other')[-1]}.json").unlink()
    lacking = run(*CHOOSE, "--accuracy", "0.9", "--device", "device", "--server", "server")
    assert "is not among the timings of the device (folder 'device')" in str(lacking.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("exits", "branchy.onnx", "-b", "wifi", "--deadline", "1s"), "give --table FILE"),
        (("exits", "branchy.onnx", "--table", "exits.json", "--deadline", "1s"), "give --bandwidth"),
        (CHOOSE, "neither deadline nor accuracy is given"),
        ((*CHOOSE, "--deadline", "1us"), "no policy meets the deadline of 1 us"),
        ((*CHOOSE, "--accuracy", "2"), "accuracy is 2.0; give a number from 0 to 1"),
        ((*CHOOSE, "--accuracy", "0.9", "--margin", "1"), "margin is 1.0"),
        ((*CHOOSE, "--accuracy", "0.9", "--exit", "early"), "--exit is for --write-segments"),
        ((*CHOOSE, "--write-segments", "s", "--out", "o"), "--write-segments only writes models"),
        ((*CHOOSE, "--write-segments", "s", "--exit", "late"), "--table names the exits already"),
        (
            ("exits", "small.onnx", "-b", "wifi", "--table", "exits.json", "--deadline", "1s"),
            "is not an output of model",
        ),
        (
            ("exits", "a/m.onnx", "b/m.onnx", "-b", "wifi", "--table", "exits.json", "--deadline", "1s"),
            "called the same",
        ),
        (("exits", "branchy.onnx", "-b", "wifi", "--table", "lost.json", "--deadline", "1s"), "exits file 'lost.json'"),
        ((*CHOOSE, "--deadline", "1s", "--device", "lost"), "unknown machine 'lost'"),
        (("run", "policy", "--verify"), "--verify and --model are for plans"),
        (("run", "policy", "--model", "branchy.onnx"), "--verify and --model are for plans"),
    ],
)
def test_what_cannot_be_is_one_line(run, arguments, words, tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.json").write_text("{}", encoding="utf-8")
    done = run(*arguments)
    assert words in str(done.exception)


def test_a_saved_policy_runs(run, tmp_path):
    policy = deciding_policy(branchy()).save(tmp_path / "policy")
    head = policy.heads[0]
    seen = set()
    for number, (inputs, _) in enumerate(rows(8, seed=11)):
        np.savez(tmp_path / "x.npz", **inputs)
        done = run("run", "policy", "-i", "x.npz", "--output", f"y{number}.npz", "--json", "--threads", "1")
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        wanted = answers(branchy(), inputs)
        assert said["confidences"][0] == pytest.approx(confidence_of(wanted[head.exit], policy.confidence), rel=1e-5)
        assert said["stopped"] == (said["exit"] != policy.final)
        assert [one["exit"] for one in said["requests"]] == [said["exit"]]
        with np.load(tmp_path / f"y{number}.npz") as outputs:
            assert outputs.files == [one["name"] for one in said["outputs"]]
            np.testing.assert_allclose(outputs[said["exit"]], wanted[said["exit"]], rtol=1e-5, atol=1e-6)
        seen.add(said["exit"])
    assert policy.final in seen
    assert len(seen) > 1
    shown = run("run", "policy", "--runs", "3", "--threads", "1")
    assert shown.exit_code == 0, shown.output
    assert "answers, " in shown.output
    assert "median of 3 runs) on seeded random inputs" in shown.output


@posix
def test_serve_serves_the_rest_and_run_sends_to_it(run, tmp_path):
    policy = deciding_policy(branchy()).save(tmp_path / "policy")
    with served(tmp_path / "policy") as server:
        assert len(server.content["models"]) == 1
        exits = set()
        for inputs, _ in rows(8, seed=11):
            np.savez(tmp_path / "x.npz", **inputs)
            done = run("run", "policy", "-i", "x.npz", "--server", server.url, "--threads", "1", "--json")
            assert done.exit_code == 0, done.output
            said = json.loads(done.stdout)
            assert (said["requests"][0]["rest"] is None) == said["stopped"]
            exits.add(said["exit"])
        assert policy.final in exits
        assert len(exits) > 1
        shown = run("run", "policy", "-i", "x.npz", "--server", server.url, "--threads", "1")
        assert "answers, " in shown.output
    gone = run("run", "policy", "-i", "x.npz", "--server", server.url, "--hold", "own", "--threads", "1")
    assert "server" in str(gone.exception)


def test_a_policy_that_sends_nothing_is_not_served(run, tmp_path):
    deciding_policy(branchy(), remote=False).save(tmp_path / "policy")
    done = run("serve", "policy", "--port", "0")
    assert "the policy in 'policy' keeps everything on the device, the best rest for these costs" in str(done.exception)


def test_the_table_of_a_model_that_changed_is_refused(run):
    calibrate_exits(branchy(seed=0, batch=2), [({"x": np.zeros((2, 8), np.float32)}, np.zeros(2, np.int64))]).save(
        "2.json"
    )
    done = run("exits", "branchy.onnx", "--table", "2.json", "-b", "1Mbps", "--deadline", "1s")
    assert "the exits file is not of this model" in str(done.exception)


def test_the_report_shows_the_curve_and_the_plan_of_the_rest(run):
    done = run(*CHOOSE, "--accuracy", "0.9", "--out", "policy", "--report", "chosen.html")
    assert done.exit_code == 0, done.output
    saved = run("report", "policy", "-o", "saved.html")
    assert saved.exit_code == 0, saved.output
    for name in ("chosen.html", "saved.html"):
        page = Path(name).read_text(encoding="utf-8")
        assert "Accuracy against expected latency" in page
        assert "The rest: " in page
        assert "Answered by" in page
        assert "<script" not in page
    refused = run("report", "policy", "-o", "other.html", "--bandwidth", "wifi")
    assert "--bandwidth belongs to planning" in str(refused.exception)
    again = run("report", "policy", "-o", "saved.html")
    assert "exists" in str(again.exception)


def test_the_curve_can_be_drawn_by_itself(tmp_path):
    policy = deciding_policy(branchy())
    svg = policy.plot(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").read_text(encoding="utf-8") == svg
    assert "beaten by none" in svg
    with pytest.raises(ValueError, match="ending"):
        policy.plot(tmp_path / "curve.jpg")


def test_a_repository_for_triton_holds_the_rest(run):
    deciding_policy(branchy()).save("policy")
    done = run("export", "policy", "--triton", "repository")
    assert done.exit_code == 0, done.output
    assert any(Path("repository").rglob("*.onnx"))
