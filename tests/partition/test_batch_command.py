"""The command ``batch`` as a process: what it prints and writes, what it refuses, and what Ctrl-C leaves."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import onnx
import pytest

from partition import InputError, Link, partition
from partition.batch import ScaledMachine
from partition.batch_command import parse_links, parse_pair
from tests.models import relu_chain
from tests.partition.conftest import command_environment, entries


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    for length in (2, 3):
        onnx.save(relu_chain(length, (1, 512)), made / f"chain-{length}.onnx")
    return made


def test_rows_on_the_terminal_and_as_json(command, folder):
    done = command("batch", folder, "--links", "3g,wifi")
    assert (done.code, done.err) == (0, "")
    assert "chain-2.onnx" in done.out
    assert "4 rows, 0 with errors" in done.out
    done = command("batch", folder / "*.onnx", "--links", "3g,wifi", "--json", "-m", "raspberry-pi-5,gpu-server@2")
    assert (done.code, done.err) == (0, "")
    content = json.loads(done.out)
    assert (content["rows"], content["errors"], content["file"]) == (4, 0, None)
    assert [one["rows"] for one in content["models"]] == [2, 2]
    assert {row["server"] for row in content["table"]} == {"gpu-server@2"}
    assert all(row["error"] is None for row in content["table"])


def test_a_file_and_two_workers(command, folder, tmp_path):
    done = command("batch", folder, "-l", "1Mbps..1Gbps:50", "--rtt", "10ms", "--workers", "2", "-o", "rows.csv")
    assert (done.code, done.err) == (0, "")
    assert "100 rows, 0 with errors" in done.out
    assert entries(tmp_path) == ["rows.csv"]
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 100
    row = rows[73]
    link = Link(float(row["uplink_bits_per_s"]), float(row["downlink_bits_per_s"]), float(row["rtt_s"]))
    plan = partition(row["model"], link, device=row["device"], server=row["server"])
    assert float(row["value"]) == pytest.approx(plan.value, rel=1e-12)
    again = command("batch", folder, "-l", "3g", "-o", "rows.csv")
    assert again.code == 2
    assert "exists" in again.err
    assert command("batch", folder, "-l", "3g", "-o", "rows.csv", "--force").code == 0


def test_a_bad_model_is_named_and_the_others_are_solved(command, folder, small_files, tmp_path):
    done = command("batch", folder, small_files / "short.onnx", "missing.onnx", "-l", "wifi", "-o", "rows.jsonl")
    assert (done.code, done.err) == (0, "")
    assert "4 rows, 2 with errors" in done.out
    assert "missing.onnx: " in done.out
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["error"] is None for row in rows] == [True, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.onnx", "-l", "wifi"], "no row could be solved; missing.onnx: "),
        (["FOLDER", "-l", "wifi", "-o", "rows.xlsx"], "'.xlsx'; give one of .csv, .jsonl, .parquet"),
        (["FOLDER", "-l", "wifi", "-o", "none/rows.csv"], "cannot be written"),
        (["FOLDER", "-l", "fast"], "fast"),
        (["FOLDER", "-l", "1Mbps..2Mbps"], "with its number of rates"),
        (["FOLDER", "-l", "2Mbps..1Mbps:9"], "give the lower rate first"),
        (["FOLDER", "-l", "wifi", "-m", "raspberry-pi-4"], "write DEVICE,SERVER"),
        (["FOLDER", "-l", "wifi", "-m", "abacus,xeon-server"], "abacus"),
        (["FOLDER", "-l", "wifi", "-m", "raspberry-pi-4@0,xeon-server"], "speed is 0"),
        (["FOLDER", "-l", "wifi", "--workers", "0"], "workers is 0"),
        (["FOLDER", "-l", "wifi", "--objective", "speed"], "objective 'speed'"),
        (["FOLDER"], "links"),
    ],
)
def test_what_is_refused(command, folder, tmp_path, arguments, said):
    done = command("batch", *[str(folder) if one == "FOLDER" else one for one in arguments])
    assert done.code == 2, done.out + done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("dnn-partition: error: ")
    assert said in done.err
    assert done.out == ""
    assert entries(tmp_path) == []


def test_arguments_are_read():
    links = parse_links(["3g, wifi", "1Mbps..100Mbps:3"], downlink=None, rtt="7ms")
    assert [link.uplink_bits_per_s for link in links] == pytest.approx([1.1e6, 18.88e6, 1e6, 1e7, 1e8])
    assert {link.rtt_s for link in links} == {0.007}
    assert parse_pair("a, b@2.5") == ("a", ScaledMachine("b", 2.5))
    assert parse_pair("me@home.json,b") == ("me@home.json", "b")
    with pytest.raises(InputError, match="2 to 1000000"):
        parse_links(["1Mbps..2Mbps:1"], downlink=None, rtt=None)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_leaves_nothing(folder, tmp_path, workers):
    """Interrupted in the middle: one line, exit code 130, no file, no draft, no process."""
    onnx.save(relu_chain(400, (1, 64)), tmp_path / "long.onnx")
    options = ["-l", "1kbps..10Gbps:300000", "--workers", str(workers), "-o", "rows.csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "partition", "batch", str(folder), "long.onnx", *options],
        cwd=tmp_path,
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    deadline_s = time.monotonic() + 120
    while len(entries(tmp_path)) < 2 and time.monotonic() < deadline_s and process.poll() is None:
        time.sleep(0.02)
    time.sleep(1.0)
    # To the whole group, as a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "dnn-partition: error: interrupted\n")
    assert entries(tmp_path) == ["long.onnx"]
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process of the batch is still there")
