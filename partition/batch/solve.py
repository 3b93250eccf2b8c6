"""Solve many models: one after the other, or by joblib's workers, here or on a cluster."""

import ctypes
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

from graph_io import Granularity
from partition.batch.machines import MachineOfPair
from partition.batch.models import BatchModel, find_models
from partition.batch.numeric import pair_names, solve_rows
from partition.batch.order import longest_first
from partition.batch.pricing import price
from partition.batch.settings import Settings
from partition.batch.table import BatchTable, ModelRows
from partition.energy.radio import Radio
from partition.errors import LIBRARY_ERRORS, InputError
from partition.links import Link
from partition.problem import Objective, OutputOn

DEFAULT_MACHINES: tuple[tuple[MachineOfPair, MachineOfPair], ...] = (("raspberry-pi-4", "xeon-server"),)
# So many models are under way at once, or done and waiting for one before them: enough for the workers to end together,
# and no more rows than memory holds easily.
_MODELS_OF_A_WORKER, _ROWS_AT_ONCE = 4, 2_000_000
Progress = bool | Callable[[int, int], None] | None


def solve_many(
    models: object,
    links: str | float | Link | Iterable[str | float | Link],
    machines: Iterable[tuple[MachineOfPair, MachineOfPair]] = DEFAULT_MACHINES,
    *,
    objective: Objective = "latency",
    output_on: OutputOn = "device",
    dims: Mapping[str, int] | None = None,
    granularity: Granularity = "layer",
    keep_inputs: bool = False,
    max_server_visits: int | None = 1,
    radio: str | Radio | None = None,
    workers: int | None = None,
    progress: Progress = None,
) -> BatchTable:
    """Find the best cut of every model, for every link and every pair of machines.

    Parameters
    ----------
    models : path, folder, pattern, onnx.ModelProto, networkx.DiGraph, BatchModel, or an iterable of them
        See `find_models`.
    links : iterable of str, float or Link
        Each as the bandwidth of `partition.partition`.
    machines : iterable of (device, server)
        Each as `partition.partition` takes it, or a `ScaledMachine`.
    objective, output_on, granularity, keep_inputs, max_server_visits, radio
        As for `partition.partition`, for all rows.
    dims : mapping of str to int, optional
        Values of symbolic dimensions; each counts for the models that have it, and one of them has to.
    workers : int, optional
        Processes, each with one thread. None: what an active ``joblib.parallel_config`` says, such as a Dask cluster;
        without one, this process alone.
    progress : bool or callable, optional
        True shows a bar where stderr is a terminal; a callable gets (models done, models).

    Returns
    -------
    BatchTable
        Model by model, pair by pair, link by link, all in the order given. Each row has the answer of
        `partition.partition`; where several placements cost the same, perhaps another one of them.

    Raises
    ------
    InputError
        An argument that no row could be solved with; a name in `dims` that no model has, where all could be solved.
        What is wrong with one model, or with one pair for a model, is in the `error` of its rows instead.

    Notes
    -----
    A model is loaded, priced and analysed once. What remains for a row is linear in its layers, with 16 rows solved in
    step; where elimination does not fold, each row is a cut of its own.

    Examples
    --------
    >>> from partition import solve_many
    >>> table = solve_many("zoo/*.onnx", ["3g", "4g", "wifi"], workers=2)      # doctest: +SKIP
    >>> best = {(row.model, row.link): row.cut for row in table}                # doctest: +SKIP
    """
    return BatchTable(
        tuple(
            solve_each(
                models,
                links,
                machines,
                objective=objective,
                output_on=output_on,
                dims=dims,
                granularity=granularity,
                keep_inputs=keep_inputs,
                max_server_visits=max_server_visits,
                radio=radio,
                workers=workers,
                progress=progress,
            )
        )
    )


def solve_each(
    models: object,
    links: str | float | Link | Iterable[str | float | Link],
    machines: Iterable[tuple[MachineOfPair, MachineOfPair]] = DEFAULT_MACHINES,
    *,
    objective: Objective = "latency",
    output_on: OutputOn = "device",
    dims: Mapping[str, int] | None = None,
    granularity: Granularity = "layer",
    keep_inputs: bool = False,
    max_server_visits: int | None = 1,
    radio: str | Radio | None = None,
    workers: int | None = None,
    progress: Progress = None,
) -> Generator[ModelRows, None, None]:
    """Return the rows of `solve_many` model by model, each as soon as it and those before it are done.

    Workers get as many models at a time as make two million rows, or 4 each if that is more, begin with what may take
    longest, and all are done before the next ones begin: no more blocks than that wait to be handed out.

    Same arguments and errors, which are raised at once, but for a name in `dims` that no model has: that is known, and
    raised, after the last block. What joblib is set to is read at once, too. Closing the generator ends what is under
    way.

    Parameters
    ----------
    models, links, machines, objective, output_on, dims, granularity, keep_inputs, max_server_visits, radio
        As for `solve_many`.
    workers, progress
        As for `solve_many`.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InputError(f"workers is {workers!r}; give a whole number of 1 or more, or None")
    if workers not in (None, 1) and find_spec("joblib") is None:
        raise InputError(
            f"workers is {workers}, and more than 1 needs the package joblib, which is not installed: "
            "pip install 'dnn-partition[batch]'"
        )
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise InputError(f"progress is {progress!r}; give True, or a callable that takes (models done, models)")
    settings = Settings.parse(
        links,  # type: ignore[arg-type]
        machines,
        objective=objective,
        output_on=output_on,
        dims=dims,
        granularity=granularity,
        keep_inputs=keep_inputs,
        max_server_visits=max_server_visits,
        radio=radio,
    )
    found = find_models(models)
    counter = _Counter(len(found))
    return _reported(_checked(_solved(found, settings, workers, counter), settings), counter, progress)


def solve_model(model: BatchModel, settings: Settings) -> ModelRows:
    """Solve all rows of one model; whatever is wrong with it becomes the error of its rows."""
    try:
        return solve_rows(price(model, settings), settings)
    except LIBRARY_ERRORS as error:
        reason = str(error)
    except MemoryError:
        reason = "out of memory; give smaller dims, or fewer workers"
    # onnx and onnxruntime raise types of their own, and one model must not end the batch.
    except Exception as error:
        reason = f"unexpected {type(error).__name__}: {error}"
    return ModelRows.failed(model.name, settings.objective, pair_names(settings), settings.links, reason)


Blocks = Generator[ModelRows, None, None]


class _Counter:
    """Tells how many models are done, also of those that wait for one before them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.report: Callable[[int, int], None] | None = None
        self._done = 0

    def counted(self, block: ModelRows) -> ModelRows:
        """Count a model that is done."""
        self._done += 1
        if self.report is not None:
            self.report(self._done, self.total)
        return block


def _solved(models: tuple[BatchModel, ...], settings: Settings, workers: int | None, counter: _Counter) -> Blocks:
    """Return the blocks in order; not a generator itself, so that joblib's setting is read when it is called."""
    here = (counter.counted(solve_model(model, settings)) for model in models)
    if workers == 1 or (workers is None and find_spec("joblib") is None):
        return here
    import joblib

    own: Any = nullcontext()
    if workers is not None:
        own = joblib.parallel_config(backend="loky", n_jobs=min(workers, len(models)), inner_max_num_threads=1)
    # The backend is taken when the pool is made; later the caller's own setting holds.
    with own:
        try:
            pool = joblib.Parallel(return_as="generator_unordered", batch_size=1)
        except ValueError:
            # Ray's backend cannot hand out one result after the other.
            pool = joblib.Parallel(batch_size=1)
        n_jobs = joblib.effective_n_jobs(pool.n_jobs)
    if n_jobs == 1:
        return here
    rows = len(settings.links) * len(pair_names(settings))
    return _by_joblib(models, settings, pool, max(_MODELS_OF_A_WORKER * n_jobs, _ROWS_AT_ONCE // rows), rows, counter)


def _by_joblib(
    models: tuple[BatchModel, ...], settings: Settings, pool: Any, window: int, n_rows: int, counter: _Counter
) -> Blocks:
    """Solve a window of models after the other: joblib itself would go on, however many blocks wait for the first."""
    import joblib

    for first in range(0, len(models), window):
        order = [first + at for at in longest_first(models[first : first + window], n_rows)]
        with _without_ctrl_c():
            results = pool(joblib.delayed(_solve_numbered)(at, models[at], settings) for at in order)
        early: dict[int, ModelRows] = {}
        wanted = first
        try:
            for at, block in results:
                early[at] = counter.counted(block)
                while wanted in early:
                    yield early.pop(wanted)
                    wanted += 1
        finally:
            if hasattr(results, "close"):
                # Given up early, joblib warns that it cancels what is not done, which is what was asked for.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    results.close()


def _checked(blocks: Blocks, settings: Settings) -> Blocks:
    """Pass blocks on; after the last one, refuse names in dims that no model has."""
    missing = set(settings.dims)
    with closing(blocks):
        for block in blocks:
            # A model that could not be loaded may have any of them.
            missing.intersection_update(block.missing_dims)
            yield block
    unknown = next((name for name in settings.dims if name in missing), None)
    if unknown is not None:
        raise InputError(f"dims has '{unknown}', and no model has a dimension of that name; correct or omit it")


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back, for this process until the end and for the processes that it starts for good.

    A terminal sends it to all of them, and a worker that is still starting would print a traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _solve_numbered(at: int, model: BatchModel, settings: Settings) -> tuple[int, ModelRows]:
    """Solve one model in a worker, and give its memory back to the system."""
    try:
        return at, solve_model(model, settings)
    finally:
        # glibc keeps what is freed: a worker would stay as large as its largest model, and joblib then replaces it,
        # which takes seconds.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        if trim is not None:
            trim(0)


def _reported(blocks: Blocks, counter: _Counter, progress: Progress) -> Blocks:
    with closing(blocks):
        if progress is True:
            from partition.terminal import steps

            with steps(1) as step:
                step.start(f"solving {counter.total} models")
                counter.report = lambda done, total: step.share(done / total)
                yield from blocks
            return
        if callable(progress):
            counter.report = progress
        yield from blocks
