"""Processes of the command line that start where its imports are done: a server that forks one for each command.

Half a second of each command is spent on loading the same packages, before the first line that differs. The server has
loaded what every command loads (the command line itself) and the packages of others that most load; the rest each
process still loads itself. It forks the process, with the folder, environment and files of the caller, and that runs
``python -m partition``.
"""

import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import warnings


class WarmProcesses:
    """Start processes of the command line, one at a time; to be closed."""

    def __init__(self, root, environment):
        self.root, self.environment = root, environment
        self.server = self.socket = None

    def run(self, arguments, *, cwd, environment, first="", timeout_s):
        """Run ``python -m partition`` with arguments, after the lines `first`; return its code and what it wrote.

        A command that is not done in time fails, and is ended; the next one gets a server of its own.
        """
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "first": first}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if self.server is None:
                self._start()
            self.socket.settimeout(timeout_s)
            try:
                socket.send_fds(self.socket, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
                answer = self.socket.recv(64)
            except BaseException as error:
                # Whatever is still to come would be taken for the answer to the next command.
                self.close()
                if not isinstance(error, OSError):
                    raise
                answer = b""
                reason = f"did not end within {timeout_s} s" if isinstance(error, TimeoutError) else str(error)
            else:
                reason = "the process that forks has ended"
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8").replace("\r\n", "\n"))
        if not answer:
            self.close()
            raise AssertionError(f"{arguments}: {reason}; it wrote:\n{''.join(texts)}")
        return json.loads(answer), *texts

    def _start(self):
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self.server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(its.fileno())],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self.socket = ours

    def close(self):
        """End the server, and what it has started."""
        if self.server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self.socket.close()
        self.server = self.socket = None


def serve(connection):
    """Fork a process for each request and tell its exit code; return a request in the process that is to run it."""
    while True:
        content, files, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        if not content:
            sys.exit(0)
        with warnings.catch_warnings():
            # Python warns of other threads: they are those of NumPy's OpenBLAS, which ends them before a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            connection.close()
            for file, number in zip(files, (1, 2), strict=True):
                os.dup2(file, number)
                os.close(file)
            return json.loads(content)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        connection.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


def become(request):
    """Take on the folder, the environment, the arguments and the streams of a new process."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    sys.argv[1:] = request["arguments"]
    encoding = sys.stdout.encoding
    sys.stdout = sys.__stdout__ = open(1, "w", encoding=encoding, errors=sys.stdout.errors, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False
    )
    exec(request["first"], {})  # noqa: S102
    runpy.run_module("partition", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import networkx  # noqa: F401
    import onnx  # noqa: F401
    import rich.progress
    import rich.table  # noqa: F401

    import partition.cli  # noqa: F401

    # It starts a thread when it is loaded, and a process forked from there waits for that for ever when it ends.
    assert "onnxruntime" not in sys.modules
    # What is there stays: a process that looks through it for garbage when it ends would copy it all.
    gc.freeze()
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
