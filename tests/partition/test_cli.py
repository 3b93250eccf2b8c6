"""The command line as a process: what each command prints, what it refuses in one line, and what Ctrl-C leaves."""

import contextlib
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
from partition import cli
from partition.files import write_json
from tests.models import model, node, relu_chain, value
from tests.partition.conftest import Finished, command_environment, entries
from tests.partition.costs import machine
from tests.scale import scaled

COMMANDS = (
    *("inspect", "batch", "split", "run", "parts", "serve", "report"),
    *("export", "profile", "calibrate", "calibrate-codecs", "calibrate-exits", "exits"),
    *("emulate", "route", "simulate", "demo"),
)
CHAIN = "chain.onnx"


def other_than_noise(err):
    """Return the lines of stderr but for the warning of noisy runs: other tests may run beside a measurement."""
    return [line for line in err.splitlines() if not line.startswith("dnn-partition: warning: noisy: ")]


def check_json(done):
    """Return what stdout holds, which has to be one JSON object and nothing else, with stderr silent."""
    assert (done.code, other_than_noise(done.err)) == (0, []), done.err

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
    assert "..." not in done.out.partition("Commands:")[2]
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
    nodes = [node("Tanh", "x", "t"), node("Relu", "t", "y")]
    graph = onnx.load(small_files / "open.onnx")
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.save(graph, tmp_path / "two.onnx")
    content = check_json(command("split", "two.onnx", "-b", "2MB/s", *arguments, "--json"))
    link = content["link"]
    assert (link["uplink_bits_per_s"], link["downlink_bits_per_s"], link["rtt_s"]) == (16e6, 5e6, 0.003)
    assert (content["device"]["name"], content["server"]["name"]) == ("round", "gpu-server")
    assert (content["objective"], content["output_on"], content["method"]) == ("energy", "server", "min-cut")
    assert content["chosen_by"] == "user"
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
    assert (done.code, other_than_noise(done.err)) == (0, [])
    assert "written: t.json" in done.out
    check_refused(command("profile", "wide.onnx", "-o", "t.json"), "t.json", "--force")
    content = check_json(command("profile", "wide.onnx", "--threads", "1", "-o", "t.json", "--force", "--json"))
    assert content == json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    plan = check_json(command("split", "wide.onnx", "-b", "wifi", "--device", "t.json", "--json"))
    assert plan["device"]["kind"] == "measured"
    check_refused(command("split", small_files / CHAIN, "-b", "wifi", "--device", "t.json"), "of another model")
    assert entries(tmp_path) == ["t.json", "wide.onnx"]


# Names that rich would take for markup, for emoji, or for an error in the markup.
ODD_INPUT, ODD_TENSOR, ODD_OUTPUT, ODD_NODE = "a[red]", "x[/b]", "y[bold]:smile:", "n[/]"


def write_odd(path):
    nodes = [node("Tanh", ODD_INPUT, ODD_TENSOR, ODD_NODE), node("Tanh", ODD_TENSOR, ODD_OUTPUT, "m[red]")]
    onnx.save(model(nodes, {ODD_INPUT: (256, 1024)}, [value(ODD_OUTPUT, [256, 1024])]), path)


def test_names_are_no_markup(command, tmp_path):
    write_odd(tmp_path / "m[red].onnx")
    cut = ["--cut", ODD_TENSOR, "-o", "o[bold]", "--verify"]
    for arguments, shown in (
        (["inspect", "m[red].onnx"], [ODD_INPUT, ODD_TENSOR, ODD_OUTPUT, ODD_NODE, "m[red]: 2 layers"]),
        (["split", "m[red].onnx", "-b", "wifi", *cut], [ODD_TENSOR, "o[bold]/part-0.device.onnx", "o[bold]/plan.json"]),
        (["run", "o[bold]"], [ODD_OUTPUT, "m[red]: part-0.device.onnx"]),
        (["profile", "m[red].onnx", "--threads", "1", "-o", "t[red].json"], [ODD_NODE, "m[red]", "written: t[red]."]),
        (["run", "o[/b]"], ["o[/b]/plan.json"]),
    ):
        done = command(*arguments)
        assert (done.code, other_than_noise(done.err)) == (0, []) or arguments[-1] == "o[/b]", done.err
        for text in shown:
            assert text in done.out + done.err, (arguments, text)


def on_a_terminal(folder, *arguments):
    """Run a command whose stderr is a terminal; return its exit code and what it drew there."""
    pty = pytest.importorskip("pty")
    ours_end, its_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "partition", *map(str, arguments)],
        cwd=folder,
        env=command_environment(TERM="xterm", COLUMNS="120"),
        stdout=subprocess.DEVNULL,
        stderr=its_end,
    ) as process:
        os.close(its_end)
        drawn = b""
        with contextlib.suppress(OSError):  # what a terminal says whose other end is closed
            while block := os.read(ours_end, 1 << 16):
                drawn += block
        os.close(ours_end)
    return process.returncode, drawn.decode("utf-8")


def test_steps_are_shown_on_a_terminal(tmp_path):
    write_odd(tmp_path / "m[red].onnx")
    for arguments, named in (
        (["inspect", "m[red].onnx"], ["1/1 loading m[red].onnx"]),
        (
            ["split", "m[red].onnx", "-b", "wifi", "--cut", ODD_TENSOR, "-o", "o[/b]", "--verify"],
            ["1/3 loading and planning m[red].onnx", "2/3 writing o[/b]", "3/3 running parts and whole model"],
        ),
        (["run", "o[/b]", "--runs", "3"], ["1/2 opening o[/b]", "2/2 running"]),
        (["run", "o[/b]", "--verify"], ["1/3 opening o[/b]", "2/3 running", "3/3 running the whole model"]),
        (["profile", "m[red].onnx", "--threads", "1"], ["1/1 measuring m[red].onnx"]),
    ):
        code, drawn = on_a_terminal(tmp_path, *arguments)
        assert code == 0, drawn
        assert "0:00:0" in drawn
        for text in named:
            assert text in drawn, drawn


def test_steps_count_what_is_done():
    from rich.progress import Progress

    from partition.terminal import Steps

    with Progress(disable=True) as bar:
        (step, task) = (Steps(bar, 2), bar.tasks[0])
        step.start("first")
        assert (task.completed, task.total, task.description) == (0, 2, "1/2 first")
        step.start("second")
        step.share(0.25)
        assert (task.completed, task.total, task.description) == (1.25, 2, "2/2 second")


@pytest.mark.skipif(scaled(0, 1) == 0, reason="cuts a model of 250 MB; in the full run")
def test_demo(command, tmp_path):
    content = check_json(command("demo", "-o", "kept", "--json"))
    assert content["verification"]["ok"] is True
    assert entries(tmp_path / "kept") == ["part-0.device.onnx", "part-1.server.onnx", "plan.json"]
    check_refused(command("demo", "-o", "kept"), "kept' exists")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "named"),
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
def test_models_that_cannot_be_used(command, small_files, tmp_path, file, named):
    check_refused(command("split", file, "-b", "wifi", "-o", tmp_path / "out", cwd=small_files), named)
    if file in ("missing.onnx", "unheard.onnx", "open.onnx"):
        check_refused(command("inspect", file, cwd=small_files), named)
        check_refused(command("profile", file, "-o", tmp_path / "t.json", cwd=small_files), named)
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
        (["-b", "wifi", "--dim", "seq=4", "--dim", "seq=8"], "--dim gives 'seq' more than once"),
        (["-b", "wifi", "--input-bytes", "x=1kB", "--input-bytes", "x=1kB"], "--input-bytes gives 'x' more than once"),
        (["-b", "wifi", "--input-bytes", "x=3B", "--cut", "x", "--verify"], "input 'x' was priced as 3 encoded bytes"),
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
        (
            ["profile", "missing.onnx", "-o", "no/such/t.json"],
            "timings file 'no/such/t.json' cannot be written: No such",
        ),
        (["profile", "missing.onnx", "-o", f"{CHAIN}/t.json"], f"'{CHAIN}/t.json' cannot be written: Not a directory"),
        (["profile", "missing.onnx", "-o", "x" * 300], "cannot be written: File name too long"),
        (["profile", "missing.onnx", "-o", "."], "timings file '.' is a folder; give the path of a file"),
        (["profile", "missing.onnx", "-o", ".", "--force"], "timings file '.' is a folder; give the path of a file"),
        (["profile", "missing.onnx", "--name", " "], "--name is ' '; give a name"),
        (["run", "missing", "--output", "no/such/y.npz"], "output file 'no/such/y.npz' cannot be written: No such"),
        (["run", "missing", "--output", ".", "--force"], "output file '.' is a folder"),
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
    (tmp_path / "link").symlink_to("full")
    for options, named in (
        (["-o", "file/out"], "'file/out' cannot be written"),
        (["-o", "file"], "'file' exists; choose another, this one is a file, not a folder"),
        (["-o", "link"], "'link' exists; choose another, this one is a link, not a folder"),
        (["-o", "full"], "'full' exists; choose another, or pass --force"),
        (["-o", "full", "--force"], "holds 'mine.txt', which no plan wrote"),
        (["-o", "file", "--force"], "is not a folder"),
        (["-o", "x" * 300], "cannot be written: File name too long"),
    ):
        check_refused(command("split", small_files / CHAIN, "-b", "wifi", *options), named)
    assert entries(tmp_path) == ["file", "full", "link"]
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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_outputs_into_a_read_only_folder(command, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    for arguments in (["profile", "missing.onnx", "-o"], ["run", "missing", "--output"]):
        check_refused(command(*arguments, "locked/new"), "'locked/new' cannot be written: Permission denied")


def test_an_input_that_nothing_reads_needs_no_file(command, tmp_path):
    inputs = {"x": (1, 4), "unused": (2, 3)}
    onnx.save(model([node("Tanh", "x", "y")], inputs, [value("y", [1, 4])]), tmp_path / "unused.onnx")
    assert command("split", "unused.onnx", "-b", "wifi", "-o", "out").code == 0
    content = check_json(command("run", "out", "--verify", "--json"))
    assert content["verification"]["ok"] is True


def test_a_model_that_has_moved(command, small_files, tmp_path):
    onnx.save(relu_chain(), tmp_path / "here.onnx")
    assert command("split", "here.onnx", "-b", "wifi", "-o", "out").code == 0
    (tmp_path / "here.onnx").rename(tmp_path / "there.onnx")
    assert command("run", "out").code == 0
    check_refused(command("run", "out", "--verify"), "here.onnx", "--model")
    assert command("run", "out", "--verify", "--model", "there.onnx").code == 0


# --- what the system refuses -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["--version"], ["inspect", CHAIN], ["inspect", CHAIN, "--json"]])
def test_an_output_that_is_full(small_files, arguments):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "partition", *arguments],
            cwd=small_files,
            env=command_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )
    check_refused(Finished(done.returncode, "", done.stderr), "No space left on device; check that standard output")


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
def test_no_room_for_temporary_files(small_files, tmp_path):
    """A process that may write no byte into a file finds no folder for temporary ones."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from partition.cli import main; main()"
    for arguments in (["profile", CHAIN], ["profile", CHAIN, "-o", "t.json"], ["demo"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=small_files,
            env=command_environment(TMPDIR=str(tmp_path)),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.stdout == "" or arguments == ["demo"]
        check_refused(Finished(done.returncode, "", done.stderr), "No usable temporary directory found")
    assert ours(tmp_path) == []
    assert "t.json" not in entries(small_files)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device", "a/b"), 2, "error: 'a/b': No space left on device; check that"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_gets_past_every_command(monkeypatch, capsys, error, code, said):
    def fail():
        raise error

    monkeypatch.setattr(cli, "_run_command", fail)
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert (err == "") if not said else (said in err and err.count("\n") == 1)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_away_ends_it_in_silence(small_files, options):
    ours_end, its_end = os.pipe()
    os.close(ours_end)
    with os.fdopen(its_end, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "partition", "inspect", CHAIN, *options],
            cwd=small_files,
            env=command_environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, "")


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
    file, work, temporary = light_file("densenet121"), tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    code, out, err = interrupt(["split", file, "-b", "wifi", "-o", "out"], work, lambda: entries(work), temporary)
    assert (code, out, err) == (130, "", "dnn-partition: error: interrupted\n")
    assert entries(work) == []
    assert ours(temporary) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_while_measuring_leaves_nothing(light_file, tmp_path):
    file, work, temporary = light_file("resnet50"), tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    started = []

    def measuring():
        # The profile's folder appears when loading is over; a moment later the runs go on.
        if any(path.suffix == ".json" for path in temporary.rglob("profile*")):
            started.append(time.monotonic())
        return bool(started) and time.monotonic() - started[0] > 0.5

    code, out, err = interrupt(["profile", file, "--threads", "1", "-o", "t.json"], work, measuring, temporary)
    assert (code, out, err) == (130, "", "dnn-partition: error: interrupted\n")
    assert entries(work) == []
    assert ours(temporary) == []
