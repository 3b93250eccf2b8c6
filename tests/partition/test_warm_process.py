"""The processes in which the tests' commands run: one that hangs or dies fails its own test, and no other."""

import contextlib

import pytest

from partition.command import FORKS
from tests.partition.conftest import ROOT, command_environment
from tests.partition.warm_process import WarmProcesses

pytestmark = pytest.mark.skipif(not FORKS, reason="this system does not fork")


def test_a_command_that_hangs_or_kills_its_server_fails_and_the_next_one_runs(tmp_path):
    with contextlib.closing(WarmProcesses(ROOT, command_environment())) as processes:

        def run(first, timeout_s):
            more = {"cwd": tmp_path, "environment": command_environment(), "timeout_s": timeout_s}
            return processes.run(["--version"], first=first, **more)

        code, out, _ = run("print('one')", 60)
        assert (code, out.splitlines()[0]) == (0, "one")
        first_server = processes.server
        with pytest.raises(AssertionError, match=r"(?s)did not end within 2 s.*so far"):
            run("import time; print('so far', flush=True); time.sleep(600)", 2)
        assert first_server.returncode is not None
        with pytest.raises(AssertionError, match="the process that forks has ended"):
            run("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", 60)
        code, out, _ = run("print('two')", 60)
        assert (code, out.splitlines()[0]) == (0, "two")
