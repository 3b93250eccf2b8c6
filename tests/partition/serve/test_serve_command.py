"""The command ``dnn-partition serve`` as a process: what it says, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from tests.partition.conftest import ROOT, command_environment
from tests.partition.serve.conftest import Client

posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@contextmanager
def served(*arguments, environment=None, errors=None):
    process = subprocess.Popen(
        [sys.executable, "-m", "partition", "serve", *map(str, arguments), "--port", "0", "--json", "--threads", "1"],
        cwd=ROOT,
        env=command_environment(**(environment or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors is None else errors,
        encoding="utf-8",
    )
    try:
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read() if errors is None else ""
            text += line
        content = json.loads(text)
        yield SimpleNamespace(process=process, url=content["url"], content=content, name=content["models"][0]["name"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


X = np.array([[0.5, -1, 2, 0]], np.float32)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_asked_to_end(folders, number):
    with served(folders / "chain") as server:
        (described,) = server.content["models"]
        assert described["inputs"] == [{"name": "t0", "datatype": "FP32", "shape": [1, 4]}]
        with Client(server) as client:
            assert client.infer(server.name, {"t0": X}).status == 200
            server.process.send_signal(number)
            assert server.process.wait(20) == 0
            assert client.is_closed()
        assert server.process.stderr.read() == ""


@posix
def test_sigterm_drains(matmul):
    """What runs is answered, though the signal came first; twice, as a service manager may send it."""
    with served(matmul, "--concurrency", 1) as server:
        x = np.ones((6000, 256), np.float32)
        answers = []

        def ask():
            with Client(server) as client:
                answers.append(client.infer(server.name, {"t0": x}))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        with Client(server) as client:
            while b"dnn_partition_waiting 2" not in client.get("/metrics").body:
                time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200] * 3
        assert all((answer.outputs["y"].shape) == x.shape for answer in answers)


@pytest.mark.parametrize("by", ["file", "environment"])
def test_the_token_comes_from_a_file_or_the_environment(folders, tmp_path, by):
    (tmp_path / "token").write_text("s3cret\n", encoding="ascii")
    given = ["--token-file", tmp_path / "token"] if by == "file" else []
    environment = {"DNN_PARTITION_TOKEN": "s3cret"} if by == "environment" else {}
    with served(folders / "chain", *given, environment=environment) as server, Client(server) as client:
        assert client.get("/v2").status == 401
        assert client.get("/v2", Authorization="Bearer s3cret").status == 200


def test_logs_are_lines_of_json(folders, tmp_path):
    log = tmp_path / "log"
    with (
        open(log, "w", encoding="utf-8") as errors,
        served(folders / "chain", "--log-level", "info", errors=errors) as server,
        Client(server) as client,
    ):
        client.infer(server.name, {"t0": X})
        client.get('/no"such\\thing')
        deadline = time.monotonic() + 10
        while log.read_text(encoding="utf-8").count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    first, second = map(json.loads, log.read_text(encoding="utf-8").splitlines()[:2])
    assert (first["event"], first["level"], first["model"], first["status"]) == ("request", "info", server.name, 200)
    assert first["received_bytes"] > 16
    assert 0 <= first["compute_s"] <= first["total_s"]
    assert (second["path"], second["status"]) == ('/no"such\\thing', 404)


def test_the_listing_for_people(folders, tmp_path, command):
    process = subprocess.Popen(
        [sys.executable, "-m", "partition", "serve", str(folders / "chain"), "--port", "0", "--host", "0.0.0.0"],
        cwd=ROOT,
        env=command_environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    lines = [process.stdout.readline() for _ in range(3)]
    process.terminate()
    process.wait(20)
    process.stdout.close()
    assert lines[0].startswith("serving 1 model on http://0.0.0.0:")
    assert lines[1].startswith("  small-1-")
    assert lines[1].endswith(": t0 FP32 [1, 4]\n")
    assert lines[2].startswith("note: no token is asked for")
    for arguments, message in [
        (["nowhere"], "nowhere"),
        ([folders / "chain", "--log-level", "debug"], "--log-level is 'debug'; legal are"),
        ([folders / "chain", "--token-file", "none"], "token file 'none' cannot be read"),
        ([folders / "chain", "--tls-certificate", "none"], "certificate 'none' or its key cannot be used"),
        ([folders / "chain", "--max-body", "much"], "--max-body"),
        ([folders / "chain", "--max-body", "1GB", "--max-waiting", "1MB"], "less than one body"),
    ]:
        done = command("serve", *arguments, "--port", "0")
        assert done.code == 2
        assert message in done.err
        assert done.err.count("\n") == 1
