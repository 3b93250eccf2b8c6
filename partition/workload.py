"""Workload files: cost graphs without a model, in the JSON format of the device placement literature.

The format is that of the public workloads of Tarnawski et al. (NeurIPS 2020), where an accelerator is called an FPGA. A
file is read strictly and written whole or not at all; docs/workloads.md describes every field.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partition.errors import InputError
from partition.files import FieldReader, read_json, write_json

if TYPE_CHECKING:
    from solvers.contiguous_problem import PipelineProblem

KIND_NAMES = ("accelerator", "cpu")


@dataclass(frozen=True, slots=True)
class WorkloadNode:
    """A layer or an operator. Times are in the file's own unit, the same for all nodes and edges.

    Attributes
    ----------
    id : int
    cpu_time, accelerator_time : float
    on_accelerator : bool
        Whether an accelerator may run it.
    memory_bytes : float
        Taken on an accelerator.
    backward : bool
        Part of the backward pass of a training step.
    color_class : int or None
        Nodes of one class must share a machine; None = free.
    name : str or None
    layer_id : int or None
        Kept, not used.
    """

    id: int
    cpu_time: float
    accelerator_time: float
    on_accelerator: bool
    memory_bytes: float
    backward: bool = False
    color_class: int | None = None
    name: str | None = None
    layer_id: int | None = None

    @property
    def label(self) -> str:
        """How messages and tables call it."""
        return f"node {self.id}" if self.name in (None, f"node{self.id}") else f"node {self.id} ({self.name})"


@dataclass(frozen=True, slots=True)
class WorkloadEdge:
    """One node reads what another one makes; all edges from one node stand for one tensor, sent once to a machine.

    Attributes
    ----------
    source, target : int
    cost : float
        Time of the transfer between an accelerator and the host; equal on all edges from one node.
    size_bytes : float or None
        Kept, not used.
    """

    source: int
    target: int
    cost: float
    size_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """A cost graph and the machines that it is meant for.

    Attributes
    ----------
    name : str
    nodes : tuple of WorkloadNode
    edges : tuple of WorkloadEdge
    n_accelerators, n_cpus : int
    accelerator_memory_bytes : float

    Raises
    ------
    InputError
        Two nodes with one id, an edge from or to a node that does not exist, the same edge twice, different costs on
        edges from one node, a time or size that is negative or not finite, or a cycle; the message names it.
    """

    name: str
    nodes: tuple[WorkloadNode, ...]
    edges: tuple[WorkloadEdge, ...]
    n_accelerators: int
    n_cpus: int
    accelerator_memory_bytes: float

    def __post_init__(self) -> None:
        for name in ("n_accelerators", "n_cpus"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; give a whole number, 0 or more")
        _check_amount("the memory of an accelerator", self.accelerator_memory_bytes)
        self._check_nodes()
        self._check_edges()
        self._check_no_cycle()

    def problem(self, *, accelerators: int | None = None, cpus: int | None = None) -> "PipelineProblem":
        """Return the throughput problem; the file's numbers of machines unless others are given.

        Raises
        ------
        solvers.ProblemError
            No machine, or a negative number of them.
        solvers.InfeasibleError
            A node, or a colour class, is allowed on no machine.
        """
        from solvers.contiguous_problem import PipelineProblem
        from solvers.errors import ProblemError

        counts = [
            self.n_accelerators if accelerators is None else accelerators,
            self.n_cpus if cpus is None else cpus,
        ]
        if counts == [0, 0]:
            raise ProblemError("there is no machine; give at least one, with --accelerators or --cpus")
        number = {node.id: index for index, node in enumerate(self.nodes)}
        targets: dict[int, list[int]] = {}
        costs: dict[int, float] = {}
        for edge in self.edges:
            targets.setdefault(number[edge.source], []).append(number[edge.target])
            costs[number[edge.source]] = edge.cost
        classes: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            if node.color_class is not None:
                classes.setdefault(node.color_class, []).append(index)
        return PipelineProblem.build(
            [[node.accelerator_time if node.on_accelerator else math.inf, node.cpu_time] for node in self.nodes],
            [(source, costs[source], readers) for source, readers in targets.items()],
            machine_counts=counts,
            pays_transfers=[True, False],
            memory_bytes=[node.memory_bytes for node in self.nodes],
            memory_limit_bytes=[self.accelerator_memory_bytes, math.inf],
            contiguous=[not node.backward for node in self.nodes],
            colocated=[members for members in classes.values() if len(members) > 1],
            layer_names=[node.label for node in self.nodes],
            kind_names=KIND_NAMES,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of a workload file."""
        return {
            "maxSizePerFPGA": self.accelerator_memory_bytes,
            "maxFPGAs": self.n_accelerators,
            "maxCPUs": self.n_cpus,
            "nodes": [_node_to_json(node) for node in self.nodes],
            "edges": [_edge_to_json(edge) for edge in self.edges],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a workload file, whole or not at all; an existing one is replaced.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        write_json(path, self.to_json())

    def _check_nodes(self) -> None:
        if not self.nodes:
            raise InputError("there is no node; give at least one")
        seen: set[int] = set()
        for node in self.nodes:
            if node.id in seen:
                raise InputError(f"two nodes have the id {node.id}; give each node its own")
            seen.add(node.id)
            _check_amount(f"the time of {node.label} on a CPU", node.cpu_time)
            _check_amount(f"the time of {node.label} on an accelerator", node.accelerator_time)
            _check_amount(f"the size of {node.label}", node.memory_bytes)

    def _check_edges(self) -> None:
        labels = {node.id: node.label for node in self.nodes}
        first: dict[int, WorkloadEdge] = {}
        seen: set[tuple[int, int]] = set()
        for edge in self.edges:
            for end in (edge.source, edge.target):
                if end not in labels:
                    raise InputError(
                        f"the edge from {edge.source} to {edge.target} names the node {end}, which does not exist; "
                        "add the node or remove the edge"
                    )
            if (edge.source, edge.target) in seen:
                raise InputError(f"the edge from {edge.source} to {edge.target} is given twice; keep one of them")
            seen.add((edge.source, edge.target))
            _check_amount(f"the cost of the edge from {edge.source} to {edge.target}", edge.cost)
            if edge.size_bytes is not None:
                _check_amount(f"the size of the edge from {edge.source} to {edge.target}", edge.size_bytes)
            other = first.setdefault(edge.source, edge)
            if other.cost != edge.cost:
                raise InputError(
                    f"{labels[edge.source]} sends its one output at cost {other.cost!r} to {other.target} and at cost "
                    f"{edge.cost!r} to {edge.target}; give all edges from one node the same cost"
                )

    def _check_no_cycle(self) -> None:
        labels = {node.id: node.label for node in self.nodes}
        readers: dict[int, list[int]] = {node: [] for node in labels}
        missing = dict.fromkeys(labels, 0)
        for edge in self.edges:
            readers[edge.source].append(edge.target)
            missing[edge.target] += 1
        ready = [node for node, count in missing.items() if count == 0]
        while ready:
            for reader in readers[ready.pop()]:
                missing[reader] -= 1
                if missing[reader] == 0:
                    ready.append(reader)
        stuck = {node for node, count in missing.items() if count > 0}
        if not stuck:
            return
        before = {edge.target: edge.source for edge in self.edges if edge.source in stuck and edge.target in stuck}
        path = [next(iter(before))]
        while before[path[-1]] not in path:  # every stuck node has a stuck node before it, so this comes round
            path.append(before[path[-1]])
        circle = [*path[path.index(before[path[-1]]) :], before[path[-1]]][::-1]
        raise InputError(f"a cycle leads through {' -> '.join(labels[node] for node in circle)}; remove one edge of it")


def load_workload(path: str | os.PathLike[str]) -> Workload:
    """Read a workload file.

    Raises
    ------
    InputError
        The file is missing, not JSON, lacks a field or has one too many, or holds a value that cannot be used; the
        message names the file and the field, node or edge.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"workload is {path!r}; give the path of a workload file")
    source = f"workload {str(path)!r}"
    fields = FieldReader(read_json(path, "workload"), source)
    memory_bytes = fields.non_negative("maxSizePerFPGA")
    n_accelerators, n_cpus = fields.whole("maxFPGAs"), fields.whole("maxCPUs")
    nodes = tuple(_read_node(one) for one in fields.objects("nodes"))
    edges = tuple(_read_edge(one) for one in fields.objects("edges"))
    fields.finish()
    try:
        return Workload(Path(path).stem, nodes, edges, n_accelerators, n_cpus, memory_bytes)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _read_node(fields: FieldReader) -> WorkloadNode:
    node = WorkloadNode(
        id=fields.whole("id"),
        cpu_time=fields.non_negative("cpuLatency"),
        accelerator_time=fields.non_negative("fpgaLatency"),
        on_accelerator=_flag(fields, "supportedOnFpga"),
        memory_bytes=fields.non_negative("size"),
        backward=_flag(fields, "isBackwardNode"),
        color_class=_optional_whole(fields, "colorClass"),
        name=fields.text("name") if "name" in fields.names() else None,
        layer_id=_optional_whole(fields, "layerId"),
    )
    fields.finish()
    return node


def _read_edge(fields: FieldReader) -> WorkloadEdge:
    edge = WorkloadEdge(
        source=fields.whole("sourceId"),
        target=fields.whole("destId"),
        cost=fields.non_negative("cost"),
        size_bytes=fields.non_negative("size") if "size" in fields.names() else None,
    )
    fields.finish()
    return edge


def _flag(fields: FieldReader, name: str) -> bool:
    """Take true or false, which other writers of the format give as 1 or 0."""
    value = fields.take(name)
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    return fields.refuse(name, value, "true or false, or 1 or 0")


def _optional_whole(fields: FieldReader, name: str) -> int | None:
    return fields.whole(name) if name in fields.names() else None


def _node_to_json(node: WorkloadNode) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": node.id,
        "name": node.name,
        "cpuLatency": node.cpu_time,
        "fpgaLatency": node.accelerator_time,
        "supportedOnFpga": node.on_accelerator,
        "size": node.memory_bytes,
        "colorClass": node.color_class,
        "isBackwardNode": node.backward,
        "layerId": node.layer_id,
    }
    return {name: value for name, value in content.items() if value is not None}


def _edge_to_json(edge: WorkloadEdge) -> dict[str, Any]:
    content = {"sourceId": edge.source, "destId": edge.target, "cost": edge.cost}
    return content if edge.size_bytes is None else content | {"size": edge.size_bytes}


def _check_amount(what: str, amount: float) -> None:
    if not (math.isfinite(amount) and amount >= 0):
        raise InputError(f"{what} is {amount}; give a finite number, 0 or more")
