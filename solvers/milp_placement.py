"""The placements of a problem as points of a mixed-integer linear program.

Columns: x[b, k] = 1 if block b (colocated layers, mostly one) runs on machine k; z[t, i, j] = 1 if tensor t is sent
from i to j; with two machines and delays or a limit on visits, d[v] = how often a path to layer v came down from the
server, and the numbers U and D of messages up and down.

Rows: sum_k x[b, k] = 1. For a tensor t of p with consumer c, and each machine j,
``x[p, j] + sum_{i != j} z[t, i, j] >= x[c, j]`` and ``z[t, i, j] <= x[p, i]`` (summed over j if there is one consumer):
with whole x, z[t, i, j] is forced to 1 exactly where p is on i and a consumer on j. For two machines these are the
rows of a minimum cut, whose vertices are whole.

Let s(v) be the stage of layer v, so that d(v) = floor(s(v) / 2) and ceil(s(v) / 2) = d(v) + x[v, 1]. Both never fall
along an edge, and s rises by one exactly where the machine changes. So d is the least solution of ``d >= 0``,
``d[c] >= d[p]``, ``d[c] + x[c, 1] >= d[p] + x[p, 1]``, and ``D >= d[v]``, ``U >= d[v] + x[v, 1]`` at the last layers
count the messages.
"""

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers.blocks import blocks_of
from solvers.errors import InfeasibleError
from solvers.evaluation import count_messages
from solvers.milp_model import Answer, LinearModel
from solvers.problem import Problem


class PlacementModel(LinearModel):
    """All placements that are legal in each of `problems`, which share graph and machines.

    Parameters
    ----------
    problems : one or more Problem
    count_messages : bool
        With two machines, whether to count messages, because of delays or limits on visits.

    Raises
    ------
    InfeasibleError
        Together the problems allow a layer, or colocated layers, nowhere.
    """

    def __init__(self, *problems: Problem, count_messages: bool) -> None:
        super().__init__()
        self._problem = problem = problems[0]
        self._block = blocks_of(problem.n_layers, [group for other in problems for group in other.colocated])
        self.n_blocks = int(self._block.max(initial=-1)) + 1
        n_machines = problem.n_machines
        allowed = np.ones((self.n_blocks, n_machines), dtype=bool)
        for other in problems:
            layers, machines = np.nonzero(np.isinf(other.compute))
            allowed[self._block[layers], machines] = False
        if not bool(allowed.any(axis=1).all()):
            layer = int(np.flatnonzero(self._block == int(np.argmin(allowed.any(axis=1))))[0])
            raise InfeasibleError(
                f"no machine is allowed for {problem.layer(layer)} and what it is colocated with; lift a restriction"
            )
        self._allowed = allowed
        self.add_columns(self.n_blocks * n_machines, upper=allowed.ravel().astype(np.float64), integer=True)
        blocks = np.repeat(np.arange(self.n_blocks), n_machines)
        self.add_rows(blocks, np.arange(len(blocks)), 1.0, lower=1.0, upper=1.0, count=self.n_blocks)
        self._add_tensors()
        self._messages = np.empty(0, dtype=np.int64)
        if count_messages and n_machines == 2:
            visits = [other.max_server_visits for other in problems if other.max_server_visits is not None]
            self._add_messages(min(visits, default=problem.n_layers))

    def placement(self, answer: Answer) -> IntArray:
        """Read the machines of the layers, (n_layers,) int64, off an answer."""
        shares = answer.columns[: self.n_blocks * self._problem.n_machines].reshape(-1, self._problem.n_machines)
        return np.asarray(shares.argmax(axis=1)[self._block], dtype=np.int64)

    def per_block(self, costs: FloatArray) -> FloatArray:
        """Return coefficients, (n_columns,), that add up (n_layers, n_machines) `costs`; inf counts as 0."""
        n_machines = self._problem.n_machines
        coefficients = np.zeros(self.n_columns)
        columns = self._block[:, None] * n_machines + np.arange(n_machines)
        np.add.at(coefficients, columns, np.where(np.isfinite(costs), costs, 0.0))
        return coefficients

    def columns(self, placement: IntArray) -> FloatArray:
        """Return the columns, (n_columns,), that stand for a placement; those that count d are left at 0."""
        columns = np.zeros(self.n_columns)
        columns[self._block * self._problem.n_machines + placement] = 1.0
        machine = np.zeros(self.n_blocks, dtype=np.int64)
        machine[self._block] = placement
        sender = placement[self._problem.tensor_producer[self._tensors]][self._read]
        receiver = machine[self._readers]
        apart = sender != receiver
        columns[self._sent[self._read[apart], sender[apart], receiver[apart]]] = 1.0
        if len(self._messages):
            n_messages = count_messages(self._problem, placement)
            columns[self._messages] = (n_messages + 1) // 2, n_messages // 2
        return columns

    def transfer(self, problem: Problem, sender: int, receiver: int, *, with_delay: bool = False) -> FloatArray:
        """Return coefficients, (n_columns,), that add up what is sent from one machine to another."""
        prices = problem.transfer_costs(sender, receiver)[self._tensors]
        coefficients = np.zeros(self.n_columns)
        coefficients[self._sent[:, sender, receiver]] = (
            prices + problem.delay[sender, receiver] if with_delay else prices
        )
        return coefficients

    def coding(self, problem: Problem, machine: int) -> FloatArray:
        """Return coefficients, (n_columns,), that add up what one machine encodes and decodes."""
        coefficients = np.zeros(self.n_columns)
        for other in range(problem.n_machines):
            if other != machine:
                coefficients[self._sent[:, machine, other]] = problem.encode[self._tensors, machine]
                coefficients[self._sent[:, other, machine]] = problem.decode[self._tensors, machine]
        return coefficients

    def cost(self, problem: Problem, *, with_delays: bool, above_least: bool = False) -> FloatArray:
        """Return coefficients, (n_columns,), of compute, transfers and, if wanted, delays.

        With two machines the delays are those of the messages, if the model counts them; with more, each tensor sent
        pays its own. `above_least` takes off what each block costs at least, which makes all of them >= 0: what is
        paid anyway, however large, then does not blur the differences that are left.
        """
        coefficients = self._compute_above_least(problem) if above_least else self.per_block(problem.compute)
        n_machines = problem.n_machines
        own_delays = with_delays and n_machines > 2
        for sender in range(n_machines):
            for receiver in range(n_machines):
                if sender != receiver:
                    coefficients += self.transfer(problem, sender, receiver, with_delay=own_delays)
        if with_delays and len(self._messages):
            coefficients[self._messages] = problem.delay[0, 1], problem.delay[1, 0]
        return coefficients

    def _compute_above_least(self, problem: Problem) -> FloatArray:
        # First layer by layer: sums over a block then lose no digits to what all of its machines have in common.
        allowed = self._allowed[self._block]
        least = np.where(allowed, problem.compute, np.inf).min(axis=1, keepdims=True)
        coefficients = self.per_block(np.where(allowed, problem.compute - least, np.inf))
        own = coefficients[: self._allowed.size].reshape(self._allowed.shape)
        own -= np.where(self._allowed, own, np.inf).min(axis=1, keepdims=True)
        own[~self._allowed] = 0.0
        return coefficients

    def exclude(self, placement: IntArray) -> None:
        """Add a row that no longer allows this one placement."""
        columns = np.unique(self._block * self._problem.n_machines + placement)
        self.add_rows(np.zeros(len(columns)), columns, 1.0, upper=len(columns) - 1.0, count=1)

    def _add_tensors(self) -> None:
        problem, n_machines = self._problem, self._problem.n_machines
        owner = np.repeat(np.arange(problem.n_tensors), problem.consumer_counts())
        pairs = np.stack([owner, self._block[problem.consumer_layers]], axis=1)
        pairs = np.unique(pairs[self._block[problem.tensor_producer[owner]] != pairs[:, 1]], axis=0)
        self._tensors, place, counts = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
        n_tensors = len(self._tensors)
        self._sent = np.full((n_tensors, n_machines, n_machines), -1, dtype=np.int64)
        apart = ~np.eye(n_machines, dtype=bool)
        self._sent[:, apart] = self.add_columns(n_tensors * int(apart.sum())).reshape(n_tensors, int(apart.sum()))
        producer = self._block[problem.tensor_producer[self._tensors]] * n_machines

        place = place.ravel()
        self._read, self._readers = place, pairs[:, 1]
        for machine in range(n_machines):
            others = [sender for sender in range(n_machines) if sender != machine]
            consumer = pairs[:, 1] * n_machines + machine
            columns = np.column_stack([producer[place] + machine, *self._sent[place][:, others, machine].T, consumer])
            signs = np.broadcast_to([1.0] * n_machines + [-1.0], columns.shape)
            rows = np.broadcast_to(np.arange(len(pairs))[:, None], columns.shape)
            self.add_rows(rows, columns, signs, lower=0.0, count=len(pairs))
        if n_machines == 2:
            return
        for machine in range(n_machines):
            sent = self._sent[:, machine, [j for j in range(n_machines) if j != machine]]
            alone, shared = sent[counts == 1], sent[counts > 1].reshape(-1, 1)
            holders = producer[counts == 1] + machine, np.repeat(producer[counts > 1] + machine, n_machines - 1)
            for columns, holder in zip((alone, shared), holders, strict=True):
                signs = np.broadcast_to([1.0] * columns.shape[1] + [-1.0], (len(columns), columns.shape[1] + 1))
                rows = np.broadcast_to(np.arange(len(columns))[:, None], signs.shape)
                self.add_rows(rows, np.column_stack([columns, holder]), signs, upper=0.0, count=len(columns))

    def _add_messages(self, visits: int) -> None:
        problem = self._problem
        server = self._block * 2 + 1
        down = self.add_columns(problem.n_layers, upper=float(problem.n_layers))
        self._messages = self.add_columns(2, upper=float(min(visits, problem.n_layers)), integer=True)
        owner = np.repeat(problem.tensor_producer, problem.consumer_counts())
        edges = np.unique(np.stack([owner, problem.consumer_layers], axis=1), axis=0)
        tails, heads = edges[:, 0], edges[:, 1]
        ones = np.ones(len(edges))
        rows = np.arange(len(edges))
        self.add_rows(
            np.tile(rows, 2), np.concatenate([down[heads], down[tails]]), [*ones, *-ones], lower=0.0, count=len(edges)
        )
        self.add_rows(
            np.tile(rows, 4),
            np.concatenate([down[heads], server[heads], down[tails], server[tails]]),
            [*ones, *ones, *-ones, *-ones],
            lower=0.0,
            count=len(edges),
        )
        last = np.setdiff1d(np.arange(problem.n_layers), tails)
        upwards, downwards = np.full(len(last), self._messages[0]), np.full(len(last), self._messages[1])
        signs = np.repeat([1.0, -1.0, -1.0], len(last))
        rows = np.arange(len(last))
        self.add_rows(
            np.tile(rows, 3), np.concatenate([upwards, down[last], server[last]]), signs, lower=0.0, count=len(last)
        )
        self.add_rows(
            np.tile(rows, 2),
            np.concatenate([downwards, down[last]]),
            signs[: 2 * len(last)],
            lower=0.0,
            count=len(last),
        )
