"""The problem that every method solves: layers with costs, machines with links, tensors between layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._checks import floats, integers, listed, tensor_rows
from solvers._coding import coded, no_coding
from solvers.errors import InfeasibleError, ProblemError
from solvers.layer_graph import LayerGraph

LARGEST_TOTAL = 5e307
"""A third of float64's range for each kind of cost: sums of all kinds can then not overflow."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Layers (real ones and pseudo-layers) to be placed on machines; machine 0 is the device, 1 the server.

    A model input is a pseudo-layer with compute ``[0, inf]`` that produces the input tensor; an output wanted on a
    machine is a pseudo-layer pinned there that consumes the output tensor; an output that may stay anywhere has
    none. Costs carry any one unit (seconds, joules).

    Parameters
    ----------
    compute : (n_layers, n_machines) float64
        Cost of a layer on a machine, of any sign; ``inf`` = not allowed there.
    tensor_producer : (n_tensors,) int64
    tensor_size_bytes : (n_tensors,) float64, >= 0
    consumer_offsets : (n_tensors + 1,) int64
        ``consumer_layers[consumer_offsets[t]:consumer_offsets[t + 1]]`` consume tensor t. None at all is legal.
    consumer_layers : (n_consumers,) int64
    per_tensor, per_byte, delay : (n_machines, n_machines) float64, >= 0, finite, zero diagonal
        Cost of sending one tensor, one byte, one message from machine i to machine j.
    max_server_visits : int or None
        How often the server may be asked within one inference; None = without limit. With more than two machines
        there is no one server, and None is the only choice.
    colocated : tuple of tuples of int
        Groups of layers that must share a machine.
    layer_names, tensor_names : tuples of str, empty or complete
        Used in error messages.
    encode, decode : (n_tensors, n_machines) float64, >= 0, finite; zeros if None
        What the sending machine pays to make a tensor ready for a crossing (a layout reorder, a codec), and what the
        receiving machine pays to take it in. Charged once per crossing (tensor, sender, receiver), as `per_tensor`
        is: never for a second consumer on the same machine, and with more than two machines a tensor that is sent to
        two of them is encoded twice. A machine's work: where a machine is slowed down or priced, so is this.

    Raises
    ------
    ProblemError
        The arrays do not describe a problem; the message names the layer or tensor.
    InfeasibleError
        A layer is allowed on no machine.

    Notes
    -----
    Arrays are copied unless they are already contiguous, of the right type and read-only. Validation is
    O(n_layers + n_consumers log n_consumers).

    `crossing_work` is what methods read of `encode` and `decode`: the sum for tensor t from machine i to machine j at
    ``(t * n_machines + i) * n_machines + j``, 0 from a machine to itself; empty where both are zero throughout.
    """

    compute: FloatArray
    tensor_producer: IntArray
    tensor_size_bytes: FloatArray
    consumer_offsets: IntArray
    consumer_layers: IntArray
    per_tensor: FloatArray
    per_byte: FloatArray
    delay: FloatArray
    max_server_visits: int | None = 1
    colocated: tuple[tuple[int, ...], ...] = ()
    layer_names: tuple[str, ...] = ()
    tensor_names: tuple[str, ...] = ()
    encode: FloatArray = None  # type: ignore[assignment]
    decode: FloatArray = None  # type: ignore[assignment]
    graph: LayerGraph = field(init=False, repr=False)
    crossing_work: FloatArray = field(init=False, repr=False)  # (n_tensors * n_machines ** 2,) or empty

    def __post_init__(self) -> None:
        for name in ("compute", "tensor_size_bytes", "per_tensor", "per_byte", "delay"):
            object.__setattr__(self, name, floats(name, getattr(self, name)))
        for name in ("tensor_producer", "consumer_offsets", "consumer_layers"):
            object.__setattr__(self, name, integers(name, getattr(self, name)))
        for name in ("layer_names", "tensor_names"):
            object.__setattr__(self, name, listed(name, getattr(self, name)))
        self._check_shapes()
        self._check_compute()
        self._check_links()
        self._check_tensors()
        self._set_coding(self.encode, self.decode)
        self._check_colocated()
        self._check_compute_total()
        self._check_link_total()
        object.__setattr__(self, "graph", self._sorted_graph())

    @classmethod
    def build(
        cls,
        compute: Any,
        tensors: Iterable[tuple[int, float, Sequence[int]]],
        *,
        per_tensor: Any = None,
        per_byte: Any = None,
        delay: Any = None,
        max_server_visits: int | None = 1,
        colocated: Iterable[Sequence[int]] = (),
        layer_names: Sequence[str] = (),
        tensor_names: Sequence[str] = (),
        encode: Any = None,
        decode: Any = None,
    ) -> "Problem":
        """Make a problem from rows of costs and ``(producer, size_bytes, consumers)`` triples.

        Link matrices, `encode` and `decode` left out are zero.

        Parameters
        ----------
        compute : (n_layers, n_machines) array_like
        tensors : iterable of (int, float, iterable of int)
            Producer, size and consumers of each tensor.
        per_tensor, per_byte, delay, max_server_visits, colocated, layer_names, tensor_names, encode, decode
            As of the class.

        Returns
        -------
        Problem

        Examples
        --------
        >>> problem = Problem.build([[0, float("inf")], [4, 1]], [(0, 2.0, [1])], per_byte=[[0, 1], [1, 0]])
        >>> problem.n_layers, problem.n_machines, problem.n_tensors
        (2, 2, 1)
        """
        costs = floats("compute", compute)
        n_machines = costs.shape[1] if costs.ndim == 2 else 0
        none = np.zeros((n_machines, n_machines))
        rows = tensor_rows(tensors, "size_bytes")
        offsets = [0]
        layers: list[int] = []
        for _, _, consumers in rows:
            layers.extend(consumers)
            offsets.append(len(layers))
        return cls(
            compute=costs,
            tensor_producer=integers("tensor_producer", [row[0] for row in rows]),
            tensor_size_bytes=floats("tensor_size_bytes", [row[1] for row in rows]),
            consumer_offsets=np.array(offsets, dtype=np.int64),
            consumer_layers=integers("consumer_layers", layers),
            per_tensor=none if per_tensor is None else per_tensor,
            per_byte=none if per_byte is None else per_byte,
            delay=none if delay is None else delay,
            max_server_visits=max_server_visits,
            colocated=tuple(listed("a group of colocated", group) for group in listed("colocated", colocated)),
            layer_names=layer_names,  # type: ignore[arg-type]
            tensor_names=tensor_names,  # type: ignore[arg-type]
            encode=encode,
            decode=decode,
        )

    @property
    def n_layers(self) -> int:
        """Number of layers, pseudo-layers included."""
        return int(self.compute.shape[0])

    @property
    def n_machines(self) -> int:
        """Number of machines."""
        return int(self.compute.shape[1])

    @property
    def n_tensors(self) -> int:
        """Number of tensors."""
        return int(self.tensor_producer.shape[0])

    def __repr__(self) -> str:
        return f"Problem({self.n_layers} layers, {self.n_tensors} tensors, {self.n_machines} machines)"

    def layer(self, index: int) -> str:
        """Say which layer `index` is, for messages."""
        return f"layer {self.layer_names[index]!r}" if self.layer_names else f"layer {index}"

    def tensor(self, index: int) -> str:
        """Say which tensor `index` is, for messages."""
        return f"tensor {self.tensor_names[index]!r}" if self.tensor_names else f"tensor {index}"

    def consumer_counts(self) -> IntArray:
        """Return the number of consumers of each tensor, (n_tensors,) int64."""
        return np.diff(self.consumer_offsets)

    def transfer_costs(self, sender: int, receiver: int) -> FloatArray:
        """Return what each tensor costs once from `sender` to `receiver`, coding included, (n_tensors,) float64."""
        costs = self.per_tensor[sender, receiver] + self.tensor_size_bytes * self.per_byte[sender, receiver]
        if self.crossing_work.size and sender != receiver:
            costs = costs + (self.encode[:, sender] + self.decode[:, receiver])
        return np.asarray(costs, dtype=np.float64)

    def dearest_coding(self) -> float:
        """Return no less than what coding adds to any one crossing."""
        if not self.crossing_work.size:
            return 0.0
        return float(self.encode.max(initial=0.0)) + float(self.decode.max(initial=0.0))

    def without_transfers(self, compute: Any) -> "Problem":
        """Return a problem with other compute costs in which neither tensors nor messages cost anything to send."""
        nothing = read_only(np.zeros_like(self.delay))
        zeros = no_coding(self.encode.shape) if self.crossing_work.size else None
        return self.with_costs(
            compute=compute, per_tensor=nothing, per_byte=nothing, delay=nothing, encode=zeros, decode=zeros
        )

    def with_costs(
        self,
        *,
        compute: Any = None,
        tensor_size_bytes: Any = None,
        per_tensor: Any = None,
        per_byte: Any = None,
        delay: Any = None,
        encode: Any = None,
        decode: Any = None,
    ) -> "Problem":
        """Return a problem on the same layers and tensors with other costs; what is left out stays.

        The graph is shared and not looked at again. Same errors as the constructor. O(what is given).

        Parameters
        ----------
        compute, tensor_size_bytes, per_tensor, per_byte, delay, encode, decode
            As of the class.
        """
        other = object.__new__(Problem)
        for name in Problem.__slots__:
            object.__setattr__(other, name, getattr(self, name))
        given = {
            "compute": compute,
            "tensor_size_bytes": tensor_size_bytes,
            "per_tensor": per_tensor,
            "per_byte": per_byte,
            "delay": delay,
        }
        for name, values in given.items():
            if values is None:
                continue
            array = floats(name, values)
            if array.shape != getattr(self, name).shape:
                raise ProblemError(f"{name} has shape {array.shape}; give {getattr(self, name).shape}")
            object.__setattr__(other, name, array)
        if compute is not None:
            other._check_compute()
            other._check_colocated()
            other._check_compute_total()
        if tensor_size_bytes is not None:
            other._check_sizes()
        links = [name for name in ("per_tensor", "per_byte", "delay") if given[name] is not None]
        other._check_links(links)
        if encode is not None or decode is not None:
            other._set_coding(self.encode if encode is None else encode, self.decode if decode is None else decode)
        if links or any(values is not None for values in (tensor_size_bytes, encode, decode)):
            other._check_link_total()
        return other

    def narrowed(self) -> tuple["Problem", IntArray] | None:
        """Return the problem without the machines on which no layer is allowed, and the numbers of those that stay.

        None if there is no such machine, or nothing would stay.
        """
        useful = np.isfinite(self.compute).any(axis=0)
        if bool(useful.all()) or not bool(useful.any()):
            return None
        kept = np.flatnonzero(useful)
        pairs = np.ix_(kept, kept)
        problem = Problem(
            self.compute[:, kept],
            self.tensor_producer,
            self.tensor_size_bytes,
            self.consumer_offsets,
            self.consumer_layers,
            self.per_tensor[pairs],
            self.per_byte[pairs],
            self.delay[pairs],
            self.max_server_visits,
            self.colocated,
            self.layer_names,
            self.tensor_names,
            self.encode[:, kept],
            self.decode[:, kept],
        )
        return problem, kept

    def _check_shapes(self) -> None:
        if self.compute.ndim != 2 or self.compute.shape[1] == 0:
            raise ProblemError(
                f"compute has shape {self.compute.shape}; give (n_layers, n_machines), 1 machine or more"
            )
        n_layers, n_machines = self.compute.shape
        for name in ("per_tensor", "per_byte", "delay"):
            shape = getattr(self, name).shape
            if shape != (n_machines, n_machines):
                raise ProblemError(f"{name} has shape {shape}; with {n_machines} machines give {(n_machines,) * 2}")
        if self.tensor_producer.ndim != 1 or self.consumer_layers.ndim != 1:
            raise ProblemError("tensor_producer and consumer_layers must have one dimension")
        n_tensors = len(self.tensor_producer)
        if self.tensor_size_bytes.shape != (n_tensors,):
            raise ProblemError(f"tensor_size_bytes has shape {self.tensor_size_bytes.shape}; give ({n_tensors},)")
        offsets = self.consumer_offsets
        if offsets.shape != (n_tensors + 1,):
            raise ProblemError(f"consumer_offsets has shape {offsets.shape}; give ({n_tensors + 1},)")
        if offsets[0] != 0 or offsets[-1] != len(self.consumer_layers) or bool(np.any(np.diff(offsets) < 0)):
            raise ProblemError(
                f"consumer_offsets must rise from 0 to {len(self.consumer_layers)}, the consumers listed"
            )
        for name, count in (("layer_names", n_layers), ("tensor_names", n_tensors)):
            if len(getattr(self, name)) not in (0, count):
                raise ProblemError(f"{name} has {len(getattr(self, name))} names; give {count} or none")
        visits = self.max_server_visits
        if visits is not None and (isinstance(visits, bool) or not isinstance(visits, int | np.integer) or visits < 0):
            raise ProblemError(f"max_server_visits is {visits!r}; give a whole number >= 0, or None for no limit")
        if visits is not None and n_machines > 2:
            raise ProblemError(
                f"max_server_visits is {visits}, which counts visits to one server; "
                f"with {n_machines} machines give None"
            )
        object.__setattr__(self, "max_server_visits", None if visits is None else int(visits))

    def _check_compute(self) -> None:
        if not self.compute.size or (self.compute.max() < np.inf and self.compute.min() > -np.inf):
            return
        bad = np.isnan(self.compute) | (self.compute == -np.inf)
        if bool(bad.any()):
            layer, machine = (int(i) for i in np.argwhere(bad)[0])
            raise ProblemError(
                f"{self.layer(layer)} costs {self.compute[layer, machine]} on machine {machine}; "
                "give a finite number, or inf where it is not allowed"
            )
        nowhere = np.isinf(self.compute).all(axis=1)
        if bool(nowhere.any()):
            name = self.layer(int(np.argmax(nowhere)))
            raise InfeasibleError(f"{name} is allowed on no machine; lift one of its restrictions")

    def _check_links(self, names: Sequence[str] = ("per_tensor", "per_byte", "delay")) -> None:
        for name in names:
            matrix = getattr(self, name)
            if matrix.min() >= 0 and matrix.max() < np.inf and not matrix.diagonal().any():
                continue
            bad = ~np.isfinite(matrix) | (matrix < 0)
            np.fill_diagonal(bad, matrix.diagonal() != 0)
            if bool(np.any(bad)):
                i, j = (int(k) for k in np.argwhere(bad)[0])
                legal = "a machine sends itself nothing: give 0" if i == j else "give a finite number >= 0"
                raise ProblemError(f"{name} from machine {i} to machine {j} is {matrix[i, j]}; {legal}")

    def _set_coding(self, encode: Any, decode: Any) -> None:
        shape = (self.n_tensors, self.n_machines)
        for name, array in zip(
            ("encode", "decode", "crossing_work"), coded(shape, encode, decode, self.tensor), strict=True
        ):
            object.__setattr__(self, name, array)

    def _check_sizes(self) -> None:
        sizes = self.tensor_size_bytes
        bad = ~np.isfinite(sizes) | (sizes < 0)
        if bool(np.any(bad)):
            tensor = int(np.argmax(bad))
            raise ProblemError(f"{self.tensor(tensor)} has {sizes[tensor]} bytes; give a finite number >= 0")

    def _check_tensors(self) -> None:
        n_layers = self.n_layers
        self._check_sizes()
        producers, consumers = self.tensor_producer, self.consumer_layers
        bad = (producers < 0) | (producers >= n_layers)
        if bool(np.any(bad)):
            tensor = int(np.argmax(bad))
            raise ProblemError(
                f"{self.tensor(tensor)} is produced by layer {producers[tensor]}; layers are 0 to {n_layers - 1}"
            )
        owner = np.repeat(np.arange(self.n_tensors), self.consumer_counts())
        bad = (consumers < 0) | (consumers >= n_layers)
        if bool(np.any(bad)):
            k = int(np.argmax(bad))
            raise ProblemError(
                f"{self.tensor(int(owner[k]))} is consumed by layer {consumers[k]}; layers are 0 to {n_layers - 1}"
            )
        bad = producers[owner] == consumers
        if bool(np.any(bad)):
            k = int(np.argmax(bad))
            raise ProblemError(
                f"{self.tensor(int(owner[k]))} is consumed by its own producer, {self.layer(int(consumers[k]))}"
            )
        keys = np.sort(owner * n_layers + consumers)
        twice = keys[1:] == keys[:-1]
        if bool(np.any(twice)):
            key = int(keys[int(np.argmax(twice))])
            raise ProblemError(
                f"{self.tensor(key // n_layers)} lists {self.layer(key % n_layers)} twice; list each consumer once"
            )

    def _check_colocated(self) -> None:
        groups = tuple(tuple(int(layer) for layer in integers("colocated", group)) for group in self.colocated)
        object.__setattr__(self, "colocated", groups)
        for group in groups:
            for layer in group:
                if not 0 <= layer < self.n_layers:
                    raise ProblemError(f"colocated names layer {layer}; layers are 0 to {self.n_layers - 1}")
            if len(set(group)) < len(group):
                raise ProblemError(
                    f"colocated lists {self.layer(group[0])} or one beside it twice; list each layer once"
                )
            if group and not bool(np.any(np.isfinite(self.compute[list(group)]).all(axis=0))):
                names = ", ".join(self.layer(layer) for layer in group)
                raise InfeasibleError(f"no machine allows all of the colocated {names}; lift a restriction")

    def _check_compute_total(self) -> None:
        costs = self.compute
        largest = float(np.abs(costs).max(initial=0.0))
        if largest == np.inf:
            largest = float(np.abs(costs[np.isfinite(costs)]).max(initial=0.0))
        self._check_largest(largest * self.n_layers)

    def _check_link_total(self) -> None:
        size = float(self.tensor_size_bytes.max(initial=0.0))
        transfer = float(self.per_tensor.max()) + size * float(self.per_byte.max()) + self.dearest_coding()
        self._check_largest(transfer * self.n_tensors * self.n_machines)
        self._check_largest(float(self.delay.max()) * (self.n_layers + self.n_tensors) * self.n_machines)

    def _check_largest(self, total: float) -> None:
        if not total < LARGEST_TOTAL:
            raise ProblemError("the costs add up to more than float64 holds; use a larger unit")

    def _sorted_graph(self) -> LayerGraph:
        tails = np.repeat(self.tensor_producer, self.consumer_counts())
        graph = LayerGraph.of(self.n_layers, tails, self.consumer_layers)
        if len(graph.order) == self.n_layers:
            return graph
        placed = np.zeros(self.n_layers, dtype=bool)
        placed[graph.order] = True
        inside = ~placed[tails] & ~placed[self.consumer_layers]
        before = dict(zip(self.consumer_layers[inside].tolist(), tails[inside].tolist(), strict=True))
        seen: set[int] = set()
        layer = next(iter(before))
        while layer not in seen:  # every unplaced layer has an unplaced producer: going back must meet the cycle
            seen.add(layer)
            layer = before[layer]
        raise ProblemError(f"{self.layer(layer)} depends on its own output; layers must form an acyclic graph")
