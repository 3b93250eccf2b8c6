"""Thousands of damaged files: each is loaded or refused in one line, soon, and in little memory; none hangs.

Where native code crashes, the file is given to the command line, which has to end in one line all the same.
"""

import multiprocessing
import random
import subprocess
import sys
from collections import Counter

import pytest

from tests.graph_io import mutations
from tests.graph_io.fuzz_worker import Outcome, work
from tests.partition.conftest import command_environment
from tests.scale import scaled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limits on memory there")

SEED = 20
PARTS = 4
CASES = scaled(500, 20_000) // PARTS
# Far beyond what a file may take, because the machine may be busy; what it may take is counted in time of the CPU.
_HANG_S = 30.0
_LONGEST_CPU_S = 5.0
_MOST_MEMORY_BYTES = 1 << 30


class Worker:
    """A worker process that is started again when a file has ended it."""

    def __init__(self, folder):
        self._folder = folder
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self):
        self._ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=work, args=(theirs, str(self._folder)), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, content, granularity):
        """Return a file's outcome, or "hang", or the negative number of the signal that ended the worker."""
        self._ours.send((content, granularity))
        try:
            if self._ours.poll(_HANG_S):
                return self._ours.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self._start()
            return code
        self._process.kill()
        self._process.join()
        self._start()
        return "hang"

    def close(self):
        self._ours.send(None)
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._ours.close()
        self._process.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    one = Worker(tmp_path_factory.mktemp("fuzz"))
    yield one
    one.close()


def problem_of(outcome):
    """Say what is wrong with an outcome; None if nothing is."""
    if outcome == "hang":
        return "hangs"
    if outcome.kind == "foreign":
        return f"ends with an error that is none of ours: {outcome.said}"
    if outcome.kind == "refused" and ("\n" in outcome.said or not outcome.said.strip()):
        return f"is not refused in one line: {outcome.said!r}"
    if outcome.printed:
        return f"prints {outcome.printed[:200]!r}"
    if outcome.cpu_s > _LONGEST_CPU_S:
        return f"takes {outcome.cpu_s:.1f} s"
    if outcome.memory_bytes > _MOST_MEMORY_BYTES:
        return f"takes {outcome.memory_bytes / 1e6:.0f} MB"
    return None


def ended_by_the_command(content, granularity, folder):
    path = folder / "crashing.onnx"
    path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "partition", "inspect", str(path), "--granularity", granularity],
        env=command_environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    # What the runtime's own libraries print before they abort is not ours to take back; the last line is.
    assert done.returncode in (0, 2), done
    assert done.returncode == 0 or done.stderr.splitlines()[-1].startswith("dnn-partition: error: "), done.stderr


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_files_are_loaded_or_refused_in_one_line(worker, tmp_path, part, capsys):
    counts, problems, slowest_s, most_bytes = Counter(), [], 0.0, 0
    for number in range(part * CASES, (part + 1) * CASES):
        content = mutations.mutated(number, seed=SEED)
        granularity = ("layer", "node")[number % 2]
        outcome = worker.run(content, granularity)
        if isinstance(outcome, int):
            counts["crashed"] += 1
            ended_by_the_command(content, granularity, tmp_path)
            continue
        problem = problem_of(outcome)
        if problem is not None:
            problems.append(f"mutated({number}, seed={SEED}), granularity {granularity}: {problem}")
        if isinstance(outcome, Outcome):
            counts[outcome.kind] += 1
            slowest_s, most_bytes = max(slowest_s, outcome.cpu_s), max(most_bytes, outcome.memory_bytes)
    assert not problems, "\n".join(problems[:20])
    # Both happen, or the mutations are too weak or too strong to find anything.
    assert min(counts["loaded"], counts["refused"]) > CASES // 50, counts
    with capsys.disabled():
        if CASES > 1000:
            print(f"\n{dict(counts)}, slowest {slowest_s:.2f} s, most memory {most_bytes / 1e6:.0f} MB")


def test_mutations_are_the_same_each_time():
    for number in random.Random(0).sample(range(10_000), 20):
        assert mutations.mutated(number, seed=1) == mutations.mutated(number, seed=1)
    assert len({mutations.mutated(number) for number in range(100)}) > 90
