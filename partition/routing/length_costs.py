"""What layers cost and tensors weigh at every length of a range: arrays for the batch solver."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from graph_io import LayerGraph, Model
from partition.errors import InputError
from partition.files import read_json
from partition.latency.annotate import annotate, latencies_for
from partition.latency.machines import Machine, load_machine, shipped_machines
from partition.latency.timings import Timings
from partition.routing.length_models import exact_length_model, relative_error
from partition.routing.lengths_file import LENGTHS_FORMAT, LengthTimings

FloatArray = NDArray[np.float64]
LengthMachine = LengthTimings | Machine
LengthMachineLike = str | PathLike[str] | LengthTimings | Machine
# So many lengths at each end, one beside the other, check that a size is a polynomial: a step shows there.
_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, eq=False)
class LengthCosts:
    """What one machine takes.

    Attributes
    ----------
    seconds : (n_lengths, n_layers) float64
        In the order of the graph.
    conversions : dict of str to (n_lengths, 2) float64
        By tensor: to hand it out, and to take it in.
    notes : tuple of str
        What a reader should know of these figures.
    """

    seconds: FloatArray
    conversions: dict[str, FloatArray]
    notes: tuple[str, ...]


def load_length_machine(machine: LengthMachineLike, *, role: str) -> LengthMachine:
    """Load what a machine is given as: a lengths file, a machine file, or a shipped machine's name.

    Raises
    ------
    InputError
        No such machine or file; a timings file, which is for one length.
    """
    if isinstance(machine, LengthTimings):
        return machine
    if isinstance(machine, str | PathLike) and machine not in shipped_machines() and os.path.isfile(machine):
        content = read_json(machine, "lengths or machine file")
        if content.get("format") == LENGTHS_FORMAT:
            return LengthTimings.from_json(content, os.fspath(machine))
    found = load_machine(machine)
    if isinstance(found, Timings):
        raise InputError(
            f"the {role} is given by the timings of {found.model.name!r} on {found.name!r}, which are for one length; "
            "measure a range (dnn-partition profile MODEL --dim NAME=LEAST..MOST), or give a machine file"
        )
    return found


def costs_by_length(
    machine: LengthMachine,
    role: str,
    graphs: Mapping[int, LayerGraph],
    lengths: NDArray[np.int64],
    dim: str,
    *,
    extrapolate: bool,
) -> LengthCosts:
    """Return what a machine takes for each layer at each length.

    Parameters
    ----------
    machine : LengthTimings or Machine
        What was measured over the lengths; or what predicts, at the sampled lengths, with straight lines between them.
    role : str
        For the messages.
    graphs : mapping of int to networkx.DiGraph
        The model at the sampled lengths, with the same layers.
    lengths : (n,) int64
    dim : str
    extrapolate : bool
        Whether lengths may be outside of those that were measured.

    Raises
    ------
    InputError
        Timings of another model, another dimension, or other lengths.
    """
    if isinstance(machine, Machine):
        return _interpolated(machine, role, graphs, lengths)
    if machine.dim != dim:
        raise InputError(f"the {role}'s lengths file is over '{machine.dim}', asked for is '{dim}'; measure that one")
    outside = [int(one) for one in (lengths[0], lengths[-1]) if not machine.least <= one <= machine.most]
    if outside and not extrapolate:
        raise InputError(
            f"the {role}'s lengths file '{machine.name}' was measured for {dim} = {machine.least} to {machine.most}, "
            f"and length {outside[0]} is asked for; measure a wider range, ask for a narrower one, or pass "
            "extrapolate=True"
        )
    notes = tuple(f"{role}: {note}" for note in machine.notes)
    if outside:
        notes += (
            f"{role}: extrapolated, not measured, beyond {dim} = {machine.least} to {machine.most}, which the lengths "
            f"file '{machine.name}' was measured for; this is for {int(lengths[0])} to {int(lengths[-1])}",
        )
    most = max(graphs)
    _, regrouped = latencies_for(machine.at(most, extrapolate=True), graphs[most])
    if regrouped:
        costs = _interpolated(machine, role, graphs, lengths)
        scale = machine.latency.over(lengths) / costs.seconds.sum(axis=1)
        return LengthCosts(
            costs.seconds * scale[:, None], costs.conversions, tuple(dict.fromkeys((*costs.notes, *notes)))
        )
    own = {frozenset(layer.nodes): column for column, layer in enumerate(machine.layers)}
    order = [own[frozenset(data["layer"].nodes)] for _, data in graphs[most].nodes(data=True)]
    conversions = {
        one.tensor: np.stack([one.encode.over(lengths), one.decode.over(lengths)], axis=1)
        for one in machine.conversions
    }
    return LengthCosts(machine.layer_seconds(lengths)[:, order], conversions, notes)


def _interpolated(
    machine: LengthMachine, role: str, graphs: Mapping[int, LayerGraph], lengths: NDArray[np.int64]
) -> LengthCosts:
    """Price the layers at the sampled lengths; a roofline bends, so that no one polynomial would hold."""
    sampled = sorted(graphs)
    seconds: list[list[float]] = []
    paid: list[dict[str, tuple[float, float]]] = []
    notes: tuple[str, ...] = ()
    for length in sampled:
        graph = graphs[length].copy()
        one = machine if isinstance(machine, Machine) else machine.at(length, extrapolate=True)
        for _, data in graph.nodes(data=True):
            data["latency_s"], data["deviation_s"] = {}, {}
        notes = annotate(graph, {role: one})
        seconds.append([each[role] for _, each in graph.nodes(data="latency_s")])
        paid.append(graph.graph["conversion_s"][role])
    known = np.array(seconds)
    conversions = {
        tensor: _between(sampled, np.array([one.get(tensor, (0.0, 0.0)) for one in paid]), lengths)
        for tensor in dict.fromkeys(name for one in paid for name in one)
    }
    # Each sample as its neighbours would have told it: no less than what the lines are off between all of them.
    whole = known.sum(axis=1)
    guessed = [
        np.interp(sampled[at], [sampled[at - 1], sampled[at + 1]], whole[[at - 1, at + 1]])
        for at in range(1, len(sampled) - 1)
    ]
    error = relative_error(whole[1:-1], np.array(guessed))
    note = (
        f"{role}: {machine.name} priced at {len(sampled)} lengths, in between along straight lines; those across every "
        f"second one would be off by {error:.1%} on average"
    )
    return LengthCosts(_between(sampled, known, lengths), conversions, (*notes, note))


def _between(sampled: Sequence[int], known: FloatArray, lengths: NDArray[np.int64]) -> FloatArray:
    """Return columns of figures at all lengths, along straight lines between the sampled ones."""
    return np.stack([np.interp(lengths, sampled, column) for column in known.T], axis=1)


def same_layers(graphs: Mapping[int, LayerGraph], dim: str) -> None:
    """Refuse a model whose layers are others at one length than at another.

    Raises
    ------
    InputError
        A layer of other nodes; it is named.
    """
    most = max(graphs)
    reference = layers_by_nodes(graphs[most])
    for length, graph in graphs.items():
        check_layers(layers_by_nodes(graph), length, reference, most, dim)


def check_layers(
    own: Mapping[tuple[str, ...], str], length: int, others: Mapping[tuple[str, ...], str], other: int, dim: str
) -> None:
    """Refuse layers, by their nodes, that are at one of two lengths alone.

    Raises
    ------
    InputError
        The first such layer is named.
    """
    for mine, at, theirs, beside in ((own, length, others, other), (others, other, own, length)):
        alone = next((layer for nodes, layer in mine.items() if nodes not in theirs), None)
        if alone is not None:
            raise InputError(
                f"layer '{alone}' at {dim}={at} is of other nodes than any layer at {dim}={beside}; layers have "
                "to be the same at all lengths: choose a narrower range, or granularity 'node'"
            )


def layers_by_nodes(graph: LayerGraph) -> dict[tuple[str, ...], str]:
    """Return the layers' names by their nodes."""
    return {data["layer"].nodes: layer for layer, data in graph.nodes(data=True)}


def sizes_by_length(
    graphs: Mapping[int, LayerGraph],
    names: Sequence[str],
    lengths: NDArray[np.int64],
    dim: str,
    dims: Mapping[str, int],
) -> FloatArray:
    """Return the exact size of each tensor at each length, in bytes, (n_lengths, n_tensors).

    Parameters
    ----------
    graphs : mapping of int to networkx.DiGraph
        The model at the sampled lengths.
    names : sequence of str
        Of the tensors.
    lengths : (n,) int64
        Consecutive.
    dim : str
    dims : mapping of str to int
        Values of the other open dimensions.

    Raises
    ------
    graph_io.ModelError
        Shapes that cannot be inferred at a length.

    Notes
    -----
    Sizes that go through one polynomial at all sampled lengths and at neighbouring ones at both ends, are taken to be
    that polynomial; where one does not (a stride divides it), shapes are inferred at every length.
    """
    model: Model = next(iter(graphs.values())).graph["model"]
    known: dict[int, list[int]] = {
        length: [graph.graph["tensors"][name].size_bytes for name in names] for length, graph in graphs.items()
    }

    def sizes_at(length: int) -> list[int]:
        if length not in known:
            known[length] = _inferred_sizes(model, names, {**dims, dim: length})
        return known[length]

    checked = sorted({*graphs, *lengths[:_NEIGHBOURS].tolist(), *lengths[-_NEIGHBOURS:].tolist()})
    rows = np.array([sizes_at(length) for length in checked])
    models = [exact_length_model(checked, column.tolist()) for column in rows.T]
    if all(model is not None for model in models):
        return np.stack([np.rint(model.over(lengths)) for model in models if model is not None], axis=1)
    return np.array([sizes_at(length) for length in lengths.tolist()], dtype=np.float64)


def _inferred_sizes(model: Model, names: Sequence[str], dims: Mapping[str, int]) -> list[int]:
    from graph_io import fix_input_dims
    from graph_io.dataflow import dataflow
    from graph_io.dtypes import size_bytes
    from graph_io.shapes import value_types

    shapes, _ = fix_input_dims(model, dims)
    types = value_types(model, dataflow(model.proto), shapes)
    sizes = {name: size_bytes(dtype, shape) for name, (dtype, shape) in types.shapes.items()} | types.text_bytes
    return [sizes[name] for name in names]
