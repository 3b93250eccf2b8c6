"""Neighbours: busy processes that this one starts on purpose, so that load is known, and that are gone afterwards.

Each neighbour is a Python process of its own with a few lines of code. Its standard input is a pipe whose other end
only this process holds: when that end closes, be it on purpose or because this process died in whatever way, the
neighbour ends itself. Leaving the context stops it without waiting for that.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from partition.errors import InputError

NEIGHBOUR_KINDS = ("busy", "memory")
"""``"busy"`` computes in registers; ``"memory"`` copies a large array to and fro."""

_START_TIMEOUT_S = 30.0
_MEMORY_BYTES = 64 << 20
_WATCH = """\
import os, sys, threading
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
"""
_READY = """\
sys.stdout.write("ready\\n")
sys.stdout.flush()
"""
_BUSY = (
    _WATCH
    + _READY
    + """\
import hashlib
while True:
    hashlib.pbkdf2_hmac("sha256", b"neighbour", b"busy", 20000)
"""
)
_MEMORY = (
    _WATCH
    + f"""\
size_bytes = {_MEMORY_BYTES}
try:
    import numpy
    source, target = numpy.ones(size_bytes // 8), numpy.ones(size_bytes // 8)
    def copy():
        numpy.copyto(target, source)
except ImportError:
    source, target = bytearray(size_bytes), memoryview(bytearray(size_bytes))
    def copy():
        target[:] = source
"""
    + _READY
    + """\
while True:
    copy()
"""
)


@contextmanager
def neighbours(
    count: int, kind: str = "busy", *, cpus: Collection[int] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], ...]]:
    """Run busy processes beside this one for as long as the context lasts.

    Parameters
    ----------
    count : int
        How many, 0 or more. Each keeps one processor busy.
    kind : str
        One of `NEIGHBOUR_KINDS`.
    cpus : collection of int or None
        The processors that they may run on; None for those that this process may run on.

    Yields
    ------
    tuple of subprocess.Popen
        The processes, all of them at work.

    Raises
    ------
    InputError
        A count below 0, another kind, or processors that cannot be chosen here.
    RuntimeError
        A neighbour could not be started.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InputError(f"the number of neighbours is {count!r}; give a whole number, 0 or more")
    if kind not in NEIGHBOUR_KINDS:
        raise InputError(f"the kind of neighbour is {kind!r}; give one of {', '.join(map(repr, NEIGHBOUR_KINDS))}")
    code = _BUSY if kind == "busy" else _MEMORY
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            # -I: nothing from the environment or the working folder can change what a neighbour runs.
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            started.append(process)
            if cpus is not None:
                _bind(process, set(cpus))
        for process in started:
            _await_ready(process)
        yield tuple(started)
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _bind(process: subprocess.Popen[bytes], cpus: set[int]) -> None:
    """Bind a neighbour to processors; they need not be among those of this process."""
    where = f"neighbours are bound to the processors {sorted(cpus)}"
    if not hasattr(os, "sched_setaffinity"):
        raise InputError(f"{where}, which this system cannot do; give None")
    try:
        os.sched_setaffinity(process.pid, cpus)
    except (OSError, ValueError, TypeError) as error:
        last = (os.cpu_count() or 1) - 1
        raise InputError(f"{where}: {error}; give some of 0 to {last}, or None") from error


def _await_ready(process: subprocess.Popen[bytes]) -> None:
    """Wait until a neighbour says that it is at work."""
    stdout = process.stdout
    assert stdout is not None
    lines: list[bytes] = []
    # A thread reads, since a pipe cannot be waited for with a time limit on every system.
    reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    reader.start()
    reader.join(_START_TIMEOUT_S)
    if not lines or lines[0].strip() != b"ready":
        raise RuntimeError(
            f"a neighbour was not at work within {_START_TIMEOUT_S:g} s (exit code {process.poll()}); "
            f"check that {sys.executable!r} starts"
        )
