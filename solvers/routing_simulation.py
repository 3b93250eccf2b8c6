"""The face of the routing simulation: makes room and runs the kernel, in the interpreter or compiled."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType

import numpy as np
from numpy.typing import NDArray

from solvers import (
    _jit,
    routing_central,
    routing_events,
    routing_kernel,
    routing_oracle,
    routing_rules,
    routing_state,
    routing_truth,
)
from solvers.errors import ProblemError
from solvers.routing_events import Heap
from solvers.routing_kernel import run_simulation
from solvers.routing_rules import ADVERT_FIELDS
from solvers.routing_state import (
    DONE,
    N_COUNTERS,
    NEXT_FREE,
    NO_ROOM,
    REAL_FIELDS,
    WHOLE_FIELDS,
    Inputs,
    Knowledge,
    Outcome,
    Pool,
    Setting,
)
from solvers.routing_truth import Truth

_MODULES = (
    routing_rules,
    routing_central,
    routing_truth,
    routing_events,
    routing_state,
    routing_oracle,
    routing_kernel,
)
MOST_MACHINES = 52
"""Machines of one network: a way is a bit for each of them, in a number that travels as a float."""
_FIRST_ROOM, _MOST_ROOM = 256, 1 << 24


def run(
    setting: Setting,
    truth: Truth,
    inputs: Inputs,
    routes: tuple[NDArray[np.int64], NDArray[np.int64]],
    knowledge: Knowledge,
) -> Outcome:
    """Simulate one policy.

    Parameters
    ----------
    setting : Setting
    truth : Truth
        Arrays; int64 and float64.
    inputs : Inputs
        Arrays of length n; ``run_s`` of length machines * n.
    routes : two int64 arrays
        Where each route starts in the second, which has their machines; the first route is to stay.
    knowledge : Knowledge
        Two-dimensional arrays, a row for each machine. They are copied: a run starts from what is given.

    Returns
    -------
    Outcome
        Arrays.

    Raises
    ------
    ProblemError
        More than 52 machines, no inputs, or more in flight than there is room for (16 million).
    """
    n_inputs, n_machines = len(inputs.lengths), len(truth.clock_s)
    if not 1 <= n_machines <= MOST_MACHINES or n_inputs < 1:
        raise ProblemError(
            f"a simulation of {n_machines} machines and {n_inputs} inputs; give 1 to {MOST_MACHINES} and 1 or more"
        )
    backend = _jit.choose(n_inputs)
    room = _FIRST_ROOM
    while room <= _MOST_ROOM:
        first = 1 if setting.closed else n_inputs
        heap = _heap(inputs.arrivals_s[:first], first + 2 * room)
        pool = _pool(room, n_machines)
        out = _outcome(n_inputs, n_machines, int(truth.link_of.max(initial=0)) + 1)
        copies = Knowledge(*(np.array(table) for table in knowledge))
        given = [backend.views(one) for one in (setting, truth, inputs)]
        found = [backend.views(one) for one in (copies, pool, heap, out)]
        arguments = (*given, backend.view(routes[0]), backend.view(routes[1]), *found)
        kernel: Callable[..., int] = run_simulation if backend.plain else _compiled()
        status = kernel(*arguments)
        if status != NO_ROOM:
            break
        room *= 8
    if status != DONE:
        raise ProblemError(
            f"the simulation of {n_inputs} inputs came to no end (status {status}); give fewer inputs, or later ones"
        )
    return Outcome(*(np.asarray(field) for field in found[-1]))


def _heap(arrivals_s: NDArray[np.float64], room: int) -> Heap:
    """Return a heap that holds the arrivals, which have to be sorted: a sorted array is a heap."""
    n_first = len(arrivals_s)
    times_s, numbers = np.zeros(room), np.zeros((room, 4), dtype=np.int64)
    times_s[:n_first] = arrivals_s
    numbers[:n_first, 0] = numbers[:n_first, 2] = np.arange(n_first)
    return Heap(times_s, numbers.ravel(), np.array([n_first, n_first], dtype=np.int64))


def _pool(room: int, n_machines: int) -> Pool:
    whole = np.zeros((room, WHOLE_FIELDS), dtype=np.int64)
    whole[:, NEXT_FREE] = np.arange(1, room + 1)
    whole[-1, NEXT_FREE] = -1
    offers = np.zeros(room * n_machines * ADVERT_FIELDS)
    return Pool(whole.ravel(), np.zeros(room * REAL_FIELDS), offers, np.zeros(1, dtype=np.int64))


def _outcome(n_inputs: int, n_machines: int, n_links: int) -> Outcome:
    return Outcome(
        machine=np.full(n_inputs, -1),
        started_s=np.zeros(n_inputs),
        taken_s=np.zeros(n_inputs),
        predicted_s=np.zeros(n_inputs),
        seconds=np.zeros(3 * n_inputs),
        counters=np.zeros(N_COUNTERS, dtype=np.int64),
        link_free_s=np.zeros(n_links),
        machine_free_s=np.zeros(n_machines),
    )


@cache
def _compiled() -> Callable[..., int]:
    """Compile the kernel, with the rules as they are: numba is told that it may compile each of them where called."""
    from numba.extending import register_jitable  # noqa: TID251

    digest = hashlib.sha256()
    for module in _MODULES:
        digest.update(Path(str(module.__file__)).read_bytes())
        for value in vars(module).values():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__ and value is not run_simulation:
                register_jitable(value)
    # What numba keeps on disk is looked up by this name: it has to change with every file that was compiled into it.
    kernel = FunctionType(run_simulation.__code__, vars(routing_kernel))
    kernel.__qualname__ = f"run_simulation_{digest.hexdigest()[:16]}"
    compiled: Callable[..., int] = _jit._compile(kernel)
    return compiled


__all__ = ["MOST_MACHINES", "Inputs", "Knowledge", "Outcome", "Setting", "Truth", "run"]
