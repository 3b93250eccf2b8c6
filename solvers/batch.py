"""Many cost vectors on one graph, solved side by side."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers._arrays import FloatArray, read_only
from solvers._coding import crossing_work
from solvers._jit import choose
from solvers.analysis import Analysis, analyse
from solvers.branch_aware import solve_branch_aware
from solvers.errors import ProblemError
from solvers.evaluation import alternating_delay, delay_free_values, highest_stages
from solvers.folding import Costs
from solvers.folding_lanes import fill_lanes, fold_lanes, group_sizes_lanes, group_work_lanes, unfold_lanes
from solvers.problem import LARGEST_TOTAL, Problem
from solvers.solution import cancellation
from solvers.visits import device_only, ends_on_device, highest_stage_allowed, infeasible

N_LANES = 16
"""Problems that are folded in step; the kernels of `folding_lanes` are written for it."""

_WORTH_COMPILING = 200_000
"""Layers times problems from which on loading the compiler pays."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchSolution:
    """The best placement for each of many cost vectors.

    Attributes
    ----------
    placements : (n_problems, n_layers) int8
        Machines, read-only.
    values : (n_problems,) float64
        As from `evaluate`.
    bounds : (n_problems,) float64
        No placement costs less.
    """

    placements: NDArray[np.int8]
    values: FloatArray
    bounds: FloatArray

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"BatchSolution({len(self)} problems, {int(self.optimal.sum())} proven optimal)"

    @property
    def optimal(self) -> NDArray[np.bool_]:
        """Which of the values are proven optimal, (n_problems,)."""
        return self.values - self.bounds <= 1e-12 * np.abs(self.values)


def solve_batch(
    problem: Problem,
    *,
    compute: Any = None,
    tensor_size_bytes: Any = None,
    per_tensor: Any = None,
    per_byte: Any = None,
    delay: Any = None,
    encode: Any = None,
    decode: Any = None,
    analysis: Analysis | None = None,
) -> BatchSolution:
    """Solve `problem` under many cost vectors by branch-aware dynamic programming.

    Parameters
    ----------
    problem : Problem
        The graph, the pins, and every cost that is not given below.
    compute : (n_problems, n_layers, n_machines), optional
        With `inf` where the problem has it.
    tensor_size_bytes : (n_problems, n_tensors), optional
    per_tensor, per_byte, delay : (n_problems, n_machines, n_machines), optional
    encode, decode : (n_problems, n_tensors, n_machines), optional
    analysis : Analysis, optional
        From `analyse`: saves the symbolic phase.

    Returns
    -------
    BatchSolution
        As `solve(..., "dp")` answers for each.

    Raises
    ------
    ProblemError
        Shapes that do not fit, forbidden values, or pins other than the problem's; the message says where.
    MethodError
        The graph is too wide.
    InfeasibleError
        No placement obeys the pins, which holds for all costs alike.

    Notes
    -----
    One numeric pass per 16 problems, linear in the layers at a fixed width. Problems whose delays or limit on visits
    call for another look than all-device are then solved one by one.
    """
    given = _Given.of(problem, compute, tensor_size_bytes, per_tensor, per_byte, delay, encode, decode)
    narrow = problem.narrowed() if problem.n_machines > 2 and given.delays_matter else None
    if narrow is not None:
        # With delays, machines that nothing may use change how messages count.
        smaller, machines = narrow
        links = np.ix_(np.arange(given.n_problems), machines, machines)
        found = solve_batch(
            smaller,
            compute=given.compute[:, :, machines],
            tensor_size_bytes=given.spread("tensor_size_bytes"),
            per_tensor=given.spread("per_tensor")[links],
            per_byte=given.spread("per_byte")[links],
            delay=given.spread("delay")[links],
            encode=given.spread("encode")[:, :, machines],
            decode=given.spread("decode")[:, :, machines],
        )
        return replace(found, placements=read_only(machines[found.placements].astype(np.int8)))
    if analysis is None:
        analysis = analyse(problem)
    else:
        analysis.require(problem)
    placements, has_one = _relaxed(problem, analysis, given)
    if not has_one:
        raise infeasible(problem)
    values = delay_free_values(problem, placements, given.arrays)
    bounds = values - given.cancellation(values)
    if given.delays_matter or problem.max_server_visits is not None:
        _with_delays(problem, analysis, given, placements, values, bounds)
    return BatchSolution(read_only(placements), read_only(values), read_only(bounds))


class _Arrays(NamedTuple):
    vectors: Any
    tables: Any
    prices: Any
    own: Any
    sums: Any
    best: Any
    places: Any
    n_layers: int


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """The costs of a batch, each with a row per problem or one row for all."""

    n_problems: int
    compute: FloatArray
    tensor_size_bytes: FloatArray
    per_tensor: FloatArray
    per_byte: FloatArray
    delay: FloatArray
    encode: FloatArray
    decode: FloatArray
    work: FloatArray  # at crossings, flat, with a row for each problem or one for all, or empty

    @classmethod
    def of(cls, problem: Problem, *arrays: Any) -> "_Given":
        names = ("compute", "tensor_size_bytes", "per_tensor", "per_byte", "delay", "encode", "decode")
        rows: dict[str, FloatArray] = {}
        n_problems: int | None = None
        for name, values in zip(names, arrays, strict=True):
            own = getattr(problem, name)
            if values is None:
                rows[name] = own[None]
                continue
            try:
                array = np.ascontiguousarray(values, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise ProblemError(f"{name} is not an array of numbers: {error}") from None
            if array.ndim != own.ndim + 1 or array.shape[1:] != own.shape or not len(array):
                raise ProblemError(f"{name} has shape {array.shape}; give (n_problems, {str(own.shape)[1:]}")
            if n_problems not in (None, len(array)):
                raise ProblemError(f"{name} is for {len(array)} problems, what came before it for {n_problems}")
            n_problems = len(array)
            _check(problem, name, array, own)
            rows[name] = array
        _check_totals(problem, rows)
        if n_problems is None:
            raise ProblemError(f"a batch needs costs: give {', '.join(names[:-1])} or {names[-1]}")
        if len(rows["compute"]) == 1:
            rows["compute"] = np.ascontiguousarray(
                np.broadcast_to(rows["compute"], (n_problems, *problem.compute.shape))
            )
        return cls(n_problems, **rows, work=crossing_work(rows["encode"], rows["decode"]))

    def spread(self, name: str) -> FloatArray:
        """Return a cost with a row for each problem."""
        array: FloatArray = getattr(self, name)
        return np.broadcast_to(array, (self.n_problems, *array.shape[1:]))

    def cancellation(self, values: FloatArray) -> FloatArray:
        """Return by how much rounding may have misled each search, as `solution.cancellation` does for one."""
        lost = np.zeros(len(values))
        if self.compute.min(initial=0.0) >= 0.0:
            return lost
        for index in np.flatnonzero(self.compute.min(axis=(1, 2), initial=0.0) < 0.0).tolist():
            lost[index] = cancellation(self.compute[index], float(values[index]))
        return lost

    @property
    def delays_matter(self) -> bool:
        """Whether any message costs anything by itself."""
        return bool(self.delay.any())

    @property
    def arrays(self) -> tuple[FloatArray, ...]:
        """What the value without delays depends on."""
        return self.compute, self.tensor_size_bytes, self.per_tensor, self.per_byte, self.work

    def problem(self, base: Problem, index: int) -> Problem:
        """Return one problem of the batch."""

        def row(array: FloatArray) -> FloatArray:
            return np.asarray(array[index if len(array) > 1 else 0])

        return base.with_costs(
            compute=row(self.compute),
            tensor_size_bytes=row(self.tensor_size_bytes),
            per_tensor=row(self.per_tensor),
            per_byte=row(self.per_byte),
            delay=row(self.delay),
            encode=row(self.encode) if self.work.size else None,
            decode=row(self.decode) if self.work.size else None,
        )


def _check(problem: Problem, name: str, array: FloatArray, own: FloatArray) -> None:
    """Refuse what `Problem` would refuse, and other pins."""
    if name == "compute":
        wrong = np.isinf(array) != np.isinf(own)
        wrong |= np.isnan(array) | (array == -np.inf)
        legal = "give finite costs where the problem has them, inf where it has inf"
    else:
        wrong = ~np.isfinite(array) | (array < 0)
        if name in ("per_tensor", "per_byte", "delay"):
            wrong |= (array != 0) & np.eye(problem.n_machines, dtype=bool)
        legal = "give finite numbers >= 0, 0 from a machine to itself"
    if bool(wrong.any()):
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = f"{name} from machine {where[1]} to {where[-1]}"
        if name == "compute":
            at = f"{name} of {problem.layer(where[1])}"
        elif name == "tensor_size_bytes":
            at = f"{name} of {problem.tensor(where[1])}"
        elif name in ("encode", "decode"):
            at = f"{name} of {problem.tensor(where[1])} on machine {where[2]}"
        raise ProblemError(f"{at} is {array[where]} in problem {where[0]}; {legal}")


def _check_totals(problem: Problem, rows: dict[str, FloatArray]) -> None:
    """Refuse costs whose sums would leave float64, as `Problem` does."""
    finite = np.isfinite(problem.compute)
    n_layers, n_tensors, n_machines = problem.n_layers, problem.n_tensors, problem.n_machines

    def largest_total(*, each: bool) -> FloatArray:
        """Of each problem, or of all of them at once."""

        def most(name: str) -> FloatArray:
            costs = rows[name]
            axes = tuple(range(1, costs.ndim)) if each else None
            where: Any = finite if name == "compute" else True
            return np.asarray(np.maximum(-costs.min(axes, initial=0.0), costs.max(axes, initial=0.0, where=where)))

        with np.errstate(over="ignore"):
            compute = most("compute") * n_layers
            coding = most("encode") + most("decode")
            sent = most("per_tensor") + most("tensor_size_bytes") * most("per_byte") + coding
            sent *= n_tensors * n_machines
            waiting = most("delay") * (n_layers + n_tensors) * n_machines
        return np.asarray(np.maximum(np.maximum(compute, sent), waiting))

    # One pass over everything is nearly always enough.
    if largest_total(each=False) < LARGEST_TOTAL:
        return
    totals = largest_total(each=True)
    if not totals.max() < LARGEST_TOTAL:
        raise ProblemError(
            f"the costs of problem {int(np.argmax(totals))} add up to more than float64 holds; use a larger unit"
        )


def _relaxed(problem: Problem, analysis: Analysis, given: _Given) -> tuple[NDArray[np.int8], bool]:
    """Return the optima without delays and whether there are any."""
    n_layers, n_problems, n_machines = problem.n_layers, given.n_problems, problem.n_machines
    backend = choose(n_layers if n_layers * n_problems < _WORTH_COMPILING else n_layers + _WORTH_COMPILING)
    network, model = analysis.network, analysis.model
    order, layout, counts = model.order, model.layout, model.states.counts
    most = int(counts.max(initial=1))
    arrays = _Arrays(
        vectors=backend.full(int(layout.vector_offsets[-1]) * N_LANES, 0.0, np.float64),
        tables=backend.full(layout.n_entries * N_LANES, 0.0, np.float64),
        prices=backend.full(2 * n_machines * n_machines * N_LANES, 0.0, np.float64),
        own=backend.full(N_LANES, 0.0, np.float64),
        sums=backend.full(most * N_LANES, 0.0, np.float64),
        best=backend.full(N_LANES, 0.0, np.float64),
        places=backend.full(N_LANES, 0),
        n_layers=n_layers,
    )
    sizes = backend.full(len(network.group_counts) * N_LANES, 0.0, np.float64)
    n_links = n_machines * n_machines if given.work.size else 0
    work = backend.full(len(network.group_counts) * n_links * N_LANES, 0.0, np.float64)
    costs = Costs(
        backend.view(given.compute.ravel()),
        backend.view(network.group_counts),
        sizes,
        backend.view(given.per_tensor.ravel()),
        backend.view(given.per_byte.ravel()),
        work,
    )
    links, vertices, steps = backend.views(model.links), backend.views(model.vertices), backend.views(order)
    groups, all_sizes = backend.view(network.group_of_tensor), backend.view(given.tensor_size_bytes.ravel())
    all_work, has_work_rows = backend.view(given.work), max(len(given.encode), len(given.decode)) > 1
    offsets = backend.view(layout.table_offsets)
    strides = backend.full(order.n_strides, 0)
    states = backend.full(len(network.owners) * N_LANES, 0, np.int16)
    placements = backend.full(n_problems * n_layers, 0, np.int8)
    for first in range(0, n_problems, N_LANES):
        if first == 0 or len(given.tensor_size_bytes) > 1:
            backend.run(group_sizes_lanes, groups, all_sizes, first, n_problems, sizes)
        if n_links and (first == 0 or has_work_rows):
            backend.run(group_work_lanes, groups, all_work, n_links, first, n_problems, work)
        backend.run(fill_lanes, n_machines, first, n_problems, links, vertices, costs, offsets, arrays)
        total = backend.run(fold_lanes, steps, vertices.vector_offsets, offsets, arrays, strides)
        if not total < np.inf:
            return np.zeros((n_problems, n_layers), dtype=np.int8), False
        backend.run(unfold_lanes, first, steps, vertices, offsets, arrays, states, placements)
    return np.asarray(placements, dtype=np.int8).reshape(n_problems, n_layers), True


def _with_delays(
    problem: Problem,
    analysis: Analysis,
    given: _Given,
    placements: NDArray[np.int8],
    values: FloatArray,
    bounds: FloatArray,
) -> None:
    """Replace what delays and the limit on visits change, in place."""
    again: list[int] = []
    if problem.n_machines > 2:
        again = list(range(given.n_problems))
    else:
        reached = highest_stages(problem, placements)
        allowed = highest_stage_allowed(problem)
        returns = problem.n_machines == 2 and ends_on_device(problem)
        at_home = device_only(problem)
        for index in np.flatnonzero(reached > 0).tolist():
            stage = int(reached[index])
            delay = given.delay[index if len(given.delay) > 1 else 0]
            if stage > allowed or stage > 2 or not returns:
                again.append(index)
                continue
            value = values[index] + alternating_delay(delay, stage)
            if at_home is not None:
                device = float(given.compute[index, :, 0].sum())
                if device < value:
                    value = device
                    placements[index] = 0
            values[index] = bounds[index] = value
    for index in again:
        solution = solve_branch_aware(given.problem(problem, index), analysis=analysis)
        placements[index], values[index], bounds[index] = solution.placement, solution.value, solution.bound
