"""Start the command line: in a process of its own, so that a crash of native code still ends in one line.

The runtime and the ONNX checker are native code that reads files of anybody's making. Where the system can fork, the
command runs in a child, and this process only waits for it. What a crash leaves is removed: the child's temporary
files, and what it noted there that it was about to save.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import NoReturn

from partition.leftovers import note_in, tidy_noted
from partition.terminal import fail

# Signals by which the system ends a process that did something impossible.
_CRASHES = {
    "SIGABRT": "it gave up, out of memory or on a broken promise inside",
    "SIGBUS": "bus error",
    "SIGFPE": "arithmetic error",
    "SIGILL": "illegal instruction",
    "SIGSEGV": "segmentation fault",
    "SIGSYS": "forbidden system call",
}
# Apple's own libraries, which NumPy may have loaded, do not outlive a fork.
FORKS = hasattr(os, "fork") and sys.platform != "darwin"
_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
# Ctrl-C reaches parent and child, and the parent passes it on: what comes within this time is one press of the keys.
_ONE_PRESS_S = 0.3
_OURS = ("graph_io", "partition", "solvers")
_SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"


def main() -> None:
    """Run the command line and exit."""
    if FORKS:
        _run_in_a_child()
    else:
        _run()


def _run() -> None:
    try:
        from partition.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(fail("interrupted", 130))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            raise
        sys.exit(
            fail(
                f"the package '{missing}' is not installed. The thin install runs saved plans from Python: "
                "partition.load_plan(folder).session(). The command needs all dependencies: install without --no-deps",
                2,
            )
        )


def _run_in_a_child() -> NoReturn:
    import tempfile

    signals = [getattr(signal, name) for name in _PASSED_ON]
    alive, alive_in_parent = os.pipe()
    # Nothing may come between the fork and the handlers of either side.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Made here, so that nobody else can have put notes for the parent into it. The system may have no place for it;
    # then the command says so where it needs one.
    temporary: str | None = None
    with contextlib.suppress(OSError):
        temporary = tempfile.mkdtemp(prefix="dnn-partition-command-")
    with warnings.catch_warnings():
        # Python warns of other threads: they are those of NumPy's OpenBLAS, which ends them before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(alive_in_parent)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt_once)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        if temporary is not None:
            tempfile.tempdir = os.environ["TMPDIR"] = temporary
            note_in(Path(temporary))
        _run()
        sys.exit(0)
    os.close(alive)
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: _pass_on(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    _, status = os.waitpid(child, 0)
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    if temporary is not None:
        _remove_leftovers(Path(temporary))
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        sys.exit(code)
    sys.exit(_ended_by_signal(signal.Signals(-code)))


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


_last_press_s = float("-inf")


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    global _last_press_s
    now_s = time.monotonic()
    is_echo, _last_press_s = now_s - _last_press_s < _ONE_PRESS_S, now_s
    if not is_echo:
        signal.default_int_handler(number, frame)


def _end_with_parent(alive: int) -> None:
    """Wait for the end of a pipe that only the parent holds open, and end with it, however it was ended."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _remove_leftovers(temporary: Path) -> None:
    import shutil

    for problem in tidy_noted(temporary):
        fail(problem, 2)
    shutil.rmtree(temporary, ignore_errors=True)


def _ended_by_signal(number: signal.Signals) -> int:
    """Say that the command crashed, and return its exit code; where it was asked to end, end in the same way."""
    if sys.stderr is not None and sys.stderr.isatty():
        # A bar that was being drawn is gone, and the cursor that it hid comes back.
        print(_SHOW_CURSOR, end="", file=sys.stderr, flush=True)  # noqa: T201
    if number == signal.SIGINT:
        return 130
    what = f"'{' '.join(sys.argv[1:3])}'"
    if number == signal.SIGKILL:
        return fail(f"{what} was killed from outside, as the system does when memory runs out; give smaller --dim", 2)
    if number.name in _CRASHES:
        return fail(
            f"onnx or onnxruntime crashed on {what} ({_CRASHES[number.name]}); the model asks more of them than they "
            "can do, or they have a fault: give smaller --dim, or try other versions of them",
            2,
        )
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
