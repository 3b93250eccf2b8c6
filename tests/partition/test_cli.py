"""The command line as a process: what each command prints, what it refuses in one line, and what Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

import partition
from partition.files import write_json
from tests.models import relu_chain
from tests.partition.conftest import command_environment, entries
from tests.partition.costs import machine
from tests.scale import scaled

COMMANDS = ("inspect", "split", "run", "profile", "demo")
CHAIN = "chain.onnx"


def check_json(done):
    """Return what stdout holds, which has to be one JSON object and nothing else, with stderr silent."""
    assert (done.code, done.err) == (0, ""), done.err

    def refuse(literal):
        raise AssertionError(f"{literal} is not JSON")

    content = json.loads(done.out, parse_constant=refuse)
    assert isinstance(content, dict)
    return content


def check_refused(done, *named, code=2):
    """Check for one line on stderr that names the object, and for nothing on stdout."""
    assert done.code == code, done.out + done.err
    assert done.out == ""
    assert done.err.startswith("dnn-partition: error: "), done.err
    assert done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    for text in named:
        assert text in done.err


# --- what works -----------------------------------------------------------------------------------------------------


def test_help(command):
    done = command("--help")
    assert (done.code, done.err) == (0, "")
    assert all(name in done.out for name in COMMANDS)
    bare = command()
    assert (bare.code, bare.out) == (0, done.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(command, name):
    done = command(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f" {name} [OPTIONS]" in done.out
    assert "--json" in done.out


def test_version(command):
    done = command("--version")
    assert (done.code, done.out, done.err) == (0, f"dnn-partition {partition.__version__}\n", "")


def test_the_console_script_is_the_module():
    script = os.path.join(os.path.dirname(sys.executable), "dnn-partition")
    if not os.path.exists(script):
        pytest.skip("not installed")
    done = subprocess.run([script, "--version"], capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stdout) == (0, f"dnn-partition {partition.__version__}\n")


def test_inspect(command, small_files):
    done = command("inspect", small_files / CHAIN)
    assert (done.code, done.err) == (0, "")
    assert "t0" in done.out
    assert "3 layers" in done.out
    content = check_json(command("inspect", small_files / CHAIN, "--json"))
    assert content["model"] == "chain"
    assert content["single_tensor_cuts"] == ["x", "t0", "t1", "y"]
    assert len(content["layers"]) == 3
    nodes = check_json(
        command("inspect", small_files / "open.onnx", "--dim", "seq=5", "--granularity", "node", "--json")
    )
    assert nodes["tensors"][0]["shape"] == [1, 5]
    assert nodes["notes"] == ["batch of input 'x' (batch) taken as 1"]


def test_split_plans_writes_and_verifies(command, small_files, tmp_path):
    planned = command("split", small_files / CHAIN, "-b", "wifi")
    assert (planned.code, planned.err) == (0, "")
    assert "nothing written" in planned.out
    assert entries(tmp_path) == []
    done = command("split", small_files / CHAIN, "--bandwidth", "8.8Mbps", "--cut", "t0", "-o", "out", "--verify")
    assert (done.code, done.err) == (0, "")
    assert "bit-identical" in done.out
    assert "part-1.server.onnx" in done.out
    assert entries(tmp_path / "out") == ["part-0.device.onnx", "part-1.server.onnx", "plan.json"]
    content = check_json(
        command("split", small_files / CHAIN, "-b", "4g", "-o", "out", "--force", "--cut", "t1", "--json", "--verify")
    )
    assert content["verification"]["ok"] is True
    assert content["times"].keys() == {"plan_s", "write_and_open_s"}
    written = json.loads((tmp_path / "out" / "plan.json").read_text(encoding="utf-8"))
    assert {key: content[key] for key in written} == written
    assert partition.load_plan(tmp_path / "out").cut == ("t1",)


def test_split_takes_every_option(command, small_files, tmp_path):
    write_json(tmp_path / "mine.json", machine().to_json())
    options = {
        "--downlink": "5Mbps",
        "--rtt": "3ms",
        "--device": "mine.json",
        "--server": "gpu-server",
        "--objective": "energy",
        "--output-on": "server",
        "--cut": "t",
        "--input-bytes": "x=1kB",
        "--dim": "seq=6",
        "--granularity": "node",
        "--method": "min-cut",
    }
    arguments = [text for option in options.items() for text in option]
    nodes = [onnx.helper.make_node("Tanh", ["x"], ["t"]), onnx.helper.make_node("Relu", ["t"], ["y"])]
    graph = onnx.load(small_files / "open.onnx")
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.save(graph, tmp_path / "two.onnx")
    content = check_json(command("split", "two.onnx", "-b", "2MB/s", *arguments, "--json"))
    link = content["link"]
    assert (link["uplink_bits_per_s"], link["downlink_bits_per_s"], link["rtt_s"]) == (16e6, 5e6, 0.003)
    assert (content["device"]["name"], content["server"]["name"]) == ("round", "gpu-server")
    assert (content["objective"], content["output_on"], content["method"]) == ("energy", "server", "given")
    assert content["model"]["dims"] == {"seq": 6}
    assert content["model"]["granularity"] == "node"
    assert content["encoded_inputs"] == {"x": 1000}
    assert content["estimates"][0]["cut"] == ["t"]


def test_run(command, small_files, tmp_path):
    partition.partition(small_files / CHAIN, "wifi", cut=["t0"]).save(tmp_path / "out")
    feeds = {"x": np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)}
    np.savez(tmp_path / "in.npz", **feeds)
    done = command("run", "out", "--input", "in.npz", "--output", "result.npz", "--runs", "3", "--verify")
    assert (done.code, done.err) == (0, "")
    assert "median of 3 runs" in done.out
    with np.load(tmp_path / "result.npz") as result:
        assert np.allclose(result["y"], np.tanh(np.tanh(np.tanh(feeds["x"]))), atol=1e-6)
    content = check_json(command("run", "out", "--json", "--verify", "--threads", "1", "--model", small_files / CHAIN))
    assert content["outputs"] == [{"name": "y", "dtype": "float32", "shape": [1, 4]}]
    assert content["parts"] == ["part-0.device.onnx", "part-1.server.onnx"]
    assert content["verification"]["ok"] is True
    check_refused(command("run", "out", "--output", "result.npz"), "result.npz", "--force")
    assert command("run", "out", "--output", "result.npz", "--force").code == 0


def test_run_tells_that_the_model_was_changed(command, small_files, tmp_path):
    """Exit code 1 and one line when parts and whole disagree: here the weights differ, the structure does not."""
    for name, factor in (("first", 0.01), ("second", 0.9)):
        weights = onnx.numpy_helper.from_array(np.full((64, 64), factor, np.float32), "w")
        nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["t"]), onnx.helper.make_node("Tanh", ["t"], ["y"])]
        edge = [onnx.helper.make_tensor_value_info(key, 1, [1, 64]) for key in ("x", "y")]
        graph = onnx.helper.make_graph(nodes, "g", edge[:1], edge[1:], [weights])
        opset = [onnx.helper.make_opsetid("", 17)]
        onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opset), tmp_path / f"{name}.onnx")
    assert command("split", "first.onnx", "-b", "wifi", "--cut", "t", "-o", "out").code == 0
    done = command("run", "out", "--verify", "--model", "second.onnx")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "do not compute what the whole model computes" in done.err
    assert "DIFFERENT" in done.out


def test_profile_and_plan_with_it(command, small_files, tmp_path):
    onnx.save(relu_chain(3, (64, 512)), tmp_path / "wide.onnx")
    done = command("profile", "wide.onnx", "--threads", "1", "--name", "here", "-o", "t.json")
    assert (done.code, done.err) == (0, "")
    assert "written: t.json" in done.out
    check_refused(command("profile", "wide.onnx", "-o", "t.json"), "t.json", "--force")
    content = check_json(command("profile", "wide.onnx", "--threads", "1", "-o", "t.json", "--force", "--json"))
    assert content == json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    plan = check_json(command("split", "wide.onnx", "-b", "wifi", "--device", "t.json", "--json"))
    assert plan["device"]["kind"] == "measured"
    check_refused(command("split", small_files / CHAIN, "-b", "wifi", "--device", "t.json"), "of another model")
    assert entries(tmp_path) == ["t.json", "wide.onnx"]


@pytest.mark.skipif(scaled(0, 1) == 0, reason="cuts a model of 250 MB; in the full run")
def test_demo(command, tmp_path):
    content = check_json(command("demo", "-o", "kept", "--json"))
    assert content["verification"]["ok"] is True
    assert entries(tmp_path / "kept") == ["part-0.device.onnx", "part-1.server.onnx", "plan.json"]
    check_refused(command("demo", "-o", "kept"), "kept' exists")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("text.onnx", "text.onnx' is not an ONNX file"),
        ("short.onnx", "short.onnx' is not an ONNX file, or it is cut short"),
        ("empty.onnx", "empty.onnx' is not an ONNX file"),
        ("missing.onnx", "missing.onnx' cannot be read: No such file"),
        (".", "cannot be read"),
        ("unheard.onnx", "Unheard"),
        ("no-node.onnx", "no compute node"),
        ("open.onnx", "unknown dimension 'seq'; pass dims={'seq': 128} or --dim seq=128"),
    ],
)
def test_models_that_cannot_be_used(command, small_files, tmp_path, model, named):
    check_refused(command("split", model, "-b", "wifi", "-o", tmp_path / "out", cwd=small_files), named)
    if model in ("missing.onnx", "unheard.onnx", "open.onnx"):
        check_refused(command("inspect", model, cwd=small_files), named)
        check_refused(command("profile", model, "-o", tmp_path / "t.json", cwd=small_files), named)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-b", "8.8"], "bandwidth '8.8' has no unit; did you mean '8.8Mbps'"),
        (["-b", "mbps"], "bandwidth 'mbps' is not a number with a unit"),
        (["-b", "8mbps"], "did you mean '8Mbps'"),
        (["-b", "-3Mbps"], "bandwidth '-3Mbps' is not a finite rate above 0"),
        (["-b", "0Mbps"], "bandwidth '0Mbps' is not a finite rate above 0"),
        (["-b", "nan"], "bandwidth 'nan'"),
        (["-b", "5g"], "bandwidth '5g'"),
        (["-b", ""], "bandwidth ''"),
        (["-b", "wifi", "--rtt", "5"], "rtt '5' has no unit"),
        (["-b", "wifi", "--rtt=-5ms"], "rtt '-5ms'"),
        (["-b", "wifi", "--rtt", "soon"], "rtt 'soon'"),
        (["-b", "wifi", "--downlink", "fast"], "downlink 'fast'"),
        (["-b", "wifi", "--device", "toaster"], "unknown machine 'toaster'"),
        (["-b", "wifi", "--server", "toaster"], "unknown machine 'toaster'"),
        (["-b", "wifi", "--method", "magic"], "'magic'; choose from auto, chain, dp, min-cut"),
        (["-b", "wifi", "--objective", "speed"], "objective 'speed' is unknown"),
        (["-b", "wifi", "--objective", "energy"], "needs the power of the device 'raspberry-pi-4'"),
        (["-b", "wifi", "--granularity", "atom"], "granularity 'atom' is unknown"),
        (["-b", "wifi", "--output-on", "moon"], "output_on 'moon' is unknown"),
        (["-b", "wifi", "--cut", "nowhere"], "tensor 'nowhere' is not in the model"),
        (["-b", "wifi", "--cut", "t0", "--cut", "t1"], "tensor 't1' is downstream of 't0'"),
        (["-b", "wifi", "--dim", "seq=5"], "dimension 'seq' is not in the model"),
        (["-b", "wifi", "--dim", "seq"], "--dim got 'seq'; write it as NAME=VALUE"),
        (["-b", "wifi", "--dim", "seq=five"], "'five' is not a whole number"),
        (["-b", "wifi", "--dim", "seq="], "--dim got 'seq='"),
        (["-b", "wifi", "--dim", "seq=-1"], "'-1' is not a whole number"),
        (["-b", "wifi", "--input-bytes", "x"], "--input-bytes got 'x'; write it as NAME=VALUE"),
        (["-b", "wifi", "--input-bytes", "z=5kB"], "'z' is not an input of the model"),
        (["-b", "wifi", "--input-bytes", "x=5KB"], "ambiguous unit 'KB'"),
        (["-b", "wifi", "--colour"], "No such option: --colour"),
        (["-b", "wifi", "another"], "another"),
        (["-b"], "-b"),
        ([], "Missing option"),
    ],
)
def test_options_that_cannot_be_used(command, small_files, tmp_path, options, named):
    check_refused(command("split", small_files / CHAIN, "-o", "out", *options), named)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cut"], "No such command 'cut'"),
        (["--colour"], "No such option: --colour"),
        (["split"], "Missing argument 'MODEL'"),
        (["run"], "Missing argument"),
        (["run", "nowhere"], "nowhere/plan.json"),
        (["run", "nowhere", "--runs", "0"], "--runs"),
        (["run", "nowhere", "--runs", "many"], "--runs"),
        (["profile", CHAIN, "--threads", "0"], "threads is 0"),
        (["profile", CHAIN, "--threads", "many"], "--threads"),
        (["profile", CHAIN, "-o", "no/such/t.json"], "no/such/t.json"),
    ],
)
def test_command_lines_that_cannot_be_used(command, tmp_path, arguments, named):
    onnx.save(relu_chain(3, (64, 512)), tmp_path / CHAIN)
    check_refused(command(*arguments), named)
    assert entries(tmp_path) == [CHAIN]


def test_machine_files_that_cannot_be_used(command, small_files, tmp_path):
    good = machine().to_json()
    files = {
        "version": (good | {"version": 2}, "has version 2; this release reads version 1"),
        "format": (good | {"format": "other"}, "has the format 'other'"),
        "unknown": (good | {"colour": "red"}, "unknown field 'colour'"),
    }
    for name, (content, named) in files.items():
        write_json(tmp_path / f"{name}.json", content)
        done = command("split", small_files / CHAIN, "-b", "wifi", "-o", "out", "--device", f"{name}.json")
        check_refused(done, f"{name}.json", named)
    for name, content in {"text.json": "not JSON", "nan.json": '{"format": NaN}', "list.json": "[]"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        check_refused(command("split", small_files / CHAIN, "-b", "wifi", "-o", "out", "--server", name), name)
    assert "out" not in entries(tmp_path)


def test_folders_that_cannot_be_written(command, small_files, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for options, named in (
        (["-o", "file/out"], "'file/out' cannot be written"),
        (["-o", "file"], "'file' exists"),
        (["-o", "full"], "'full' exists; choose another, or pass --force"),
        (["-o", "full", "--force"], "holds 'mine.txt', which no plan wrote"),
        (["-o", "file", "--force"], "is not a folder"),
        (["-o", "x" * 300], "cannot be written: File name too long"),
    ):
        check_refused(command("split", small_files / CHAIN, "-b", "wifi", *options), named)
    assert entries(tmp_path) == ["file", "full"]
    assert entries(tmp_path / "full") == ["mine.txt"]


def test_plans_and_inputs_that_cannot_be_run(command, small_files, tmp_path):
    partition.partition(small_files / CHAIN, "wifi", cut=["t0"]).save(tmp_path / "out")
    (tmp_path / "text.npz").write_text("not arrays", encoding="utf-8")
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "double.npz", x=np.zeros((1, 4)))
    np.savez(tmp_path / "other.npz", z=np.zeros((1, 4), np.float32))
    np.savez(tmp_path / "good.npz", x=np.zeros((1, 4), np.float32))
    before = entries(tmp_path)
    for options, named in (
        (["-i", "missing.npz"], "'missing.npz' cannot be read"),
        (["-i", "text.npz"], "'text.npz' is not an .npz file"),
        (["-i", "objects.npz"], "'objects.npz' is not an .npz file of plain arrays"),
        (["-i", "one.npy"], "'one.npy' holds a single array"),
        (["-i", "double.npz"], "input 'x' has type float64"),
        (["-i", "other.npz"], "input 'z' is not in the model"),
        (["-i", "good.npz", "--output", "no/such/y.npz"], "'no/such/y.npz' cannot be written"),
        (["--threads", "0"], "threads is 0"),
        (["--verify", "--model", "missing.onnx"], "missing.onnx' cannot be read"),
        (["--verify", "--model", small_files / "open.onnx"], "is not the one that this plan was made for"),
    ):
        check_refused(command("run", "out", *options), named)
    part = tmp_path / "out" / "part-0.device.onnx"
    part.write_bytes(part.read_bytes()[:-1])
    check_refused(command("run", "out"), "part-0.device.onnx' is not the file that was saved with this plan")
    assert entries(tmp_path) == before


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupt(arguments, folder, appears, temporary):
    """Start a command, press Ctrl-C when something has appeared in a folder, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "partition", *map(str, arguments)],
        cwd=folder,
        env=command_environment(TMPDIR=str(temporary)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 120
    while not appears() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    finished = process.poll() is not None
    if not finished:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert not finished, f"ended by itself: {out}{err}"
    return process.returncode, out, err


def ours(temporary):
    """List what we made among temporary files; the runtime keeps a file of its own there."""
    return [name for name in entries(temporary) if "partition" in name]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_while_writing_leaves_no_folder(light_file, tmp_path):
    model, work, temporary = light_file("densenet121"), tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    code, out, err = interrupt(["split", model, "-b", "wifi", "-o", "out"], work, lambda: entries(work), temporary)
    assert (code, out, err) == (130, "", "dnn-partition: error: interrupted\n")
    assert entries(work) == []
    assert ours(temporary) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_while_measuring_leaves_nothing(light_file, tmp_path):
    model, work, temporary = light_file("resnet50"), tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    started = []

    def measuring():
        # The profile's folder appears when loading is over; a moment later the runs go on.
        if any(path.suffix == ".json" for path in temporary.rglob("profile*")):
            started.append(time.monotonic())
        return bool(started) and time.monotonic() - started[0] > 0.5

    code, out, err = interrupt(["profile", model, "--threads", "1", "-o", "t.json"], work, measuring, temporary)
    assert (code, out, err) == (130, "", "dnn-partition: error: interrupted\n")
    assert entries(work) == []
    assert ours(temporary) == []
