"""Run a model with and without the runtime's profiler, in turn, and read what each kernel took.

The profiler slows small kernels down, so its sum is not the model's time; the runs without it say what that is.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
LEAST_SHARE = 0.1
"""What is left of a kernel, as a share of what the profiler shows, once the profiler's own time is taken off."""
_WARM_UP_RUNS = 3
# So many runs of one session follow each other: the first after the other session's finds the caches full of that
# one's weights, and does not count.
_BLOCK = 5
# The threads of a session spin for a while after its run, in the way of another session's: before a block they rest.
SETTLE_S = 0.05
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
    plain : bool
        As often also without the profiler.
    pause_s : float
        Before each run. Runs that follow each other at once find their weights in the caches; requests that come apart
        find the caches cold, which small models feel most.
    """

    fewest: int
    most: int
    budget_s: float
    plain: bool = True
    pause_s: float = 0.0


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


def with_fallback(provider: str) -> list[str]:
    """Return the providers of a session: what one lacks, the CPU does, as in a deployment."""
    return [provider] if provider == CPU_PROVIDER else [provider, CPU_PROVIDER]


def kernel_level(provider: str) -> str:
    """Return the optimisation level at which `graph_io.kernel_list` shows what a provider runs."""
    # Data layouts in blocks are the CPU provider's own.
    return "all" if provider == CPU_PROVIDER else "extended"


def profile_runs(
    content: bytes,
    inputs: Mapping[str, NDArray[Any]],
    name: str,
    *,
    known: Collection[str],
    threads: int,
    provider: str = CPU_PROVIDER,
    repetition: Repetition = MEASUREMENT,
    bound: bool = False,
    weights: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Runs:
    """Alternate blocks of profiled and unprofiled runs, so that a drift of the machine's speed meets both.

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
    bound : bool
        Bind inputs and outputs once instead of handing them over at each run, so that they cost no time.
    weights : pathlib.Path, optional
        Folder in whose files the model's weights lie.
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

    from graph_io.external import folder_entries

    check_provider(provider)

    def open_session(prefix: str | None) -> "onnxruntime.InferenceSession":
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        for key, value in folder_entries(weights).items():
            options.add_session_config_entry(key, value)
        if prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = prefix
        return onnxruntime.InferenceSession(content, options, providers=with_fallback(provider))

    def runner(session: "onnxruntime.InferenceSession") -> Callable[[], object]:
        if not bound:
            return lambda: session.run(None, dict(inputs))
        binding = session.io_binding()
        for input_name, value in inputs.items():
            binding.bind_ortvalue_input(input_name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        for output in session.get_outputs():
            binding.bind_output(output.name)
        return lambda: session.run_with_iobinding(binding)

    def run(once: Callable[[], object]) -> None:
        with _model_errors(name, "run"):
            once()

    def pause() -> None:
        if repetition.pause_s:
            time.sleep(repetition.pause_s)

    with tempfile.TemporaryDirectory(prefix="dnn-partition-") as folder:
        with _model_errors(name, "be opened"):
            profiled_session = open_session(str(Path(folder) / "profile"))
            profiled = runner(profiled_session)
            plain = runner(open_session(None)) if repetition.plain else None
        whole: list[float] = []
        cpu: list[float] = []
        counted: list[bool] = []

        def run_plain(*, counts: bool) -> None:
            if plain is not None:
                pause()
                cpu_before, before = time.process_time(), time.perf_counter()
                run(plain)
                if counts:
                    whole.append(time.perf_counter() - before)
                    cpu.append(time.process_time() - cpu_before)

        def run_profiled(*, counts: bool) -> None:
            pause()
            run(profiled)
            counted.append(counts)

        for _ in range(_WARM_UP_RUNS):
            run_plain(counts=False)
            run_profiled(counts=False)
        start = time.perf_counter()
        fewest, most, budget_s = repetition.fewest, repetition.most, repetition.budget_s
        n_counted = 0
        while n_counted < fewest or (n_counted < most and time.perf_counter() - start < budget_s):
            for once in (run_plain, run_profiled):
                if threads > 1 and plain is not None:
                    time.sleep(SETTLE_S)
                once(counts=False)
                for _ in range(_BLOCK):
                    once(counts=True)
            n_counted += _BLOCK
            if progress is not None:
                spent = (time.perf_counter() - start) / budget_s
                progress(min(1.0, max(n_counted / most, min(spent, n_counted / fewest))))
        if progress is not None:
            progress(1.0)
        events = json.loads(Path(profiled_session.end_profiling()).read_text(encoding="utf-8"))
    return Runs(np.array(whole), np.array(cpu), read_profile(events, counted, known))


@contextmanager
def _model_errors(name: str, what: str) -> Iterator[None]:
    from graph_io import ModelError
    from graph_io.errors import runtime_reason

    try:
        yield
    except Exception as error:  # the runtime's exceptions share no public base class
        raise ModelError(f"model '{name}' cannot {what} in onnxruntime: {runtime_reason(error)}") from error


def read_profile(events: list[dict[str, Any]], counted: Sequence[bool], known: Collection[str]) -> Profile:
    """Collect the seconds of each kernel: in each counted run, and of all runs together if it is in no other's body."""
    from graph_io import profile_key, unnamed_kernel

    suffix = "_kernel_time"
    timed = [one for one in events if one.get("cat") == "Node" and one.get("name", "").endswith(suffix)]
    # One kernel runs at a time: what starts within the time of another is in its body (of a loop, of a branch), whose
    # time the other already holds.
    timed.sort(key=lambda one: (one["ts"], -one["dur"]))
    durations: dict[str, list[float]] = {}
    total_s: dict[str, float] = {}
    end = end_of_body = -math.inf
    for one in timed:
        arguments = one.get("args", {})
        operator = arguments.get("op_name", "")
        shapes = (_first_shape(arguments.get(f"{side}_type_shape")) for side in ("input", "output"))
        name, seconds = profile_key(one["name"].removesuffix(suffix), operator, *shapes), one["dur"] * 1e-6
        together = unnamed_kernel(operator)
        if name not in known and together in known:
            name = together
        if one["ts"] < end or (one["ts"] < end_of_body and name not in known):
            continue
        end = one["ts"] + one["dur"]
        if operator in _WITH_BODIES:
            end_of_body = end + _CLOCK_US
        durations.setdefault(name, []).append(seconds)
        total_s[name] = total_s.get(name, 0.0) + seconds
    chosen = np.array(counted, dtype=np.bool_)
    kernels_s = {
        name: np.array(values).reshape(len(chosen), -1).sum(axis=1)[chosen]
        for name, values in durations.items()
        if len(values) % len(chosen) == 0
    }
    return Profile(kernels_s, total_s)


def _first_shape(listed: object) -> tuple[int, ...]:
    """Return the first shape of a profile's list of types and shapes; empty where it has none."""
    if isinstance(listed, list) and listed and isinstance(listed[0], dict) and listed[0]:
        return tuple(next(iter(listed[0].values())))
    return ()
