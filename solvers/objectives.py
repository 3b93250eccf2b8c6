"""Other objectives than latency, as new costs on the same graph: the energy of an inference, weighted sums.

Energy counts what the listed machines draw while an inference passes through them. At any moment one machine
computes, or one link carries a tensor, or a message waits; every machine takes part in it by one of its four powers.
So energy has the form of the latency problem, with each second multiplied by a power that depends on where it is spent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, frozen_copy, read_only
from solvers.errors import ProblemError
from solvers.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Power:
    """What machines draw in each state, in watts, and whose energy counts.

    Parameters
    ----------
    compute_watts, idle_watts : (n_machines,) float64, >= 0
        While the machine runs a layer; while anything else happens in which it takes no part.
    send_watts, receive_watts : (n_machines, n_machines) float64, >= 0
        ``send_watts[i, j]`` is drawn by i, ``receive_watts[i, j]`` by j, while a tensor travels from i to j. The
        diagonal is not read.
    counted : tuple of int
        The machines whose energy is added up; by default the device alone.

    Raises
    ------
    ProblemError
        A power is negative or not finite, a shape does not fit, or `counted` names no machine.
    """

    compute_watts: FloatArray
    idle_watts: FloatArray
    send_watts: FloatArray
    receive_watts: FloatArray
    counted: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("compute_watts", "idle_watts", "send_watts", "receive_watts"):
            object.__setattr__(self, name, _watts(name, getattr(self, name)))
        n_machines = self.n_machines
        for name in ("idle_watts", "compute_watts"):
            if getattr(self, name).shape != (n_machines,) or n_machines == 0:
                raise ProblemError(f"{name} has shape {getattr(self, name).shape}; give one power per machine")
        for name in ("send_watts", "receive_watts"):
            if getattr(self, name).shape != (n_machines, n_machines):
                raise ProblemError(f"{name} has shape {getattr(self, name).shape}; give {(n_machines, n_machines)}")
        counted = tuple(self.counted)
        for machine in counted:
            if isinstance(machine, bool) or not isinstance(machine, int | np.integer):
                raise ProblemError(f"counted names {machine!r}; give machine numbers")
            if not 0 <= machine < n_machines:
                raise ProblemError(f"counted names machine {machine}; machines are 0 to {n_machines - 1}")
        if not counted or len(set(counted)) < len(counted):
            raise ProblemError(f"counted is {counted}; name at least one machine, and each once")
        object.__setattr__(self, "counted", tuple(int(machine) for machine in counted))

    @classmethod
    def of_device(cls, *, compute: float, send: float, receive: float, idle: float, n_machines: int = 2) -> "Power":
        """Return the powers of machine 0, in watts, when only its energy counts.

        Parameters
        ----------
        compute, send, receive, idle : float
            Watts, 0 or more.
        n_machines : int

        Examples
        --------
        >>> Power.of_device(compute=2.0, send=1.2, receive=1.0, idle=0.3).send_watts.tolist()
        [[0.0, 1.2], [0.0, 0.0]]
        """
        if isinstance(n_machines, bool) or not isinstance(n_machines, int | np.integer) or n_machines < 1:
            raise ProblemError(f"n_machines is {n_machines!r}; give a whole number >= 1")
        first = np.zeros(n_machines)
        first[0] = 1.0
        away = np.zeros((n_machines, n_machines))
        away[0, 1:] = 1.0
        for name, watts in (("compute", compute), ("send", send), ("receive", receive), ("idle", idle)):
            _watts(name, watts)
        return cls(compute * first, idle * first, send * away, receive * away.T)

    @property
    def n_machines(self) -> int:
        """Number of machines."""
        return len(self.compute_watts) if self.compute_watts.ndim else 0

    def __repr__(self) -> str:
        return f"Power({self.n_machines} machines, counting {', '.join(map(str, self.counted))})"


def energy_problem(latency: Problem, power: Power) -> Problem:
    """Price a problem in joules that was priced in seconds.

    With two machines and the device counted: compute power x device time, send power x upload time, receive power x
    download time, idle power x (server time + delays). In general each counted machine m pays

    - for a layer on k, and for what k encodes or decodes: its compute power if k = m, else its idle power;
    - for a tensor from i to j: its send power if i = m, its receive power if j = m, else its idle power;
    - for a delay: its idle power.

    Parameters
    ----------
    latency : Problem
        Costs in seconds.
    power : Power
        Of the same number of machines.

    Returns
    -------
    Problem
        On the same graph. Energy is linear in the times, so parts of a latency (`solvers.family.Family`) map one by
        one. A layer that is not allowed on a machine stays so.

    Raises
    ------
    ProblemError
        `power` is for another number of machines, or the energies add up to more than float64 holds.

    Examples
    --------
    >>> inf = float("inf")
    >>> latency = Problem.build([[0, inf], [2, 1]], [(0, 3.0, [1])], per_byte=[[0, 1], [1, 0]])
    >>> energy = energy_problem(latency, Power.of_device(compute=2.0, send=1.0, receive=1.0, idle=0.5))
    >>> energy.compute[1].tolist(), energy.graph is latency.graph
    ([4.0, 0.5], True)
    """
    n_machines = latency.n_machines
    if power.n_machines != n_machines:
        raise ProblemError(f"power is of {power.n_machines} machines, the problem has {n_machines}")
    at_work = np.zeros(n_machines)
    on_link = np.zeros((n_machines, n_machines))
    waiting = 0.0
    for machine in power.counted:
        idle = power.idle_watts[machine]
        waiting += float(idle)
        drawn = np.full(n_machines, idle)
        drawn[machine] = power.compute_watts[machine]
        at_work += drawn
        carried = np.full((n_machines, n_machines), idle)
        carried[machine] = power.send_watts[machine]
        carried[:, machine] = power.receive_watts[:, machine]
        on_link += carried
    np.fill_diagonal(on_link, 0.0)
    coded = bool(latency.crossing_work.size)
    return latency.with_costs(
        compute=_scaled(latency.compute, at_work),
        per_tensor=latency.per_tensor * on_link,
        per_byte=latency.per_byte * on_link,
        delay=latency.delay * waiting,
        encode=latency.encode * at_work if coded else None,
        decode=latency.decode * at_work if coded else None,
    )


def weighted(objectives: Iterable[tuple[Problem, float]]) -> Problem:
    """Add up several objectives on one graph, each times its weight.

    Parameters
    ----------
    objectives : pairs of Problem and float
        Weights are >= 0 and finite: a negative one would make transfers pay, which no exact method takes. The
        problems have the same layers, tensors, sizes, limit on visits and colocated groups; they differ in prices.

    Returns
    -------
    Problem
        On the graph of the first. What any of them does not allow is not allowed, whatever its weight.

    Raises
    ------
    ProblemError
        No objectives, a bad weight, or problems that differ in more than prices.

    Examples
    --------
    >>> seconds = Problem.build([[2, 1], [2, 1]], [(0, 3.0, [1])], per_byte=[[0, 1], [1, 0]])
    >>> joules = seconds.with_costs(compute=[[4, 0], [4, 0]])
    >>> weighted([(seconds, 1.0), (joules, 0.5)]).compute.tolist()
    [[4.0, 1.0], [4.0, 1.0]]
    """
    rows = [(problem, _weight(weight)) for problem, weight in objectives]
    if not rows:
        raise ProblemError("weighted got no objectives; give at least one (problem, weight) pair")
    first = rows[0][0]
    for problem, _ in rows[1:]:
        require_same_graph(first, problem, what="objectives")
    names = ("per_tensor", "per_byte", "delay", "encode", "decode")
    prices = {name: np.zeros(getattr(first, name).shape) for name in names}
    compute = np.zeros_like(first.compute)
    for problem, weight in rows:
        compute += _scaled(problem.compute, weight)
        for name, total in prices.items():
            total += getattr(problem, name) * weight
    return first.with_costs(compute=compute, **prices)


def require_same_graph(first: Problem, second: Problem, *, what: str) -> None:
    """Raise ProblemError unless the two problems differ in nothing but compute, prices, and delays."""
    for name in ("tensor_producer", "consumer_offsets", "consumer_layers", "tensor_size_bytes"):
        one, other = getattr(first, name), getattr(second, name)
        if one is not other and not np.array_equal(one, other):
            raise ProblemError(f"the {what} differ in {name}; derive them from one problem by with_costs")
    if first.compute.shape != second.compute.shape:
        raise ProblemError(f"the {what} have {first.compute.shape} and {second.compute.shape} layers and machines")
    for name in ("max_server_visits", "colocated"):
        if getattr(first, name) != getattr(second, name):
            raise ProblemError(f"the {what} differ in {name}: {getattr(first, name)} and {getattr(second, name)}")


def _scaled(compute: FloatArray, factors: Any) -> FloatArray:
    """Return compute times factors >= 0; what is not allowed stays so, also at a factor of 0."""
    allowed = np.isfinite(compute)
    scaled = np.where(allowed, compute, 0.0) * factors
    scaled[~allowed] = np.inf
    return read_only(scaled)


def _watts(name: str, values: Any) -> FloatArray:
    try:
        array = frozen_copy(values, np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"{name} is {values!r}; give powers in watts") from None
    if not bool(np.all(np.isfinite(array) & (array >= 0))):
        raise ProblemError(f"{name} is {array.tolist()}; give finite powers >= 0 in watts")
    return array


def _weight(weight: Any) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        raise ProblemError(f"the weight {weight!r} is not a number; give a finite number >= 0") from None
    if not isfinite(value) or value < 0:
        raise ProblemError(f"the weight is {value}; give a finite number >= 0")
    return value
