"""Problems that share a graph and whose every cost is affine in one parameter theta: base + theta * slope.

Each placement's value is then a line in theta, delays included: the number of messages of a placement does not
depend on the costs. The optimum is the least of these lines, so it is concave and piecewise linear, and
`solvers.parametric` finds all of it with few solves.
"""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._checks import real
from solvers._coding import crossing_work
from solvers._jit import choose
from solvers.errors import MethodError, ProblemError
from solvers.evaluation import checked_placement, count_messages, delay_cost, evaluate, message_ends
from solvers.objectives import Power, energy_problem, require_same_graph
from solvers.problem import Problem

_COSTS = ("compute", "per_tensor", "per_byte", "delay", "encode", "decode")


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """The problems ``base + theta * slope``, on one graph.

    Parameters
    ----------
    base : Problem
        The costs at theta = 0; what it does not allow is never allowed.
    slope : Problem
        What one unit of theta adds. Layers may have slopes of any sign; its compute must be finite wherever that of
        `base` is. Transfers and delays have slopes >= 0, as in any problem.

    Raises
    ------
    ProblemError
        The problems differ in their graph, sizes, limit on visits or colocated groups, or `slope` forbids what
        `base` allows.
    """

    base: Problem
    slope: Problem
    _moves: tuple[bool, ...] = field(init=False, repr=False)  # which of _COSTS depend on theta
    _compute: FloatArray = field(init=False, repr=False)  # (2, n_layers, n_machines) base and slope, flat
    _prices: FloatArray = field(init=False, repr=False)  # (2, n_tensors, n_machines, n_machines), flat
    _ends: tuple[int, ...] | None = field(init=False, repr=False)  # between which messages are counted
    _waits: bool = field(init=False, repr=False)  # whether there are delays at all
    _safe: float = field(init=False, repr=False)  # thetas from 0 to here keep every sum of costs in float64

    def __post_init__(self) -> None:
        base, slope = self.base, self.slope
        require_same_graph(base, slope, what="base and slope")
        allowed = np.isfinite(base.compute)
        wrong = allowed & ~np.isfinite(slope.compute)
        if bool(np.any(wrong)):
            layer, machine = (int(k) for k in np.argwhere(wrong)[0])
            raise ProblemError(f"the slope forbids {base.layer(layer)} on machine {machine}, the base allows it")
        slopes = np.where(allowed, slope.compute, 0.0)
        moves = (bool(np.any(slopes)), *(bool(np.any(getattr(slope, name))) for name in _COSTS[1:]))
        object.__setattr__(self, "_moves", moves)
        object.__setattr__(self, "_compute", read_only(np.concatenate([base.compute.ravel(), slopes.ravel()])))
        # The slope may allow more than the base does, and with it more machines: the base decides, as in `at`.
        ends = message_ends(base)
        object.__setattr__(self, "_ends", ends)
        prices = []
        for problem in (base, slope):
            # Where messages are not counted every tensor sent pays its own delay, as in `evaluate`.
            once = problem.per_tensor + problem.delay if ends is None else problem.per_tensor
            price = (once + problem.tensor_size_bytes[:, None, None] * problem.per_byte).ravel()
            prices.append(price + problem.crossing_work if problem.crossing_work.size else price)
        object.__setattr__(self, "_prices", read_only(np.concatenate(prices)))
        object.__setattr__(self, "_waits", bool(base.delay.any() or slope.delay.any()))
        object.__setattr__(self, "_safe", 1e290 / max(1.0, self._largest_sum()))

    def at(self, theta: float) -> Problem:
        """Return the problem at `theta`; what does not depend on theta is shared with `base`.

        Raises
        ------
        ProblemError
            `theta` is not finite, or so far below 0 that a transfer or delay would cost less than nothing, or so
            large that the costs exceed float64.

        Notes
        -----
        O(n_layers). `unchecked_at` leaves the checks out.
        """
        theta = real("theta", theta)
        self.check_range(theta, theta)
        return self.unchecked_at(theta)

    def unchecked_at(self, theta: float) -> Problem:
        """Return the problem at a `theta` within a range that passed `check_range`; O(1) if no layer's cost moves."""
        base, slope = self.base, self.slope
        changed: dict[str, FloatArray] = {}
        if self._moves[0]:
            half = len(self._compute) // 2
            costs = self._compute[half:] * theta
            costs += self._compute[:half]
            changed["compute"] = read_only(costs.reshape(base.compute.shape))
        for name, moves in zip(_COSTS[1:], self._moves[1:], strict=True):
            if moves:
                changed[name] = read_only(getattr(base, name) + theta * getattr(slope, name))
        if self._moves[-2] or self._moves[-1]:
            codes = (changed.get(name, getattr(base, name)) for name in ("encode", "decode"))
            changed["crossing_work"] = crossing_work(*codes)
        other = object.__new__(Problem)
        for name in Problem.__slots__:
            object.__setattr__(other, name, changed[name] if name in changed else getattr(base, name))
        return other

    def value_line(self, placement: Any) -> tuple[float, float]:
        """Return (intercept, slope) of a placement's value in theta, delays by its number of messages included.

        (inf, 0) if the placement is not allowed. Raises ProblemError as `solvers.evaluate`. O(n_layers + n_consumers).
        """
        machines = checked_placement(self.base, placement)
        if evaluate(self.base, machines) == float("inf"):
            return float("inf"), 0.0
        intercept, slope, _, _ = self.line_and_size(machines)
        return intercept, slope

    def line_and_size(self, machines: IntArray) -> tuple[float, float, float, float]:
        """Return intercept and slope of an allowed placement, and the same two sums of absolute costs.

        The absolute sums say how much rounding the line can carry.
        """
        base, slope = self.base, self.slope
        n_machines = base.n_machines
        backend = choose(base.n_layers)
        sums = backend.full(4, 0.0, np.float64)
        backend.run(
            _add_lines,
            backend.view(self._compute),
            backend.view(self._prices),
            *(backend.view(a) for a in (machines, base.tensor_producer, base.consumer_offsets, base.consumer_layers)),
            backend.full(n_machines, -1),
            sums,
        )
        intercept, steepness, intercept_size, slope_size = (float(part) for part in sums)
        if self._ends is not None and self._waits:
            n_messages = count_messages(base, machines, self._ends)
            waits, wait_slope = (delay_cost(problem, n_messages, self._ends) for problem in (base, slope))
            intercept, steepness = intercept + waits, steepness + wait_slope
            intercept_size, slope_size = intercept_size + waits, slope_size + wait_slope
        return intercept, steepness, intercept_size, slope_size

    def in_joules(self, power: Power) -> "Family":
        """Return the family of `energy_problem`: energy is linear in the times, so base and slope map one by one."""
        return Family(energy_problem(self.base, power), energy_problem(self.slope, power))

    def check_range(self, low: float, high: float) -> None:
        """Raise ProblemError unless ``low <= high``, both finite, and every problem between them is legal."""
        for theta in (low, high):
            if not isfinite(theta):
                raise ProblemError(f"theta is {theta}; give finite numbers")
        if low > high:
            raise ProblemError(f"the range is reversed: low is {low}, high is {high}; give low <= high")
        if low < 0 or high > self._safe:
            for theta in {low, high}:
                self._check(theta)

    def __repr__(self) -> str:
        names = [name for name, moves in zip(_COSTS, self._moves, strict=True) if moves]
        return f"Family({self.base!r}, theta in {', '.join(names) or 'nothing'})"

    def _largest_sum(self) -> float:
        """Return more than what any placement adds up to in base or slope; inf if that is beyond float64."""
        base, slope = self.base, self.slope
        with np.errstate(over="ignore"):
            compute = np.abs(self._compute[np.isfinite(self._compute)]).sum()
            waits = (base.delay.sum() + slope.delay.sum()) * (base.n_layers + base.n_tensors + 1)
            return float(compute + self._prices.sum() + waits)

    def _check(self, theta: float) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            problem = self.unchecked_at(theta)
        for name in _COSTS[1:]:
            if bool(np.any(getattr(problem, name) < 0)):
                raise ProblemError(f"at theta = {theta} {name} has a negative entry; keep theta above that")
        if not np.array_equal(np.isfinite(problem.compute), np.isfinite(self.base.compute)):
            raise ProblemError(f"at theta = {theta} a layer costs more than float64 holds; use a larger unit")
        self.base.with_costs(**{name: getattr(problem, name) for name in _COSTS})


def bandwidth_family(
    problem: Problem,
    *,
    scaled: str | tuple[int, int] = "all",
    ratio: float | None = None,
    overhead_per_byte: Any = None,
) -> Family:
    """Let bandwidth vary: theta = 1 / B, seconds per byte of the link named first.

    Parameters
    ----------
    problem : Problem
        In seconds. Its `per_byte` is the time per byte at the present bandwidths.
    scaled : {"all", "uplink", "downlink"} or (i, j)
        "all": every link keeps its ratio to the link from machine 0 to machine 1, whose 1 / B is theta. "uplink",
        "downlink" or (i, j): only that link varies, the others stay as they are.
    ratio : float, optional
        With "all" and two machines: seconds per byte downwards over upwards; the problem's own if not given.
    overhead_per_byte : (n_machines, n_machines) array_like, optional
        The part of `per_byte` that does not depend on bandwidth, such as copying; none if not given.

    Returns
    -------
    Family

    Raises
    ------
    ProblemError
        No such link; the uplink costs nothing per byte and no ratio says what the others do; a bad ratio or overhead.

    Examples
    --------
    >>> inf = float("inf")
    >>> problem = Problem.build([[0, inf], [4, 1]], [(0, 2.0, [1])], per_byte=[[0, 0.5], [0.25, 0]])
    >>> family = bandwidth_family(problem)
    >>> family.at(2.0).per_byte.tolist()
    [[0.0, 2.0], [1.0, 0.0]]
    >>> family.value_line([0, 1])
    (1.0, 2.0)
    """
    n_machines = problem.n_machines
    if overhead_per_byte is None:
        overhead = np.zeros((n_machines, n_machines))
    else:
        overhead = problem.with_costs(per_byte=overhead_per_byte).per_byte
        if bool(np.any(overhead > problem.per_byte)):
            i, j = (int(k) for k in np.argwhere(overhead > problem.per_byte)[0])
            raise ProblemError(f"overhead_per_byte from {i} to {j} is {overhead[i, j]}, more than per_byte itself")
    return _link_family(problem, "per_byte", scaled, ratio, overhead)


def delay_family(problem: Problem, *, scaled: str | tuple[int, int] = "all", ratio: float | None = None) -> Family:
    """Let delay vary: theta = seconds per message on the link named first; arguments as `bandwidth_family`.

    Parameters
    ----------
    problem, scaled, ratio
        As for `bandwidth_family`, of seconds per message.

    Returns
    -------
    Family

    Examples
    --------
    >>> problem = Problem.build([[4, 1]], [], delay=[[0, 1], [1, 0]])
    >>> delay_family(problem).value_line([1])
    (1.0, 1.0)
    """
    return _link_family(problem, "delay", scaled, ratio, np.zeros_like(problem.delay))


def load_family(problem: Problem, machine: int) -> Family:
    """Let a machine slow down: theta = the factor on what it computes, encodes and decodes, 1 = as in `problem`.

    Examples
    --------
    >>> load_family(Problem.build([[4, 1]], []), 1).value_line([1])
    (0.0, 1.0)
    """
    if isinstance(machine, bool) or not isinstance(machine, int | np.integer) or not 0 <= machine < problem.n_machines:
        raise ProblemError(f"machine is {machine!r}; machines are 0 to {problem.n_machines - 1}")
    allowed = np.isfinite(problem.compute)
    base, slope = problem.compute.copy(), np.where(allowed, 0.0, np.inf)
    base[:, machine] = slope[:, machine]
    slope[:, machine] = problem.compute[:, machine]
    mine = np.arange(problem.n_machines) == machine
    return Family(
        problem.with_costs(compute=base, encode=problem.encode * ~mine, decode=problem.decode * ~mine),
        problem.without_transfers(slope).with_costs(encode=problem.encode * mine, decode=problem.decode * mine),
    )


def server_load_family(problem: Problem) -> Family:
    """Let the server slow down, of two machines: theta = the factor on its work; see `load_family`."""
    _require_two(problem, "server_load_family")
    return load_family(problem, 1)


def device_load_family(problem: Problem) -> Family:
    """Let the device slow down: theta = the factor on its work; see `load_family`."""
    return load_family(problem, 0)


def weighted_family(first: Problem, second: Problem) -> Family:
    """Trade two objectives off: ``first + theta * second``, theta >= 0 = what one unit of `second` is worth.

    Its breakpoints for theta from 0 to a large value are the corners of the Pareto front's convex hull. What either
    objective does not allow is not allowed.
    """
    require_same_graph(first, second, what="objectives")
    allowed = np.isfinite(first.compute) & np.isfinite(second.compute)
    return Family(
        first.with_costs(compute=np.where(allowed, first.compute, np.inf)),
        second.with_costs(compute=np.where(allowed, second.compute, np.inf)),
    )


def seconds_per_byte(bandwidths_bytes_per_s: Any) -> FloatArray:
    """Return theta = 1 / B of bandwidths in bytes per second, same shape; ProblemError unless all are > 0, finite.

    Examples
    --------
    >>> seconds_per_byte([1e6, 2e6]).tolist()
    [1e-06, 5e-07]
    """
    try:
        bandwidths = np.asarray(bandwidths_bytes_per_s, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"bandwidths are {bandwidths_bytes_per_s!r}; give bytes per second") from None
    legal = np.isfinite(bandwidths) & (bandwidths > 0)
    if not bool(np.all(legal)):
        raise ProblemError(f"a bandwidth is {bandwidths[~legal].flat[0]} bytes/s; give finite numbers > 0")
    with np.errstate(over="ignore"):
        thetas = np.asarray(1.0 / bandwidths)
    if not bool(np.all(np.isfinite(thetas))):
        raise ProblemError(f"a bandwidth is {bandwidths.min()} bytes/s, too little to invert in float64")
    return thetas


def _link_family(
    problem: Problem, name: str, scaled: str | tuple[int, int], ratio: float | None, fixed: FloatArray
) -> Family:
    """Make one of the link matrices vary, `fixed` being the part of it that never does."""
    present = getattr(problem, name)
    moving = present - fixed
    slope = np.zeros_like(moving)
    base = present.copy()
    i, j = _link(problem, scaled)
    if ratio is not None:
        if scaled != "all" or problem.n_machines != 2:
            raise ProblemError('a ratio needs scaled="all" and two machines; the other links stay as they are')
        if isinstance(ratio, bool) or not isinstance(ratio, int | float | np.number) or not 0 <= ratio < float("inf"):
            raise ProblemError(f"ratio is {ratio!r}; give a finite number >= 0, downlink over uplink")
        slope[0, 1], slope[1, 0] = 1.0, float(ratio)
        base = fixed.copy()
    elif scaled == "all":
        if moving[0, 1] == 0:
            raise ProblemError(
                f"{name} from machine 0 to 1 is 0, so the ratio of the links is unknown; "
                "give ratio=, or scaled= the one link that varies"
            )
        slope = moving / moving[0, 1]
        base = fixed.copy()
    else:
        slope[i, j] = 1.0
        base[i, j] = fixed[i, j]
    still = np.where(np.isfinite(problem.compute), 0.0, np.inf)
    return Family(problem.with_costs(**{name: base}), problem.without_transfers(still).with_costs(**{name: slope}))


def _link(problem: Problem, scaled: str | tuple[int, int]) -> tuple[int, int]:
    n_machines = problem.n_machines
    if scaled in ("uplink", "downlink"):
        _require_two(problem, f"scaled={scaled!r}")
        return (0, 1) if scaled == "uplink" else (1, 0)
    if scaled == "all":
        if n_machines < 2:
            raise ProblemError("the problem has one machine and so no link")
        return 0, 1
    pair = () if isinstance(scaled, str) else tuple(scaled)
    if len(set(pair)) != 2 or len(pair) != 2 or not all(k in range(n_machines) for k in pair):
        raise ProblemError(
            f'scaled is {scaled!r}; choose "all", "uplink", "downlink", or two different machines (i, j) '
            f"below {n_machines}"
        )
    return int(pair[0]), int(pair[1])


def _require_two(problem: Problem, what: str) -> None:
    if problem.n_machines != 2:
        raise MethodError(f"{what} takes 2 machines, the problem has {problem.n_machines}; name the machine or link")


def _add_lines(
    compute: Any,
    prices: Any,
    machines: Any,
    producers: Any,
    offsets: Any,
    consumers: Any,
    reached: Any,
    sums: Any,
) -> int:
    """Add up a placement's base and slope, and their absolute values, into `sums` (4,).

    compute is (2, n, n_machines) flat, prices (2, n_tensors, n_machines, n_machines) flat; `reached` (n_machines,)
    starts at -1 and holds the last tensor sent to each machine.
    """
    n_machines = len(reached)
    n_links = n_machines * n_machines
    half = len(compute) // 2
    half_prices = len(prices) // 2
    intercept = 0.0
    slope = 0.0
    intercept_size = 0.0
    slope_size = 0.0
    for layer in range(len(machines)):
        k = layer * n_machines + machines[layer]
        intercept += compute[k]
        slope += compute[half + k]
        intercept_size += abs(compute[k])
        slope_size += abs(compute[half + k])
    for tensor in range(len(producers)):
        source = machines[producers[tensor]]
        for k in range(offsets[tensor], offsets[tensor + 1]):
            target = machines[consumers[k]]
            if target != source and reached[target] != tensor:
                reached[target] = tensor
                link = tensor * n_links + source * n_machines + target
                intercept += prices[link]
                slope += prices[half_prices + link]
                intercept_size += prices[link]
                slope_size += prices[half_prices + link]
    sums[0] = intercept
    sums[1] = slope
    sums[2] = intercept_size
    sums[3] = slope_size
    return 0
