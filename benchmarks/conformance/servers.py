"""The servers that are compared, each as a process of its own: ours, Triton's, and a bare echo over TCP."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.conformance.environments import Environment, Skipped, python_version

ROOT = Path(__file__).parents[2]
_START_S = 120


@contextmanager
def our_server(folders: Sequence[Path]) -> Iterator[str]:
    """Serve saved folders by ``dnn-partition serve``, and yield the URL."""
    command = [
        sys.executable,
        "-m",
        "partition",
        "serve",
        *map(str, folders),
        "--port",
        "0",
        "--threads",
        "1",
        "--json",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            text = ""
            while not text.endswith("\n}\n"):
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("dnn-partition serve ended at once; its message is above")
                text += line
            yield json.loads(text)["url"]
        finally:
            _end(process)


@contextmanager
def triton_server(environment: Environment, repositories: Sequence[Path], work: Path) -> Iterator[str]:
    """Start the server of the wheel nvidia-pytriton on model repositories, and yield the URL.

    Raises
    ------
    Skipped
        The wheel has no server for this platform, or none for this version of Python.
    """
    packages = environment.packages
    home = packages / "pytriton" / "tritonserver"
    binary, stub = home / "bin" / "tritonserver", home / "python_backend_stubs" / python_version()
    if not binary.exists() or not stub.is_dir():
        raise Skipped(f"the wheel nvidia-pytriton has no server for Python {python_version()} on this platform")
    backends = work / "backends"
    shutil.rmtree(backends, ignore_errors=True)
    shutil.copytree(home / "backends", backends)
    shutil.copy(stub / "triton_python_backend_stub", backends / "python")
    port = _free_port()
    # The stub needs Python's own library, which need not be where the system looks, and the wheel's copy of CUDA's.
    libraries = [str(sysconfig.get_config_var("LIBDIR")), str(packages / "nvidia_pytriton.libs")]
    variables = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]),
        "PATH": os.pathsep.join([str(environment.python.parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(packages),
        "VIRTUAL_ENV": str(environment.folder),
    }
    command = [str(binary), "--backend-directory", str(backends), "--http-address", "127.0.0.1"]
    command += ["--http-port", str(port), "--allow-grpc", "false", "--allow-metrics", "false"]
    command += [argument for folder in repositories for argument in ("--model-repository", str(folder))]
    log = work / "tritonserver.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, env=variables, stdout=file, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield url
    finally:
        _end(process)


@contextmanager
def echo_server() -> Iterator[tuple[str, int]]:
    """Start what takes a number of bytes and sends as many back: the floor of all the others."""
    command = [sys.executable, str(Path(__file__).with_name("echo.py"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            _end(process)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.2)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    reasons = [line for line in lines if "failed to load" in line or "error" in line.lower()]
    raise RuntimeError(f"tritonserver did not become ready: {'; '.join(reasons[:3]) or lines[-1:]}")


def _end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
