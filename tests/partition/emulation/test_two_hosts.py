"""The script for two hosts: it says why where it cannot run, and refuses what makes no sense."""

import os
import shutil
import subprocess

import pytest

from tests.partition.conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "two_hosts.sh"
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")


def run(*arguments, **environment):
    return subprocess.run(
        [BASH, str(SCRIPT), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def test_it_says_why_it_cannot_run(tmp_path):
    done = run(PATH=str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.startswith("two_hosts: skipped: ")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--uplink"], "--uplink needs a value"),
        (["--speed", "1"], "unknown option '--speed'"),
        (["--server", "true"], "without a COMMAND"),
        (["true"], "without --server"),
    ],
)
def test_wrong_options(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
