"""Throughput over several machines: the problem, and the one function that says what a placement loads each with.

Machines work on different inferences at the same time, so the busiest one sets the rate. A machine's load is the
compute time of its layers, plus what it pays to receive each tensor that one of its layers reads and another machine
makes, plus what it pays to send each tensor that one of its layers makes and another machine reads: once per tensor,
however many layers or machines read it.

A split is *contiguous* if the machines can be put into an order in which no edge leads back: the parts of the machines
are then differences of consecutive down-sets (sets of layers closed under predecessors), and an inference moves through
the machines once. In a training graph this is asked of the forward layers alone; the backward ones follow the layers
they are colocated with, through the same machines in reverse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers._arrays import FloatArray, IntArray, frozen_copy, read_only
from solvers._checks import floats, listed, tensor_rows
from solvers.errors import ProblemError
from solvers.layer_graph import LayerGraph
from solvers.problem import Problem
from solvers.solution import LIMIT_TOLERANCE


@dataclass(frozen=True, slots=True, eq=False)
class PipelineProblem:
    """Layers, tensors, and kinds of equal machines between which an inference is pipelined.

    Parameters
    ----------
    compute : (n_layers, n_kinds) float64, >= 0
        Time of a layer on a machine of a kind; inf = not allowed there.
    tensor_producer : (n_tensors,) int64
    consumer_offsets, consumer_layers : (n_tensors + 1,) and (n_consumers,) int64
        ``consumer_layers[consumer_offsets[t] : consumer_offsets[t + 1]]`` consume tensor t.
    receive, send : (n_tensors, n_kinds) float64, >= 0, finite
        Time that a machine of a kind spends on receiving, or on sending, a tensor.
    machine_counts : (n_kinds,) int64, >= 0, not all zero
        How many machines of each kind there are; none has to be used.
    memory_bytes : (n_layers,) float64, >= 0, finite
    memory_limit_bytes : (n_kinds,) float64, >= 0
        Most bytes on one machine of a kind; inf = no limit.
    contiguous : (n_layers,) bool
        Layers of which contiguity is required.
    colocated : tuple of tuples of int
        Groups of layers that must share a machine.
    layer_names, kind_names : tuples of str, empty or complete
        Used in messages.

    Raises
    ------
    ProblemError
        The arrays do not describe a problem; the message names the layer, tensor or kind.
    InfeasibleError
        A layer, or a group of colocated layers, is allowed on no machine.
    """

    compute: FloatArray
    tensor_producer: IntArray
    consumer_offsets: IntArray
    consumer_layers: IntArray
    receive: FloatArray
    send: FloatArray
    machine_counts: IntArray
    memory_bytes: FloatArray
    memory_limit_bytes: FloatArray
    contiguous: NDArray[np.bool_]
    colocated: tuple[tuple[int, ...], ...] = ()
    layer_names: tuple[str, ...] = ()
    kind_names: tuple[str, ...] = ()
    graph: LayerGraph = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("layer_names", "kind_names"):
            object.__setattr__(self, name, listed(name, getattr(self, name)))
        self._check_machines()
        for name in ("compute", "receive", "send", "memory_bytes", "memory_limit_bytes"):
            object.__setattr__(self, name, floats(name, getattr(self, name)))
        self._check_costs()
        # Shapes, names, producers, consumers, cycles, colocated layers: the other problem's checks are the same.
        kinds = self.n_kinds
        checked = Problem(
            compute=np.where(self.machine_counts > 0, self.compute, np.inf),
            tensor_producer=self.tensor_producer,
            tensor_size_bytes=np.zeros(len(self.receive)),
            consumer_offsets=self.consumer_offsets,
            consumer_layers=self.consumer_layers,
            per_tensor=np.zeros((kinds, kinds)),
            per_byte=np.zeros((kinds, kinds)),
            delay=np.zeros((kinds, kinds)),
            max_server_visits=None,
            colocated=self.colocated,
            layer_names=self.layer_names,
        )
        for name in ("tensor_producer", "consumer_offsets", "consumer_layers", "colocated", "layer_names", "graph"):
            object.__setattr__(self, name, getattr(checked, name))
        flags = _array("contiguous", self.contiguous)
        if flags.dtype != np.bool_ or flags.shape != (self.n_layers,):
            raise ProblemError(
                f"contiguous has shape {flags.shape} and type {flags.dtype}; give ({self.n_layers},) booleans"
            )
        object.__setattr__(self, "contiguous", frozen_copy(flags, np.bool_))

    @classmethod
    def build(
        cls,
        compute: Any,
        tensors: Iterable[tuple[int, float, Sequence[int]]],
        *,
        machine_counts: Sequence[int],
        pays_transfers: Sequence[bool] | None = None,
        memory_bytes: Any = None,
        memory_limit_bytes: Any = None,
        contiguous: Any = None,
        colocated: Iterable[Sequence[int]] = (),
        layer_names: Sequence[str] = (),
        kind_names: Sequence[str] = (),
    ) -> "PipelineProblem":
        """Make a problem from rows of costs and ``(producer, time, consumers)`` triples.

        The time of a tensor is paid by its sender and by each receiver, where the machine's kind pays for transfers
        (by default every kind). Without memory limits there are none; by default contiguity is asked of every layer.

        Parameters
        ----------
        compute : (n_layers, n_kinds) array_like
        tensors : iterable of (int, float, iterable of int)
            Producer, time and consumers of each tensor.
        pays_transfers : (n_kinds,) array_like of bool, optional
            Which kinds of machines spend that time.
        machine_counts, memory_bytes, memory_limit_bytes, contiguous, colocated, layer_names, kind_names
            As of the class.

        Returns
        -------
        PipelineProblem

        Examples
        --------
        >>> problem = PipelineProblem.build([[1.0], [2.0]], [(0, 0.5, [1])], machine_counts=[2])
        >>> problem
        PipelineProblem(2 layers, 1 tensors, 2 machines)
        """
        costs = floats("compute", compute)
        n_layers, n_kinds = costs.shape if costs.ndim == 2 else (0, 0)
        rows = tensor_rows(tensors, "time")
        offsets = np.cumsum([0] + [len(row[2]) for row in rows], dtype=np.int64)
        paying = np.ones(n_kinds) if pays_transfers is None else _array("pays_transfers", pays_transfers)
        if paying.shape != (n_kinds,) or paying.dtype.kind not in "biuf" or not bool(np.isin(paying, (0, 1)).all()):
            raise ProblemError(f"pays_transfers is {pays_transfers!r}; give one boolean for each of {n_kinds} kinds")
        times = floats("tensors", [row[1] for row in rows])
        if times.ndim != 1:
            raise ProblemError(f"the list of tensor times has shape {times.shape}; give one number for each tensor")
        prices = np.where(paying[None, :] > 0, times[:, None], 0.0)
        return cls(
            compute=costs,
            tensor_producer=_array("the list of producers", [row[0] for row in rows]),
            consumer_offsets=offsets,
            consumer_layers=_array("the list of consumers", [layer for row in rows for layer in row[2]]),
            receive=prices,
            send=prices,
            machine_counts=_array("machine_counts", machine_counts),
            memory_bytes=np.zeros(n_layers) if memory_bytes is None else memory_bytes,
            memory_limit_bytes=np.full(n_kinds, np.inf) if memory_limit_bytes is None else memory_limit_bytes,
            contiguous=np.ones(n_layers, dtype=np.bool_) if contiguous is None else contiguous,
            colocated=tuple(listed("a group of colocated", group) for group in listed("colocated", colocated)),
            layer_names=listed("layer_names", layer_names),
            kind_names=listed("kind_names", kind_names),
        )

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.compute.shape[0])

    @property
    def n_kinds(self) -> int:
        """Number of kinds of machines."""
        return int(self.compute.shape[1])

    @property
    def n_tensors(self) -> int:
        """Number of tensors."""
        return len(self.tensor_producer)

    @property
    def n_machines(self) -> int:
        """Number of machines of all kinds."""
        return int(self.machine_counts.sum())

    @property
    def machine_kinds(self) -> IntArray:
        """The kind of each machine, (n_machines,) int64: machines are numbered kind by kind."""
        return np.repeat(np.arange(self.n_kinds), self.machine_counts)

    def __repr__(self) -> str:
        return f"PipelineProblem({self.n_layers} layers, {self.n_tensors} tensors, {self.n_machines} machines)"

    def layer(self, index: int) -> str:
        """Say which layer `index` is, for messages."""
        return f"layer {self.layer_names[index]!r}" if self.layer_names else f"layer {index}"

    def kind(self, index: int) -> str:
        """Say which kind of machine `index` is, for messages."""
        return f"kind {self.kind_names[index]!r}" if self.kind_names else f"kind {index}"

    def consumer_owners(self) -> IntArray:
        """Return the tensor of each entry of `consumer_layers`, (n_consumers,) int64."""
        return np.repeat(np.arange(self.n_tensors), np.diff(self.consumer_offsets))

    def ordered_edges(self) -> tuple[IntArray, IntArray]:
        """Return tails and heads of the edges that may not lead back: between layers asked to be contiguous."""
        tails = self.tensor_producer[self.consumer_owners()]
        kept = self.contiguous[tails] & self.contiguous[self.consumer_layers]
        return tails[kept], self.consumer_layers[kept]

    def _check_machines(self) -> None:
        counts = _array("machine_counts", self.machine_counts)
        if counts.ndim != 1 or (counts.size and counts.dtype.kind not in "iu"):
            raise ProblemError(f"machine_counts is {counts.tolist()!r}; give one whole number for each kind of machine")
        if bool(np.any(counts < 0)):
            kind = int(np.argmax(counts < 0))
            raise ProblemError(f"there are {counts[kind]} machines of {self.kind(kind)}; give a whole number >= 0")
        if counts.sum() == 0:
            raise ProblemError("there is no machine; give machine_counts with at least one machine of some kind")
        object.__setattr__(self, "machine_counts", frozen_copy(counts, np.int64))

    def _check_costs(self) -> None:
        n_kinds = len(self.machine_counts)
        if self.compute.ndim != 2 or self.compute.shape[1] != n_kinds:
            raise ProblemError(f"compute has shape {self.compute.shape}; give (n_layers, {n_kinds}), one column a kind")
        n_layers, n_tensors = len(self.compute), len(np.atleast_1d(self.tensor_producer))
        shapes = {
            "receive": (n_tensors, n_kinds),
            "send": (n_tensors, n_kinds),
            "memory_bytes": (n_layers,),
            "memory_limit_bytes": (n_kinds,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ProblemError(f"{name} has shape {getattr(self, name).shape}; give {shape}")
        if len(self.kind_names) not in (0, n_kinds):
            raise ProblemError(f"kind_names has {len(self.kind_names)} names; give {n_kinds} or none")
        bad = ~(self.compute >= 0)
        if bool(np.any(bad)):
            layer, kind = (int(i) for i in np.argwhere(bad)[0])
            raise ProblemError(
                f"{self.layer(layer)} takes {self.compute[layer, kind]} on {self.kind(kind)}; "
                "give a number >= 0, or inf where it is not allowed"
            )
        for name in ("receive", "send"):
            bad = ~np.isfinite(getattr(self, name)) | (getattr(self, name) < 0)
            if bool(np.any(bad)):
                tensor, kind = (int(i) for i in np.argwhere(bad)[0])
                raise ProblemError(
                    f"to {name} tensor {tensor} takes {getattr(self, name)[tensor, kind]} on {self.kind(kind)}; "
                    "give a finite number >= 0"
                )
        bad = ~np.isfinite(self.memory_bytes) | (self.memory_bytes < 0)
        if bool(np.any(bad)):
            layer = int(np.argmax(bad))
            raise ProblemError(f"{self.layer(layer)} takes {self.memory_bytes[layer]} bytes; give a finite number >= 0")
        bad = ~(self.memory_limit_bytes >= 0)
        if bool(np.any(bad)):
            kind = int(np.argmax(bad))
            raise ProblemError(
                f"a machine of {self.kind(kind)} holds {self.memory_limit_bytes[kind]} bytes; "
                "give a number >= 0, or inf for no limit"
            )
        with np.errstate(over="ignore"):
            total = np.sum(self.compute[np.isfinite(self.compute)]) + self.receive.sum() + self.send.sum()
            total += self.memory_bytes.sum()
        if not np.isfinite(total):
            raise ProblemError("the times or the bytes add up to more than float64 holds; use a larger unit")


@dataclass(frozen=True, slots=True, eq=False)
class PipelineLoads:
    """What each machine spends on one inference, in the problem's unit of time, and the bytes that it holds.

    Attributes
    ----------
    compute, receive, send, memory_bytes : (n_machines,) float64
    value : float
        The largest load; inf if the placement is not allowed.
    reason : str
        Why it is not allowed; empty if it is.
    """

    compute: FloatArray
    receive: FloatArray
    send: FloatArray
    memory_bytes: FloatArray
    value: float
    reason: str

    @property
    def load(self) -> FloatArray:
        """The sum of the three times, (n_machines,) float64."""
        return self.compute + self.receive + self.send

    def __repr__(self) -> str:
        return f"PipelineLoads(value={self.value:.6g}, {len(self.compute)} machines)"


def pipeline_loads(problem: PipelineProblem, placement: Any) -> PipelineLoads:
    """Return the loads of a placement, (n_layers,) machines: the value that every method answers to.

    Raises
    ------
    ProblemError
        The placement has the wrong shape or names machines that do not exist.

    Notes
    -----
    O(n_layers + n_consumers log n_consumers + n_machines). A placement that breaks a rule has the value inf and a
    reason.
    """
    machines = np.asarray(placement)
    n_machines, kinds = problem.n_machines, problem.machine_kinds
    if machines.shape != (problem.n_layers,) or (machines.size and machines.dtype.kind not in "iu"):
        raise ProblemError(f"placement has shape {machines.shape}; give ({problem.n_layers},) whole numbers")
    if machines.size and (machines.min() < 0 or machines.max() >= n_machines):
        layer = int(np.argmax((machines < 0) | (machines >= n_machines)))
        raise ProblemError(
            f"{problem.layer(layer)} is placed on machine {machines[layer]}; machines are 0 to {n_machines - 1}"
        )
    machines = machines.astype(np.int64)
    times = problem.compute[np.arange(problem.n_layers), kinds[machines]]
    owners = problem.consumer_owners()
    # Each tensor once per machine that reads it and does not make it.
    pairs = np.unique(owners * n_machines + machines[problem.consumer_layers])
    tensors, receivers = pairs // n_machines, pairs % n_machines
    senders = machines[problem.tensor_producer[tensors]]
    crossing = senders != receivers
    tensors, receivers = tensors[crossing], receivers[crossing]
    sent = np.unique(tensors)
    senders = machines[problem.tensor_producer[sent]]
    loads = (
        _totals(machines, times, n_machines),
        _totals(receivers, problem.receive[tensors, kinds[receivers]], n_machines),
        _totals(senders, problem.send[sent, kinds[senders]], n_machines),
        _totals(machines, problem.memory_bytes, n_machines),
    )
    reason = _broken_rule(problem, machines, loads[3])
    value = float("inf") if reason else float((loads[0] + loads[1] + loads[2]).max(initial=0.0))
    return PipelineLoads(*loads, value=value, reason=reason)


def pipeline_order(problem: PipelineProblem, machines: IntArray) -> IntArray:
    """Return the machines in an order in which no edge leads back; shorter than n_machines if there is none."""
    tails, heads = (machines[layers] for layers in problem.ordered_edges())
    kept = tails != heads
    return LayerGraph.of(problem.n_machines, tails[kept], heads[kept]).order


def _totals(machines: IntArray, amounts: FloatArray, n_machines: int) -> FloatArray:
    return read_only(np.bincount(machines, weights=amounts, minlength=n_machines).astype(np.float64))


def _broken_rule(problem: PipelineProblem, machines: IntArray, memory_bytes: FloatArray) -> str:
    kinds = problem.machine_kinds
    forbidden = np.isinf(problem.compute[np.arange(problem.n_layers), kinds[machines]])
    if bool(np.any(forbidden)):
        layer = int(np.argmax(forbidden))
        return f"{problem.layer(layer)} is not allowed on machine {machines[layer]}"
    limits = problem.memory_limit_bytes[kinds]
    over = memory_bytes > limits * (1 + LIMIT_TOLERANCE)
    if bool(np.any(over)):
        machine = int(np.argmax(over))
        return f"machine {machine} would hold {memory_bytes[machine]:.17g} bytes of {limits[machine]:.17g}"
    for group in problem.colocated:
        if len({int(machines[layer]) for layer in group}) > 1:
            return f"the colocated {', '.join(problem.layer(layer) for layer in group)} are on several machines"
    if len(pipeline_order(problem, machines)) < problem.n_machines:
        return "the parts are not contiguous: edges lead from machine to machine and back"
    return ""


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ProblemError(f"{name} is not an array: {error}") from None
