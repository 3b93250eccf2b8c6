"""What the command ``dnn-partition split`` costs against the least that a user of a model does anyway.

The least: load the model, infer its shapes, open it once in the runtime. Both run in fresh processes, in turn; the
time that the command needs to write and to open the parts is subtracted, since only the command has that to do.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BANDWIDTH = "4g"
_LOAD = """
import sys
import onnx
import onnxruntime
model = onnx.load(sys.argv[1])
onnx.shape_inference.infer_shapes(model)
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""


@dataclass(frozen=True, slots=True)
class CommandTiming:
    """One run of the command beside one of the baseline, seconds.

    Attributes
    ----------
    process_s : float
        The command's process from start to exit.
    plan_s, write_and_open_s : float
        What the command itself says.
    baseline_s : float
        The process that loads the model, infers shapes and opens it.
    """

    process_s: float
    plan_s: float
    write_and_open_s: float
    baseline_s: float

    @property
    def without_writing_s(self) -> float:
        """The process without writing and opening the parts: the figure that has a limit."""
        return self.process_s - self.write_and_open_s

    @property
    def around_s(self) -> float:
        """What is neither planning nor writing: starting Python, importing, printing, leaving."""
        return self.process_s - self.plan_s - self.write_and_open_s


def measure_command(path: Path, repetitions: int, step: Callable[[str, float], None]) -> tuple[CommandTiming, ...]:
    """Time the command and the baseline on one model, in turn, after one unmeasured run of each.

    Raises
    ------
    RuntimeError
        One of the processes failed.
    """
    found = []
    for number in range(repetitions + 1):
        step(f"command: {path.stem}", number / (repetitions + 1))
        with tempfile.TemporaryDirectory(prefix="dnn-partition-bench-") as folder:
            out = str(Path(folder) / "out")
            command = [sys.executable, "-m", "partition", "split", str(path), "-b", BANDWIDTH, "-o", out, "--json"]
            process_s, printed = _timed(command)
        times = json.loads(printed)["times"]
        baseline_s, _ = _timed([sys.executable, "-c", _LOAD, str(path)])
        if number > 0:
            found.append(CommandTiming(process_s, times["plan_s"], times["write_and_open_s"], baseline_s))
    return tuple(found)


def _timed(command: list[str]) -> tuple[float, str]:
    before = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    seconds = time.perf_counter() - before
    if done.returncode != 0:
        raise RuntimeError(f"a measured process failed with code {done.returncode}: {done.stderr.strip()}")
    return seconds, done.stdout
