"""Elimination with several objectives at once: an entry of a table is a set of undominated labels, not a number.

A label is what one way of placing the layers eliminated so far costs in each objective. Tables are added entry by
entry (every label of one set with every label of the other), minimising is a union, and dominated labels go: among
equal ones the first stays. The order of elimination, the states and the tables' scopes are those of branch-aware
dynamic programming. For problems with a limit or a value to beat, labels whose cheapest completion fails go as well;
that completion is exact for each weighted sum of the objectives, by one pass backwards over plain tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers._jit import Backend, choose
from solvers.analysis import Model, filled
from solvers.errors import InfeasibleError, MethodError
from solvers.evaluation import delay_free_value
from solvers.folding import fold, place, unfold
from solvers.label_kernels import Bounds, Fronts, Pool, Program, Sets, Small, Traces, complete, eliminate_labels, follow
from solvers.label_program import program_of
from solvers.network import Network
from solvers.problem import Problem

LABEL_LIMIT = 4_000_000
"""Labels that all tables together may hold; about 200 MB."""

WORK_PER_LABEL = 500
"""Comparisons of labels that one elimination may make for each label of its limit: some ten seconds at the default."""

ROUNDING = 1e-14
"""What sums may lose, relative to the sum of all absolute costs: limits are looser by it, and what would improve by
less is not searched for."""


class Cut(NamedTuple):
    """Drop a label if no completion of it brings ``weights . totals`` to `limit` or below."""

    weights: tuple[float, ...]
    limit: float


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The undominated totals of all placements that no cut drops."""

    totals: FloatArray  # (n_labels, n_objectives) in lexicographic order
    n_labels: int  # that all tables held together
    thinned: int  # how many roundings lie between a placement and its label at most
    _places: "LabelModel"
    _traces: Traces
    _last: tuple[int, ...]

    def placement(self, index: int) -> IntArray:
        """Return the machines behind ``totals[index]``, (n_layers,) int64. O(n_layers)."""
        return self._places.follow(self._traces, self._last[index])


class LabelModel:
    """Several delay-free objectives over one meaning of states: filled tables, ready for any number of passes.

    Parameters
    ----------
    network : Network
    model : Model
        ``analysis.model`` or one of its staged models.
    objectives : sequence of Problem
        All on the graph that was analysed, with the same machines allowed. Delays are not read.
    """

    def __init__(self, network: Network, model: Model, objectives: Sequence[Problem]) -> None:
        self.network, self.model, self.objectives = network, model, tuple(objectives)
        self.backend: Backend = choose(8 * model.order.work)
        self.n_vectors = int(model.layout.vector_offsets[-1])
        self.n_cells = self.n_vectors + model.layout.n_entries + 2
        self._vertices = self.backend.views(model.vertices)
        self._steps = self.backend.views(model.order)
        self._offsets = self.backend.view(model.layout.table_offsets)
        self._program: Program | None = None
        self.cells = np.stack([self._filled(problem) for problem in self.objectives])
        """(n_objectives, n_cells) float64; `inf` where a state is not allowed."""
        self.scales = np.array([_scale(problem) for problem in self.objectives])
        """(n_objectives,) about the sum of all absolute costs."""

    def totals(self, placement: IntArray) -> FloatArray:
        """Return each objective's value without delays, (n_objectives,) float64."""
        return np.array([delay_free_value(problem, placement) for problem in self.objectives])

    def cheapest(self, weights: Sequence[float]) -> IntArray | None:
        """Return the placement of least weighted sum, None if the states allow none. One plain pass."""
        cost, vectors, tables = self._folded(weights)
        if not cost < np.inf:
            return None
        n_states = int(self.model.states.counts.max(initial=0))
        best = self.backend.full(n_states, 0.0, np.float64)
        states = self.backend.full(len(self.network.owners), 0)
        offsets = self._vertices.vector_offsets
        self.backend.run(unfold, self._steps, offsets, self._offsets, vectors, tables, best, states)
        return self._placed(states)

    def labels(
        self, cuts: Sequence[Cut] = (), *, label_limit: int = LABEL_LIMIT, delta: float = 0.0, thin_above: int = 0
    ) -> Labels:
        """Return the undominated totals.

        Parameters
        ----------
        cuts : sequence of Cut
            Weights >= 0. Looser by `ROUNDING`, so that no label is lost that keeps to them in exact arithmetic.
        label_limit : int
            Labels that all tables together may hold.
        delta : float
            Two objectives, no negative costs: sets of more than `thin_above` labels lose those that another kept is
            at most 1 + delta times as large in both.

        Raises
        ------
        InfeasibleError
            The states allow no placement.
        MethodError
            Over the limit of labels or of the work that goes with it.

        Notes
        -----
        For sets of at most m labels, O(m^2) per combination of states with two objectives, O(m^3) with more.
        """
        if self._program is None:
            self._program = program_of(self.model)
        h, n_cells, backend = len(self.objectives), self.n_cells, self.backend
        program = backend.views(self._program)
        widest = int(max((self._program.code[k + 2] for k in self._program.offsets[:-1].tolist()), default=0))
        n_reads = int(max((self._program.code[k + 3] for k in self._program.offsets[:-1].tolist()), default=0))
        weights = np.array([cut.weights for cut in cuts], dtype=np.float64).reshape(len(cuts), h)
        limits = np.array([cut.limit + ROUNDING * float(np.dot(cut.weights, self.scales)) for cut in cuts])
        current, marginals = self._completions(weights, program, widest, n_reads)
        reachable = np.isfinite(self.cells[0])
        room, trace_room, front_room = 8 * n_cells + 1024, 8 * n_cells + 1024, 64
        while True:
            values = np.zeros((room, h))
            values[:n_cells] = np.where(reachable, self.cells, 0.0).T
            pool = Pool(backend.load(values.ravel(), np.float64), backend.full(room, -1))
            sets = Sets(
                backend.load(np.arange(n_cells)), backend.load(reachable.astype(np.int64)), backend.full(n_cells, 0)
            )
            traces = Traces(*(backend.full(trace_room, -1) for _ in range(3)))
            fronts = Fronts(
                backend.full(4 * front_room * h, 0.0, np.float64), *(backend.full(4 * front_room, -1) for _ in range(3))
            )
            result = backend.load(np.array([0, 0, label_limit, label_limit * WORK_PER_LABEL]))
            bounds = Bounds(
                backend.load(weights.ravel(), np.float64),
                backend.load(limits, np.float64),
                backend.load(current.ravel(), np.float64),
                backend.load(marginals.ravel(), np.float64),
            )
            small = Small(
                backend.full(widest, 0),
                backend.full(n_reads + 1, 0),
                *(backend.full(h, 0.0, np.float64) for _ in range(2)),
                *(backend.full(len(cuts), 0.0, np.float64) for _ in range(3)),
            )
            thinning = (1.0 + delta, float(thin_above))
            status = backend.run(
                eliminate_labels, program, h, thinning, bounds, sets, pool, traces, fronts, small, result
            )
            if status == 0:
                break
            too_large = max(room, trace_room, 4 * front_room) > 16 * (n_cells + label_limit) + 4096
            if status == 1 or too_large:
                raise MethodError(
                    f"labels pass their limit of {label_limit:,} on {self.objectives[0]!r}; "
                    "raise label_limit, allow an epsilon, or use milp"
                )
            room *= 8 if status == 2 else 1
            trace_room *= 8 if status == 3 else 1
            front_room *= 8 if status == 4 else 1
        start, count = int(sets.start[n_cells - 2]), int(sets.count[n_cells - 2])
        if count == 0 and not cuts:
            raise InfeasibleError("no placement satisfies the layers' allowed machines; lift a restriction")
        totals = np.array(pool.values[start * h : (start + count) * h], dtype=np.float64).reshape(count, h)
        last = tuple(int(trace) for trace in pool.traces[start : start + count])
        return Labels(totals, int(result[0]), int(sets.thinned[n_cells - 2]), self, traces, last)

    def follow(self, traces: Traces, last: int) -> IntArray:
        """Return the placement behind a trace, -1 for that of no layers."""
        offsets = self.model.layout.vector_offsets
        states = self.backend.full(len(self.network.owners), 0)
        if last >= 0:
            owners = self.backend.view(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
            stack = self.backend.full(3 * len(offsets), 0)
            self.backend.run(follow, traces, last, owners, self._vertices.vector_offsets, stack, states)
        return self._placed(states)

    def _placed(self, states: Any) -> IntArray:
        machines = self.backend.full(self.objectives[0].n_layers, 0)
        vertices = self._vertices
        fields = (vertices.types, vertices.type_offsets, vertices.labels)
        self.backend.run(place, self.model.states.ordered, *fields, states, machines)
        return np.asarray(machines, dtype=np.int64)

    def _filled(self, problem: Problem) -> FloatArray:
        vectors, tables = filled(self.backend, problem, self.network, self.model, self._vertices, self._offsets)
        return np.concatenate([np.asarray(vectors), np.asarray(tables), np.zeros(2)])

    def _weighted(self, weights: Sequence[float]) -> FloatArray:
        allowed = np.isfinite(self.cells[0])
        return np.where(allowed, np.asarray(weights) @ np.where(allowed, self.cells, 0.0), np.inf)

    def _folded(self, weights: Sequence[float]) -> tuple[float, Any, Any]:
        cells = self._weighted(weights)
        vectors = self.backend.load(cells[: self.n_vectors], np.float64)
        tables = self.backend.load(cells[self.n_vectors : self.n_cells - 2], np.float64)
        best = self.backend.full(int(self.model.states.counts.max(initial=0)), 0.0, np.float64)
        strides = self.backend.full(self.model.order.n_strides, 0)
        offsets = self._vertices.vector_offsets
        cost = self.backend.run(fold, self._steps, offsets, self._offsets, vectors, tables, best, strides)
        return float(cost), vectors, tables

    def _completions(
        self, weights: FloatArray, program: Program, widest: int, n_reads: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return the cells before elimination and the least total through each, for every row of weights."""
        current = np.empty((len(weights), self.n_cells))
        marginals = np.empty((len(weights), self.n_cells))
        for b, row in enumerate(weights):
            current[b] = self._weighted(row)
            cost, vectors, tables = self._folded(row)
            folded = np.concatenate([np.asarray(vectors), np.asarray(tables), np.array([cost, 0.0])])
            least = np.full(self.n_cells, np.inf)
            least[self.n_cells - 2] = cost
            out = self.backend.load(least, np.float64)
            counters, places = self.backend.full(widest, 0), self.backend.full(n_reads + 1, 0)
            self.backend.run(complete, program, self.backend.load(folded, np.float64), out, counters, places)
            marginals[b] = out
        return current, marginals


def _scale(problem: Problem) -> float:
    finite = np.abs(np.where(np.isfinite(problem.compute), problem.compute, 0.0))
    sent = problem.per_tensor.max() * problem.n_tensors + problem.per_byte.max() * problem.tensor_size_bytes.sum()
    if problem.crossing_work.size:
        sent += problem.encode.max(axis=1).sum() + problem.decode.max(axis=1).sum()
    return float(finite.max(axis=1, initial=0.0).sum() + sent)
