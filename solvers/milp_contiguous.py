"""Throughput with contiguous parts by mixed-integer programming, where down-sets are too many.

Columns: x[b, q, h] = 1 if block b (colocated layers) sits on position q of the pipeline and that is a machine of kind
h; y[q, h] = 1 if it is one; r[t, q, h] and s[t, q, h] = 1 if position q receives or sends tensor t. A contiguous edge
from a to b keeps "a sits at or before q" >= "b sits at or before q" for each q, which says that no edge leads back.

Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph Operators", NeurIPS 2020, have such a program
beside their dynamic one.
"""

from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers.blocks import blocks_of
from solvers.contiguous_problem import PipelineProblem, pipeline_loads, pipeline_order
from solvers.errors import InfeasibleError, MethodError
from solvers.milp_model import WORTH_FORBIDDING, Clock, LinearModel
from solvers.solution import PipelineSolution

MOST_REJECTED = 200
"""Placements that HiGHS may propose although a machine's memory is passed by less than its tolerance."""


def milp_contiguous(
    problem: PipelineProblem, *, incumbent: Any = None, time_limit_s: float | None = None
) -> PipelineSolution:
    """Find the contiguous placement with the smallest largest load.

    Parameters
    ----------
    problem : PipelineProblem
        Any.
    incumbent : (n_layers,) int, optional
        A placement to beat, the answer if nothing better is found in time; not given, a topological order is cut
        evenly. A good one saves most of the time.
    time_limit_s : float, optional
        Seconds for HiGHS; then the best placement so far comes with its bound.

    Returns
    -------
    PipelineSolution
        Proven within HiGHS's tolerances (see docs/milp.md) unless the time was up. No down-sets are counted.

    Raises
    ------
    InfeasibleError
        No contiguous placement obeys the memory limits and the forbidden machines.
    MethodError
        The time was up before any placement was found and the first guess is not allowed; or `incumbent` is not.

    Notes
    -----
    Exponential in the worst case. n_machines * (n_kinds * (n_layers + 2 * n_tensors)) columns.

    Examples
    --------
    >>> chain = [(0, 0.5, [1]), (1, 0.5, [2])]
    >>> milp_contiguous(PipelineProblem.build([[2.0], [1.0], [1.0]], chain, machine_counts=[2]))
    PipelineSolution(2.5, optimal, 2 machines, milp)
    """
    clock = Clock(time_limit_s)
    if incumbent is not None and (reason := pipeline_loads(problem, incumbent).reason):
        raise MethodError(f"the incumbent is not allowed: {reason}")
    if problem.n_layers == 0:
        return _solution(problem, np.zeros(0, dtype=np.int64), 0.0)
    known: IntArray | None
    known = _even_split(problem) if incumbent is None else np.array(incumbent, dtype=np.int64)
    known_value = pipeline_loads(problem, known).value
    if known_value == np.inf:
        known = None
    bound = 0.0
    model, objective, largest = _model(problem, known_value)
    for _ in range(MOST_REJECTED):
        try:
            answer = model.minimise(objective, largest=largest, time_limit_s=clock.left_s())
        except (InfeasibleError, MethodError) as error:
            if known is not None:
                return _solution(problem, known, bound)
            if isinstance(error, MethodError):
                raise
            raise InfeasibleError(
                "no contiguous split fits the machines: their memory or what is allowed on them is not enough; "
                "add machines, raise a memory limit, or lift a restriction"
            ) from None
        placement = model.placement(answer.columns)
        loads = pipeline_loads(problem, placement)
        if not loads.reason:
            value, better = loads.value, loads.value < known_value
            if known is not None and known_value < value:
                placement, value = known, known_value
            bound = max(bound, value - answer.gap_for(value, value=value))
            if not (better and answer.finished and largest > WORTH_FORBIDDING * value):
                return _solution(problem, placement, bound)
            known, known_value = placement, value
            model, objective, largest = _model(problem, known_value)
            continue
        model.exclude(problem, placement, loads.memory_bytes)
    raise MethodError(
        f"milp met {MOST_REJECTED} placements that pass a memory limit by less than HiGHS can tell; "
        "change the limits by 1e-6 of them"
    )


def _model(problem: PipelineProblem, known_value: float) -> tuple["_PipelineModel", FloatArray, float]:
    """Return the program without what alone loads a machine with more than `known_value`, and what to minimise."""
    model = _PipelineModel(problem)
    loads = [model.forbid(load, known_value) for load in model.loads] if known_value < np.inf else model.loads
    return model, *model.add_largest(loads, upper=known_value)


class _PipelineModel(LinearModel):
    """The contiguous placements of a problem, and the load of each position as `loads`, (n_columns,) coefficients."""

    def __init__(self, problem: PipelineProblem) -> None:
        super().__init__()
        self._block = blocks_of(problem.n_layers, problem.colocated)
        self._kinds = np.flatnonzero(problem.machine_counts)
        self._counts = problem.machine_counts
        n_blocks, n_places, n_kinds = int(self._block.max()) + 1, problem.n_machines, len(self._kinds)
        compute = np.zeros((n_blocks, n_kinds))
        np.add.at(compute, self._block, problem.compute[:, self._kinds])
        allowed = np.broadcast_to(np.isfinite(compute)[:, None, :], (n_blocks, n_places, n_kinds))
        shape = n_blocks, n_places, n_kinds
        self._at = self.add_columns(allowed.size, upper=allowed.ravel(), integer=True).reshape(shape)
        self._is = self.add_columns(n_places * n_kinds, integer=n_kinds > 1).reshape(n_places, n_kinds)
        self._add_sums(self._at.reshape(n_blocks, -1), 1.0)
        self._add_sums(self._is, 1.0)
        self._add_sums(self._is.T, self._counts[self._kinds])
        if n_kinds > 1:
            self._add_differences(np.broadcast_to(self._is, shape).ravel(), self._at.ravel())
        self._add_order(problem)
        self._add_memory(problem)
        receive, send = self._add_transfers(problem)
        self.loads = []
        for place in range(n_places):
            load = np.zeros(self.n_columns)
            load[self._at[:, place]] = np.where(np.isfinite(compute), compute, 0.0)
            load[receive[:, place]] = problem.receive[:, self._kinds]
            load[send[:, place]] = problem.send[:, self._kinds]
            self.loads.append(load)

    def placement(self, columns: FloatArray) -> IntArray:
        """Read machines, numbered kind by kind, off the columns."""
        kind = columns[self._is].argmax(axis=1)
        first = np.cumsum(self._counts) - self._counts
        machine = np.zeros(len(kind), dtype=np.int64)
        for number, own in enumerate(self._kinds):
            places = np.flatnonzero(kind == number)
            machine[places] = first[own] + np.arange(len(places))
        place = columns[self._at].sum(axis=2).argmax(axis=1)
        return np.asarray(machine[place][self._block], dtype=np.int64)

    def exclude(self, problem: PipelineProblem, placement: IntArray, memory_bytes: FloatArray) -> None:
        """Add rows that no longer allow what the most overloaded machine holds, on any machine of its kind."""
        kinds = problem.machine_kinds
        over = memory_bytes - problem.memory_limit_bytes[kinds]
        machine = int(np.argmax(over))
        if not over[machine] > 0.0:
            raise MethodError("HiGHS's answer breaks a rule of the problem by rounding; rescale the costs")
        blocks = np.unique(self._block[placement == machine])
        columns = self._at[blocks][:, :, int(np.flatnonzero(self._kinds == kinds[machine])[0])]
        rows = np.broadcast_to(np.arange(columns.shape[1]), columns.shape)
        self.add_rows(rows, columns, np.ones(columns.size), upper=len(blocks) - 1.0, count=columns.shape[1])

    def _add_sums(self, columns: IntArray, total: Any) -> None:
        """Each row of `columns` adds up to `total`."""
        rows = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)
        self.add_rows(rows, columns, np.ones(columns.size), lower=total, upper=total, count=len(columns))

    def _add_differences(self, larger: IntArray, smaller: IntArray, also: IntArray | None = None) -> None:
        """Each entry of `larger`, plus that of `also`, is at least that of `smaller`."""
        parts = [larger, smaller] if also is None else [larger, smaller, also]
        signs = np.repeat([1.0, -1.0, 1.0][: len(parts)], len(larger))
        rows = np.tile(np.arange(len(larger)), len(parts))
        self.add_rows(rows, np.concatenate(parts), signs, lower=0.0, count=len(larger))

    def _add_order(self, problem: PipelineProblem) -> None:
        tails, heads = (self._block[layers] for layers in problem.ordered_edges())
        edges = np.unique(np.stack([tails, heads], axis=1)[tails != heads], axis=0)
        for last in range(problem.n_machines - 1):
            width = (last + 1) * len(self._kinds)
            columns = self._at[edges][:, :, : last + 1].reshape(len(edges), 2 * width)
            signs = np.broadcast_to(np.repeat([1.0, -1.0], width), columns.shape)
            rows = np.broadcast_to(np.arange(len(edges))[:, None], columns.shape)
            self.add_rows(rows, columns, signs, lower=0.0, count=len(edges))

    def _add_memory(self, problem: PipelineProblem) -> None:
        held = np.bincount(self._block, weights=problem.memory_bytes)
        total = float(held.sum())
        limits = np.minimum(problem.memory_limit_bytes[self._kinds], total)
        if bool(np.all(limits >= total)):
            return
        for place in range(problem.n_machines):
            coefficients = np.zeros(self.n_columns)
            coefficients[self._at[:, place]] = held[:, None]
            coefficients[self._is[place]] = -limits
            self.add_limit(coefficients, 0.0)

    def _add_transfers(self, problem: PipelineProblem) -> tuple[IntArray, IntArray]:
        """Add the columns of what is received and sent, each (n_tensors, n_machines, n_kinds)."""
        n_places, n_kinds = self._is.shape
        shape = problem.n_tensors, n_places, n_kinds
        receive, send = (self.add_columns(int(np.prod(shape))).reshape(shape) for _ in range(2))
        owners = problem.consumer_owners()
        pairs = np.unique(np.stack([owners, self._block[problem.consumer_layers]], axis=1), axis=0)
        tensors, readers = pairs.T
        makers = self._block[problem.tensor_producer[tensors]]
        tensors, readers, makers = (values[readers != makers] for values in (tensors, readers, makers))
        makes, reads = self._at[makers].ravel(), self._at[readers].ravel()
        self._add_differences(receive[tensors].ravel(), reads, makes)
        self._add_differences(send[tensors].ravel(), makes, reads)
        return receive, send


def _even_split(problem: PipelineProblem) -> IntArray:
    """Return a first guess: a topological order cut where the machines have about equal compute time."""
    fastest = problem.compute[:, problem.machine_counts > 0].min(axis=1)[problem.graph.order]
    done = np.cumsum(fastest) - fastest / 2
    placement = np.zeros(problem.n_layers, dtype=np.int64)
    placement[problem.graph.order] = done / max(fastest.sum(), 1e-300) * problem.n_machines
    return np.minimum(placement, problem.n_machines - 1)


def _solution(problem: PipelineProblem, placement: IntArray, bound: float) -> PipelineSolution:
    value = pipeline_loads(problem, placement).value
    used = set(placement.tolist())
    order = tuple(machine for machine in pipeline_order(problem, placement).tolist() if machine in used)
    return PipelineSolution(read_only(placement), value, min(bound, value), "milp", order, 0, 0)
