"""What a placement costs: the one function that every method and every test answers to.

A tensor is sent at most once to each other machine that consumes it, and encoded and decoded for that. With two
machines messages are counted by stages: a layer's stage is one more than its producer's if they sit on different
machines, the largest over all producers. Every boundary between stages below the highest carries a tensor that no
other message could carry, so the number of messages is the highest stage, and they alternate device -> server,
server -> device.

With more machines there is no such order, and every tensor sent is charged a delay of its own: an upper bound on what
messages that carry several tensors cost. Without delays the value is exact for any number of machines. Of more than
two machines only those count on which some layer is allowed: if that leaves two, messages between them are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._jit import choose
from solvers.errors import MethodError, ProblemError
from solvers.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Breakdown:
    """The parts of a placement's cost, in the problem's unit.

    Attributes
    ----------
    compute : (n_machines,) float64
        What each machine computes; inf if a layer sits where it is not allowed.
    transfer : (n_machines, n_machines) float64
        Tensors sent from i to j, without encode and decode.
    sent_tensors : tuple of (int, int, int)
        Tensor, sender and receiver, each sent once.
    delay : float
    n_messages : int
        With more than two machines that layers may use, one for each of `sent_tensors`.
    value : float
        The sum; inf if not allowed or beyond `max_server_visits`.
    encode : (n_machines,) float64
        What each machine pays to make ready what it sends.
    decode : (n_machines,) float64
        What each machine pays to take in what it receives.
    """

    compute: FloatArray
    transfer: FloatArray
    sent_tensors: tuple[tuple[int, int, int], ...]
    delay: float
    n_messages: int
    value: float
    encode: FloatArray
    decode: FloatArray

    def __repr__(self) -> str:
        return f"Breakdown(value={self.value:.6g}, {len(self.sent_tensors)} tensors in {self.n_messages} messages)"


def evaluate(problem: Problem, placement: Any) -> float:
    """Return the cost of `placement`, (n_layers,) machines; inf if it is not allowed.

    With more than two machines and delays this is an upper bound, see the module; machines on which no layer is
    allowed do not count.

    Raises
    ------
    ProblemError
        The placement has the wrong shape or names machines that do not exist.

    Notes
    -----
    O(n_layers + n_consumers + n_tensors * n_machines).
    """
    machines = checked_placement(problem, placement)
    for group in problem.colocated:
        if len({int(machines[layer]) for layer in group}) > 1:
            return float("inf")
    visits = problem.max_server_visits
    if visits is None and not problem.delay.any():
        return _added(problem, machines, problem.per_tensor)
    ends = message_ends(problem)
    if ends is None:
        return _added(problem, machines, problem.per_tensor + problem.delay)
    n_messages = count_messages(problem, machines, ends)
    if visits is not None and (n_messages + 1) // 2 > visits:
        return float("inf")
    return _added(problem, machines, problem.per_tensor) + delay_cost(problem, n_messages, ends)


def breakdown(problem: Problem, placement: Any) -> Breakdown:
    """Return the parts that `evaluate` adds up; same arguments and errors."""
    machines = checked_placement(problem, placement)
    n_machines = problem.n_machines
    costs = problem.compute[np.arange(problem.n_layers), machines]
    compute = np.bincount(machines, weights=costs, minlength=n_machines).astype(np.float64)
    tensors, senders, receivers = _sent(problem, machines)
    prices = (
        problem.per_tensor[senders, receivers]
        + problem.tensor_size_bytes[tensors] * problem.per_byte[senders, receivers]
    )
    encode, decode = problem.encode[tensors, senders], problem.decode[tensors, receivers]
    transfer = np.bincount(senders * n_machines + receivers, weights=prices, minlength=n_machines * n_machines)
    ends = message_ends(problem)
    if ends is None:
        n_messages, delay = len(tensors), float(problem.delay[senders, receivers].sum())
    else:
        n_messages = count_messages(problem, machines, ends)
        delay = delay_cost(problem, n_messages, ends)
    return Breakdown(
        compute=read_only(compute),
        transfer=read_only(transfer.astype(np.float64).reshape(n_machines, n_machines)),
        sent_tensors=tuple(zip(tensors.tolist(), senders.tolist(), receivers.tolist(), strict=True)),
        delay=delay,
        n_messages=n_messages,
        value=evaluate(problem, machines),
        encode=read_only(np.bincount(senders, weights=encode, minlength=n_machines).astype(np.float64)),
        decode=read_only(np.bincount(receivers, weights=decode, minlength=n_machines).astype(np.float64)),
    )


def stages(problem: Problem, placement: Any) -> IntArray:
    """Return the stage of each layer, (n_layers,) int64; even on the device, odd on the server.

    A layer without producers has stage 0 on the device and 1 on the server, which starts when asked. Two machines
    only. Complexity O(n_layers + n_consumers).
    """
    machines = checked_placement(problem, placement)
    if problem.n_machines != 2:
        raise MethodError(f"stages are defined for 2 machines, the problem has {problem.n_machines}")
    graph, backend = problem.graph, choose(problem.n_layers)
    out = backend.load(machines)
    arguments = (graph.order, graph.successor_offsets, graph.successors, machines)
    backend.run(_stages, *(backend.view(argument) for argument in arguments), out)
    return np.array(out, dtype=np.int64)


def message_ends(problem: Problem) -> tuple[int, ...] | None:
    """Return the machines between which messages are counted, the device or what stands for it first.

    With more than two machines they are those on which some layer is allowed; None if these are more than two. One
    machine or none at all takes no messages.
    """
    if problem.n_machines <= 2:
        return tuple(range(problem.n_machines))
    useful = np.flatnonzero(np.isfinite(problem.compute).any(axis=0))
    return tuple(useful.tolist()) if len(useful) <= 2 else None


def count_messages(problem: Problem, machines: IntArray, ends: tuple[int, ...] = (0, 1)) -> int:
    """Return how many messages a checked placement takes between the machines `ends`: its highest stage."""
    if len(ends) < 2:
        return 0
    on_server = (machines == ends[1]).astype(np.int64)
    if not on_server.any():
        return 0
    graph, backend = problem.graph, choose(problem.n_layers)
    highest, stage = backend.full(1, 0), backend.full(problem.n_layers, 0)
    arguments = (graph.order, graph.successor_offsets, graph.successors, on_server)
    backend.run(_highest, *(backend.view(argument) for argument in arguments), stage, highest)
    return int(highest[0])


def delay_free_value(problem: Problem, machines: IntArray) -> float:
    """Return compute plus transfers of a checked placement, without delays and without the limit on visits."""
    return _added(problem, machines, problem.per_tensor)


def delay_free_values(problem: Problem, placements: NDArray[np.int8], costs: tuple[FloatArray, ...]) -> FloatArray:
    """Return the same for (n_problems, n_layers) placements under their own costs, (n_problems,).

    `costs` are compute, sizes, per_tensor, per_byte and work at crossings, each with a leading dimension of n_problems
    or of 1; the last one may be empty.
    """
    n_problems, n_layers = placements.shape
    backend = choose(n_layers * n_problems)
    values = backend.full(n_problems, 0.0, np.float64)
    integers = (placements.ravel(), problem.tensor_producer, problem.consumer_offsets, problem.consumer_layers)
    backend.run(
        _add,
        *(backend.view(array.ravel()) for array in costs),
        *(backend.view(array) for array in integers),
        backend.full(problem.n_machines, -1),
        values,
    )
    return np.asarray(values, dtype=np.float64)


def highest_stages(problem: Problem, placements: NDArray[np.int8]) -> IntArray:
    """Return the highest stage of each of (n_problems, n_layers) placements on two machines, (n_problems,)."""
    graph, n_layers = problem.graph, problem.n_layers
    backend = choose(placements.size)
    highest, stage = backend.full(len(placements), 0), backend.full(n_layers, 0)
    arguments = (graph.order, graph.successor_offsets, graph.successors, placements.ravel())
    backend.run(_highest, *(backend.view(argument) for argument in arguments), stage, highest)
    return np.asarray(highest, dtype=np.int64)


def delay_cost(problem: Problem, n_messages: int, ends: tuple[int, ...] = (0, 1)) -> float:
    """Return the delays of `n_messages` alternating messages between `ends` under the problem's delays."""
    return alternating_delay(problem.delay, n_messages, ends)


def alternating_delay(delay: FloatArray, n_messages: int, ends: tuple[int, ...] = (0, 1)) -> float:
    """Return the delays of `n_messages` alternating messages, the first one from the first of `ends`."""
    if n_messages == 0:
        return 0.0
    device, server = ends
    upwards, downwards = (n_messages + 1) // 2, n_messages // 2
    return float(upwards * delay[device, server] + downwards * delay[server, device])


def checked_placement(problem: Problem, placement: Any) -> IntArray:
    """Return `placement` as int64 after checking its shape and its machines."""
    try:
        machines = np.asarray(placement)
    except ValueError as error:
        raise ProblemError(f"the placement is not an array of machines: {error}") from None
    if machines.shape != (problem.n_layers,):
        raise ProblemError(f"the placement has shape {machines.shape}; give ({problem.n_layers},), one per layer")
    if machines.size and machines.dtype.kind not in "iub":
        raise ProblemError(f"the placement has type {machines.dtype}; give machine numbers")
    machines = machines.astype(np.int64, copy=False)
    if machines.size and (machines.min() < 0 or machines.max() >= problem.n_machines):
        layer = int(np.argmax((machines < 0) | (machines >= problem.n_machines)))
        raise ProblemError(
            f"{problem.layer(layer)} is placed on machine {machines[layer]}; machines are 0 to {problem.n_machines - 1}"
        )
    return machines


def _sent(problem: Problem, machines: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return tensor, sender and receiver of everything that is sent."""
    needed = np.zeros((problem.n_tensors, problem.n_machines), dtype=bool)
    owner = np.repeat(np.arange(problem.n_tensors), problem.consumer_counts())
    needed[owner, machines[problem.consumer_layers]] = True
    source = machines[problem.tensor_producer]
    needed[np.arange(problem.n_tensors), source] = False
    tensors, receivers = np.nonzero(needed)
    return tensors, source[tensors], receivers


def _added(problem: Problem, machines: IntArray, per_tensor: FloatArray) -> float:
    backend = choose(problem.n_layers)
    floats = (problem.compute, problem.tensor_size_bytes, per_tensor, problem.per_byte, problem.crossing_work)
    integers = (machines, problem.tensor_producer, problem.consumer_offsets, problem.consumer_layers)
    values = backend.full(1, 0.0, np.float64)
    backend.run(
        _add,
        *(backend.view(array.ravel()) for array in floats),
        *(backend.view(array) for array in integers),
        backend.full(problem.n_machines, -1),
        values,
    )
    return float(values[0])


def _add(
    compute: Any,
    sizes: Any,
    per_tensor: Any,
    per_byte: Any,
    work: Any,
    machines: Any,
    producers: Any,
    offsets: Any,
    consumers: Any,
    reached: Any,
    values: Any,
) -> int:
    """Add compute and transfers of each placement to `values`.

    The costs have one row for each placement, or one for all; `work` at crossings may be empty. `reached`
    (n_machines,) starts at -1 and holds the last tensor sent to each machine.
    """
    n_machines = len(reached)
    n_problems = len(values)
    n_tensors = len(producers)
    n_layers = len(machines) // n_problems
    n_links = n_machines * n_machines
    compute_step = n_layers * n_machines if len(compute) > n_layers * n_machines else 0
    size_step = n_tensors if len(sizes) > n_tensors else 0
    per_tensor_step = n_links if len(per_tensor) > n_links else 0
    per_byte_step = n_links if len(per_byte) > n_links else 0
    has_work = len(work) > 0
    work_step = n_tensors * n_links if len(work) > n_tensors * n_links else 0
    for problem in range(n_problems):
        first = problem * n_layers
        own = problem * compute_step
        total = 0.0
        for layer in range(n_layers):
            total += compute[own + layer * n_machines + machines[first + layer]]
        for machine in range(n_machines):
            reached[machine] = -1
        for tensor in range(n_tensors):
            source = machines[first + producers[tensor]]
            for k in range(offsets[tensor], offsets[tensor + 1]):
                target = machines[first + consumers[k]]
                if target != source and reached[target] != tensor:
                    reached[target] = tensor
                    link = source * n_machines + target
                    rate = per_byte[problem * per_byte_step + link]
                    total += per_tensor[problem * per_tensor_step + link] + sizes[problem * size_step + tensor] * rate
                    if has_work:
                        total += work[problem * work_step + tensor * n_links + link]
        values[problem] = total
    return 0


def _highest(order: Any, offsets: Any, successors: Any, machines: Any, stage: Any, highest: Any) -> int:
    """Write the highest stage of each placement; `stage` (n_layers,) is scratch."""
    n_layers = len(order)
    for problem in range(len(highest)):
        first = problem * n_layers
        for layer in range(n_layers):
            stage[layer] = machines[first + layer]
        most = 0
        for position in range(n_layers):
            layer = order[position]
            here = stage[layer]
            most = max(most, here)
            for k in range(offsets[layer], offsets[layer + 1]):
                successor = successors[k]
                reached = here
                if machines[first + successor] != machines[first + layer]:
                    reached = here + 1
                if reached > stage[successor]:
                    stage[successor] = reached
        highest[problem] = most
    return 0


def _stages(order: Any, offsets: Any, successors: Any, machines: Any, out: Any) -> int:
    """Raise `out`, which starts as the machines (0 or 1), to the stages."""
    for position in range(len(order)):
        layer = order[position]
        machine = machines[layer]
        stage = out[layer]
        for k in range(offsets[layer], offsets[layer + 1]):
            successor = successors[k]
            reached = stage if machines[successor] == machine else stage + 1
            if reached > out[successor]:
                out[successor] = reached
    return 0
