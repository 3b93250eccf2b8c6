"""Run a model with and without the runtime's profiler, in turn, and read what each kernel took.

The profiler slows small kernels down, so its sum is not the model's time; the runs without it say what that is.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError

if TYPE_CHECKING:
    import onnxruntime

CPU_PROVIDER = "CPUExecutionProvider"
_WARM_UP_RUNS = 3
_WITH_BODIES = frozenset({"If", "Loop", "Scan"})
# Start and length of a kernel are rounded down to whole microseconds: its true end is less than this after their sum.
_CLOCK_US = 2


@dataclass(frozen=True, slots=True)
class Repetition:
    """How often a model is run.

    Attributes
    ----------
    fewest, most : int
        With the profiler: at least so often, then until so often or until the time is up.
    budget_s : float
    plain_every : int
        One run without the profiler goes with so many runs with it.
    """

    fewest: int
    most: int
    budget_s: float
    plain_every: int = 1


MEASUREMENT = Repetition(fewest=10, most=50, budget_s=10.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """Each kernel's seconds in each counted run, and in all runs together, for kernels outside of any other's body."""

    kernels_s: dict[str, NDArray[np.float64]]
    total_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Runs:
    """Seconds of each run: whole runs without the profiler, their CPU time, and what the profiler told."""

    whole_s: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    profile: Profile


def check_provider(provider: str) -> None:
    """Refuse an execution provider that this host's runtime does not have."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise InputError(
            f"execution provider {provider!r} is not in this host's onnxruntime {onnxruntime.__version__}; "
            f"it has {', '.join(available)}"
        )


def profile_runs(
    content: bytes,
    inputs: Mapping[str, NDArray[Any]],
    name: str,
    *,
    known: Collection[str],
    threads: int,
    provider: str = CPU_PROVIDER,
    repetition: Repetition = MEASUREMENT,
    progress: Callable[[float], None] | None = None,
) -> Runs:
    """Alternate profiled and unprofiled runs, so that a drift of the machine's speed meets both.

    Parameters
    ----------
    content : bytes
        The model.
    inputs : mapping of str to numpy.ndarray
    name : str
        The model's, for the messages.
    known : collection of str
        Kernels to report; the profile's others are reported, too, unless they lie in the body of another.
    threads : int
        Of the runtime.
    provider : str
        Execution provider.
    repetition : Repetition
    progress : callable, optional
        Called with the finished share, 0 to 1.

    Raises
    ------
    graph_io.ModelError
        The model cannot be opened or run.
    InputError
        This host's runtime lacks the provider.
    """
    import onnxruntime

    check_provider(provider)

    def open_session(prefix: str | None) -> "onnxruntime.InferenceSession":
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        if prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = prefix
        # What a provider lacks, the CPU does, as in a deployment.
        providers = [provider] if provider == CPU_PROVIDER else [provider, CPU_PROVIDER]
        return onnxruntime.InferenceSession(content, options, providers=providers)

    def run(session: "onnxruntime.InferenceSession") -> None:
        with _model_errors(name, "run"):
            session.run(None, dict(inputs))

    with tempfile.TemporaryDirectory(prefix="dnn-partition-") as folder:
        with _model_errors(name, "be opened"):
            plain, profiled = open_session(None), open_session(str(Path(folder) / "profile"))
        whole: list[float] = []
        cpu: list[float] = []
        run(plain)
        for _ in range(_WARM_UP_RUNS):
            run(profiled)
        run(plain)
        start = time.perf_counter()
        fewest, most, budget_s = repetition.fewest, repetition.most, repetition.budget_s
        n_profiled = 0
        while n_profiled < fewest or (n_profiled < most and time.perf_counter() - start < budget_s):
            if n_profiled % repetition.plain_every == 0:
                cpu_before, before = time.process_time(), time.perf_counter()
                run(plain)
                whole.append(time.perf_counter() - before)
                cpu.append(time.process_time() - cpu_before)
            run(profiled)
            n_profiled += 1
            if progress is not None:
                spent = (time.perf_counter() - start) / budget_s
                progress(min(1.0, max(n_profiled / most, min(spent, n_profiled / fewest))))
        if progress is not None:
            progress(1.0)
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    return Runs(np.array(whole), np.array(cpu), read_profile(events, n_profiled, known))


@contextmanager
def _model_errors(name: str, what: str) -> Iterator[None]:
    from graph_io import ModelError
    from graph_io.errors import runtime_reason

    try:
        yield
    except Exception as error:  # the runtime's exceptions share no public base class
        raise ModelError(f"model '{name}' cannot {what} in onnxruntime: {runtime_reason(error)}") from error


def read_profile(events: list[dict[str, Any]], n_runs: int, known: Collection[str]) -> Profile:
    """Collect the seconds of each kernel: in each counted run, and of all runs together if it is in no other's body."""
    from graph_io import unnamed_kernel

    suffix = "_kernel_time"
    timed = [one for one in events if one.get("cat") == "Node" and one.get("name", "").endswith(suffix)]
    # One kernel runs at a time: what starts within the time of another is in its body (of a loop, of a branch), whose
    # time the other already holds.
    timed.sort(key=lambda one: (one["ts"], -one["dur"]))
    durations: dict[str, list[float]] = {}
    total_s: dict[str, float] = {}
    end = end_of_body = -math.inf
    for one in timed:
        name, seconds = one["name"].removesuffix(suffix), one["dur"] * 1e-6
        together = unnamed_kernel(one.get("args", {}).get("op_name", ""))
        if name not in known and together in known:
            name = together
        if one["ts"] < end or (one["ts"] < end_of_body and name not in known):
            continue
        end = one["ts"] + one["dur"]
        if one.get("args", {}).get("op_name") in _WITH_BODIES:
            end_of_body = end + _CLOCK_US
        durations.setdefault(name, []).append(seconds)
        total_s[name] = total_s.get(name, 0.0) + seconds
    total_runs = n_runs + _WARM_UP_RUNS
    kernels_s = {
        name: np.array(values).reshape(total_runs, -1).sum(axis=1)[_WARM_UP_RUNS:]
        for name, values in durations.items()
        if len(values) % total_runs == 0
    }
    return Profile(kernels_s, total_s)
