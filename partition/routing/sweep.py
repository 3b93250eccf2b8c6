"""Measure a model over the lengths of its input: whole runs in one interleaved loop, layers at a few lengths.

The runs of all lengths are mixed, each round in another order, so that a drift of the machine's speed meets all lengths
alike, and so that each run follows one of another length, as it does in a stream of inputs. Which share of a run each
layer has is measured by `partition.latency.measure` at a few lengths and fitted layer by layer.
"""

import datetime
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.host import available_processors, host_hardware, host_name
from partition.latency.measure import check_pause, measure
from partition.latency.profiling import CPU_PROVIDER, check_provider, with_fallback
from partition.latency.timings import MeasuredRuntime, Timings, spread_notes
from partition.routing.length_fits import fit_conversions, fit_layers, fit_output_length, fit_sizes
from partition.routing.length_models import (
    FEWEST,
    LengthModel,
    Order,
    fit_length_model,
    relative_error,
)
from partition.routing.length_records import LengthSample, OpenModel
from partition.routing.lengths_file import LengthTimings
from partition.routing.open_dims import check_range, length_of, log_spaced, open_axes
from partition.units import check_threads

if TYPE_CHECKING:
    import onnxruntime  # noqa: TID251

    from graph_io import Granularity, Model, ModelSource

Inputs = Mapping[str, NDArray[Any]]
# A fit that is further off at a length that was held out was measured beside other work, or the model does not grow as
# the curves do.
_MOST_ERROR = 0.2
# Of the lengths between the ends, every third is held out, if so many are left.
_HOLD_OUT_EVERY, _HOLD_OUT_FROM = 3, 7
# A short length runs several times a round: until it took this share of the longest, but at most so often.
_SHARE_OF_LONGEST, _MOST_REPEATS = 0.25, 4
_WARM_UP_ROUNDS = 2
# What each of the two measurements is of the progress.
_WHOLE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class SweepEffort:
    """How much a sweep measures.

    Attributes
    ----------
    lengths, layer_lengths : int
        How many lengths are measured as whole runs, and layer by layer; log-spaced, both ends among them.
    fewest_rounds, most_rounds : int
        Each round runs every length at least once; after the fewest the budget ends the loop.
    budget_s : float
        For the whole runs.
    """

    lengths: int = 18
    layer_lengths: int = 5
    fewest_rounds: int = 15
    most_rounds: int = 60
    budget_s: float = 30.0

    def __post_init__(self) -> None:
        for name, least in (("lengths", 3), ("layer_lengths", 3), ("fewest_rounds", 1), ("most_rounds", 1)):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise InputError(f"{name} of a sweep is {count!r}; give a whole number of {least} or more")
        if self.most_rounds < self.fewest_rounds:
            raise InputError(
                f"most_rounds of a sweep is {self.most_rounds}, less than fewest_rounds, {self.fewest_rounds}; give at "
                "least as many"
            )
        budget_s = self.budget_s
        if isinstance(budget_s, bool) or not isinstance(budget_s, int | float) or not 0 < budget_s < math.inf:
            raise InputError(f"budget_s of a sweep is {budget_s!r}; give a finite number of seconds above 0")


def measure_lengths(
    model: "ModelSource",
    dim: str = "seq",
    range: Sequence[int] = (1, 512),
    *,
    dims: Mapping[str, int] | None = None,
    granularity: "Granularity" = "layer",
    threads: int | None = None,
    provider: str = CPU_PROVIDER,
    order: Order = "auto",
    inputs: Callable[[int], Inputs] | None = None,
    effort: SweepEffort | None = None,
    seed: int = 0,
    name: str | None = None,
    pause_s: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> LengthTimings:
    """Measure a model on this machine over a range of lengths of its input.

    Parameters
    ----------
    model : path or onnx.ModelProto
    dim : str
        The open dimension that the length is of.
    range : pair of int
        The least and the greatest length.
    dims : mapping of str to int, optional
        Values of the other open dimensions.
    granularity : {"layer", "node"}
    threads : int, optional
        Of the runtime; as many as this process may use processors if not given.
    provider : str
        Execution provider of the runtime.
    order : {"auto", "linear", "quadratic"}
        Of the curve of the whole run; "auto" decides by cross-validation. Those of the layers are always decided so.
    inputs : callable, optional
        Makes the inputs of a length; seeded random ones if not given.
    effort : SweepEffort, optional
    seed : int
        Of the inputs and of the order of the runs.
    name : str, optional
        The machine's name in the result; its host name if not given.
    pause_s : float
        Rest before each run, as between requests that come apart: they find cold caches. 0 to 10.
    progress : callable, optional
        Called with the finished share, 0 to 1.

    Returns
    -------
    LengthTimings

    Raises
    ------
    InputError
        A dimension that the model does not have, a range that is none, a length at which the model does not run, inputs
        that were made of another length, fewer than 3 lengths in the range, layers that are others at other lengths, a
        pause out of its range; and as `measure`.
    graph_io.ModelError
        As `measure`.
    """
    import onnxruntime  # noqa: TID251

    from graph_io import load_model, structure_sha256
    from graph_io.errors import ModelError

    least, most = check_range(dim, range)
    if threads is not None:
        check_threads(threads)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InputError(f"the machine's name is {name!r}; give a text that is not blank, or none for the host name")
    check_pause(pause_s)
    check_provider(provider)
    used_threads = threads if threads is not None else available_processors()
    effort = effort or SweepEffort()
    loaded = load_model(model)
    axes = open_axes(loaded, dim, dims)
    lengths = log_spaced(least, most, effort.lengths)
    if len(lengths) < FEWEST["linear"]:
        raise InputError(
            f"the range of '{dim}', {least} to {most}, holds {len(lengths)} lengths, and a fit needs "
            f"{FEWEST['linear']}; give a wider one"
        )
    make = inputs or _random_inputs(loaded, dim, dims or {}, seed)
    fed = {length: _made(make, length, axes, dim) for length in lengths}
    session = _open(loaded, used_threads, provider)
    outputs = _probe(session, fed, loaded.name, dim)
    runs = _interleaved_runs(session, fed, effort, pause_s, seed, _share_of(progress, 0.0, _WHOLE_SHARE))
    samples = tuple(
        LengthSample(length, held, tuple(runs.times_s[length]))
        for length, held in zip(lengths, _held_out(len(lengths)), strict=True)
    )
    whole = _fit_whole(samples, order)
    del session
    profiled = log_spaced(least, most, effort.layer_lengths)
    timings = {}
    for number, length in enumerate(profiled):
        start = _WHOLE_SHARE + (1 - _WHOLE_SHARE) * number / len(profiled)
        try:
            timings[length] = measure(
                model,
                dims={**(dims or {}), dim: length},
                granularity=granularity,
                threads=used_threads,
                provider=provider,
                inputs=None if inputs is None else _made(make, length, axes, dim),
                name=name,
                pause_s=pause_s,
                progress=_share_of(progress, start, (1 - _WHOLE_SHARE) / len(profiled)),
            )
        except (InputError, ModelError) as error:
            raise type(error)(f"at {dim}={length}: {error}") from error
    layers = fit_layers(timings, whole, dim)
    held = [one for one in samples if one.held_out]
    medians = np.array([one.median_s for one in held])
    input_bytes = [sum(int(array.nbytes) for array in fed[length].values()) for length in lengths]
    output_bytes = [sum(int(array.nbytes) for array in outputs[length]) for length in lengths]
    last = timings[profiled[-1]]
    return LengthTimings(
        name=name if name is not None else host_name(),
        model=OpenModel(
            loaded.name,
            structure_sha256(loaded.proto),
            granularity,
            {
                value: tuple(
                    dim if axis in axes.get(value, ()) else int(size)
                    for axis, size in enumerate(last.model.input_shapes[value])
                )
                for value in last.model.input_shapes
            },
        ),
        dim=dim,
        hardware=host_hardware(),
        runtime=MeasuredRuntime("onnxruntime", onnxruntime.__version__, provider, used_threads, "all"),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        latency=whole,
        input_bytes=fit_sizes(lengths, input_bytes),
        output_bytes=fit_sizes(lengths, output_bytes),
        output_length=fit_output_length(lengths, outputs),
        samples=samples,
        layers=layers,
        conversions=fit_conversions(timings),
        held_out_mape=relative_error(medians, whole.over([one.length for one in held])) if held else None,
        cpu_share=runs.cpu_s / runs.wall_s,
        notes=(*dict.fromkeys(_lasting_notes(timings.values())), *doubts(samples, whole, dim)),
    )


def _lasting_notes(timings: Iterable[Timings]) -> Iterator[str]:
    """Yield what was noted at single lengths, but how far their runs lie apart: the runs of all lengths tell that."""
    for one in timings:
        own = spread_notes(one.whole_model.spread_s / one.whole_model.latency_s)
        yield from (note for note in one.notes if note not in own)


def doubts(samples: Sequence[LengthSample], whole: LengthModel, dim: str) -> Iterator[str]:
    """Yield why measured runs, or what was fitted to them, are not to be trusted; nothing where they are.

    Parameters
    ----------
    samples : sequence of LengthSample
    whole : LengthModel
        The fit to those that are not held out.
    dim : str
    """
    quartiles = [np.percentile(one.times_s, [25, 75]) / one.median_s for one in samples]
    yield from spread_notes(float(np.median([high - low for low, high in quartiles])))
    errors = {one.length: abs(whole.extended(one.length) / one.median_s - 1) for one in samples if one.held_out}
    far = [length for length, error in errors.items() if error > _MOST_ERROR]
    if far:
        yield (
            f"the fit is off by up to {max(errors.values()):.0%} at lengths that were held out ({dim} = "
            f"{', '.join(map(str, far))}); end what else runs there and measure again, or over fewer lengths"
        )


@dataclass(frozen=True, slots=True)
class _Runs:
    times_s: dict[int, list[float]]
    cpu_s: float
    wall_s: float


def _share_of(progress: Callable[[float], None] | None, start: float, share: float) -> Callable[[float], None] | None:
    return None if progress is None else lambda done: progress(start + share * done)


def _made(make: Callable[[int], Inputs], length: int, axes: Mapping[str, tuple[int, ...]], dim: str) -> Inputs:
    made = make(length)
    legal = "return arrays by input name"
    if not isinstance(made, Mapping):
        raise InputError(f"inputs(...) made a {type(made).__name__} for length {length}; {legal}")
    odd = next((name for name, array in made.items() if not isinstance(array, np.ndarray)), None)
    if odd is not None:
        raise InputError(f"inputs(...) made a {type(made[odd]).__name__} as '{odd}' for length {length}; {legal}")
    try:
        found = length_of(made, axes, dim)
    except InputError as error:
        raise InputError(f"inputs(...) for length {length}: {error}") from error
    if found != length:
        raise InputError(
            f"inputs(...) made arrays of {dim}={found} for length {length}; make them of the length that is asked for"
        )
    return made


def _random_inputs(model: "Model", dim: str, dims: Mapping[str, int], seed: int) -> Callable[[int], Inputs]:
    from graph_io import fix_input_dims, input_dtypes, random_inputs

    dtypes = input_dtypes(model)

    def make(length: int) -> Inputs:
        shapes, _ = fix_input_dims(model, {**dims, dim: length})
        return random_inputs(shapes, dtypes, seed=seed)

    return make


def _open(model: "Model", threads: int, provider: str) -> "onnxruntime.InferenceSession":
    import onnxruntime  # noqa: TID251

    from graph_io import ModelError, runtime_reason
    from partition.runtime.parts import session_options

    options = session_options(threads=threads, weights=model.weights)
    try:
        return onnxruntime.InferenceSession(model.proto.SerializeToString(), options, providers=with_fallback(provider))
    except Exception as error:  # the runtime's exceptions share no public base class
        raise ModelError(f"model '{model.name}' cannot be opened in onnxruntime: {runtime_reason(error)}") from error


def _probe(
    session: "onnxruntime.InferenceSession", fed: Mapping[int, Inputs], model: str, dim: str
) -> dict[int, list[NDArray[Any]]]:
    """Run every length once, before any is measured, and return the outputs' shapes as arrays."""
    from graph_io import runtime_reason

    outputs = {}
    for length, inputs in fed.items():
        try:
            outputs[length] = session.run(None, dict(inputs))
        except Exception as error:  # the runtime's exceptions share no public base class
            raise InputError(
                f"model '{model}' does not run at {dim}={length}: {runtime_reason(error)}; choose a range of lengths "
                "at which it does"
            ) from error
    return outputs


def _interleaved_runs(
    session: "onnxruntime.InferenceSession",
    fed: Mapping[int, Inputs],
    effort: SweepEffort,
    pause_s: float,
    seed: int,
    progress: Callable[[float], None] | None,
) -> _Runs:
    """Run all lengths in rounds, each round in another order."""
    inputs = {length: dict(one) for length, one in fed.items()}

    def once(length: int) -> tuple[float, float]:
        given = inputs[length]
        if pause_s:
            time.sleep(pause_s)
        cpu_before, before = time.process_time(), time.perf_counter()
        session.run(None, given)
        return time.perf_counter() - before, time.process_time() - cpu_before

    for _ in range(_WARM_UP_ROUNDS):
        first = {length: once(length)[0] for length in inputs}
    longest_s = max(first.values())
    schedule = [
        length
        for length, seconds in first.items()
        for _ in range(min(_MOST_REPEATS, max(1, round(_SHARE_OF_LONGEST * longest_s / seconds))))
    ]
    generator = np.random.default_rng(seed)
    times: dict[int, list[float]] = {length: [] for length in inputs}
    cpu_s = wall_s = 0.0
    start = time.perf_counter()
    for done in range(effort.most_rounds):
        spent = (time.perf_counter() - start) / effort.budget_s
        if done >= effort.fewest_rounds and spent >= 1:
            break
        if progress is not None:
            progress(min(1.0, max(done / effort.most_rounds, min(spent, done / effort.fewest_rounds))))
        for at in generator.permutation(len(schedule)).tolist():
            wall, cpu = once(schedule[at])
            times[schedule[at]].append(wall)
            wall_s, cpu_s = wall_s + wall, cpu_s + cpu
    return _Runs(times, cpu_s, wall_s)


def _held_out(count: int) -> list[bool]:
    """Say which of so many sorted lengths are held out."""
    if count < _HOLD_OUT_FROM:
        return [False] * count
    return [0 < at < count - 1 and at % _HOLD_OUT_EVERY == _HOLD_OUT_EVERY - 1 for at in range(count)]


def _fit_whole(samples: Sequence[LengthSample], order: Order) -> LengthModel:
    fitted = [one for one in samples if not one.held_out]
    return fit_length_model(
        [one.length for one in fitted for _ in one.times_s],
        [time for one in fitted for time in one.times_s],
        order=order,
    )
