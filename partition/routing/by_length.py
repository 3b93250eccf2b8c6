"""Cut by length: for each length of an input its own best cut, and the lengths at which the best cut changes.

The costs of the layers are curves over the length, the sizes of the tensors those of each length, and all lengths of
the range are solved exactly, as one batch on one graph.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import solvers
from graph_io import Granularity, ModelSource, load_graph, load_model
from partition.assembly import describe_parts, model_info, versions
from partition.errors import InputError
from partition.links import Link
from partition.model_parts import ModelParts
from partition.problem import DEVICE, SERVER, Bridge, OutputOn, schedule
from partition.routing.length_costs import (
    LengthMachineLike,
    costs_by_length,
    load_length_machine,
    same_layers,
    sizes_by_length,
)
from partition.routing.length_plan import LengthChoice, LengthPlan, LengthRange, LengthStage
from partition.routing.open_dims import check_range, log_spaced, open_axes
from partition.routing.plan_at_length import LengthBasis, length_bridge

# At so many lengths machine files predict, and the layers are compared.
_SAMPLED = 12


def partition_by_length(
    model: ModelSource,
    dim: str = "seq",
    range: Sequence[int] = (1, 512),
    *,
    bandwidth: str | float | Link,
    rtt: str | float | None = None,
    downlink: str | float | None = None,
    device: LengthMachineLike,
    server: LengthMachineLike,
    output_on: OutputOn = "device",
    dims: Mapping[str, int] | None = None,
    granularity: Granularity = "layer",
    extrapolate: bool = False,
) -> LengthPlan:
    """Find the best cut of a model between a device and a server for each length of its input.

    Parameters
    ----------
    model : path or onnx.ModelProto
    dim : str
        The open dimension that the length is of.
    range : pair of int
        The least and the greatest length.
    bandwidth, rtt, downlink
        As for `partition`.
    device, server : LengthTimings, path, str or Machine
        A lengths file (``dnn-partition profile MODEL --dim seq=1..512 -o FILE``), a machine file or the name of a
        shipped machine. Machine files predict at up to 12 lengths, and between these along straight lines.
    output_on : {"device", "server", "any"}
    dims : mapping of str to int, optional
        Values of the other open dimensions.
    granularity : {"layer", "node"}
    extrapolate : bool
        Allow lengths outside of those that a lengths file was measured for.

    Returns
    -------
    LengthPlan

    Raises
    ------
    InputError, graph_io.ModelError, solvers.SolverError
        A dimension that the model does not have, a range that is none, a lengths file of another model or of other
        lengths, layers that are others at other lengths; and as `partition`.

    Notes
    -----
    Exact for every length on the costs of that length: the answer is that of `partition` on the same costs. Sizes are
    exact.

    Examples
    --------
    >>> plan = partition_by_length("encoder.onnx", range=(1, 512), bandwidth="8.8Mbps",
    ...                            device="pi.lengths.json", server="xeon.lengths.json")     # doctest: +SKIP
    >>> plan.break_evens                                                                     # doctest: +SKIP
    (37,)
    """
    if output_on not in ("device", "server", "any"):
        raise InputError(f"output_on {output_on!r} is unknown; use 'device', 'server', 'any'")
    least, most = check_range(dim, range)
    link = Link.parse(bandwidth, downlink=downlink, rtt=rtt)
    machines = {role: load_length_machine(one, role=role) for role, one in (("device", device), ("server", server))}
    loaded = load_model(model)
    others = dict(dims or {})
    axes = open_axes(loaded, dim, others)
    sampled = log_spaced(least, most, _SAMPLED)
    graphs = {length: load_graph(loaded, dims={**others, dim: length}, granularity=granularity) for length in sampled}
    same_layers(graphs, dim)
    graph = graphs[most]
    lengths = np.arange(least, most + 1, dtype=np.int64)
    costs = {
        role: costs_by_length(one, role, graphs, lengths, dim, extrapolate=extrapolate)
        for role, one in machines.items()
    }
    nodes = tuple(data["layer"].nodes for _, data in graph.nodes(data=True))
    none = np.zeros((len(lengths), len(nodes)), dtype=np.int8)
    basis = LengthBasis(loaded, others, granularity, lengths, nodes, machines, costs, none)
    bridge: Bridge = length_bridge(graph, *basis.prices(len(lengths) - 1), link, output_on)
    arrays = _cost_arrays(bridge, basis, sizes_by_length(graphs, bridge.tensors, lengths, dim, others))
    found = _solve(bridge.latency, arrays)
    rows = found.placements[:, : len(nodes)]
    ranges, placements = _merged(rows, least)
    full = [bridge.placement(frozenset(np.array(bridge.layers)[one == DEVICE].tolist())) for one in placements]
    segments, choices = _segments(bridge, full)
    files = [f"part-{number}.onnx" for number, _ in enumerate(segments)]
    notes = (*graph.graph["notes"], *(note for one in costs.values() for note in one.notes))
    parts = ModelParts(
        model=model_info(graph),
        cuts=tuple(choice.cut for choice in choices if choice.cut),
        parts=describe_parts(graph, segments, files),
        notes=tuple(dict.fromkeys(notes)),
        source=graph,
        **versions(),
    )
    return LengthPlan(
        dim=dim,
        axes=axes,
        ranges=ranges,
        choices=choices,
        latency_s=np.asarray(found.values),
        device_s=_values(bridge, arrays, frozenset(bridge.layers)),
        server_s=_values(bridge, arrays, frozenset()),
        optimal=bool(found.optimal.all()),
        parts=parts,
        link=link,
        device=machines["device"].name,
        server=machines["server"].name,
        output_on=output_on,
        notes=tuple(dict.fromkeys((*notes, *(f"link: {one}" for one in link.assumptions)))),
        basis=LengthBasis(loaded, others, granularity, lengths, nodes, machines, costs, np.asarray(rows)),
    )


def _cost_arrays(bridge: Bridge, basis: LengthBasis, sizes: NDArray[np.float64]) -> dict[str, Any]:
    """Return what changes with the length, one row for each, as the batch solver takes it."""
    problem, n_lengths = bridge.latency, len(basis.lengths)
    compute = np.repeat(problem.compute[None], n_lengths, axis=0)
    for machine, role in ((DEVICE, "device"), (SERVER, "server")):
        compute[:, : len(bridge.layers), machine] = basis.costs[role].seconds
    arrays: dict[str, Any] = {"compute": compute, "tensor_size_bytes": sizes}
    if any(costs.conversions for costs in basis.costs.values()):
        shape = (n_lengths, problem.n_tensors, 2)
        arrays |= {"encode": np.zeros(shape), "decode": np.zeros(shape)}
        for machine, role in ((DEVICE, "device"), (SERVER, "server")):
            for number, tensor in enumerate(bridge.tensors):
                paid = basis.costs[role].conversions.get(tensor)
                if paid is not None:
                    arrays["encode"][:, number, machine] = paid[:, 0]
                    arrays["decode"][:, number, machine] = paid[:, 1]
    return arrays


def _solve(problem: solvers.Problem, arrays: Mapping[str, Any]) -> solvers.BatchSolution:
    """Solve all lengths at once; one by one where the graph is too wide for the batch solver."""
    try:
        return solvers.solve_batch(problem, **arrays)
    except solvers.MethodError:
        one_by_one = [
            solvers.solve(problem.with_costs(**{name: array[row] for name, array in arrays.items()}))
            for row, _ in enumerate(arrays["compute"])
        ]
        return solvers.BatchSolution(
            np.array([one.placement for one in one_by_one], dtype=np.int8),
            np.array([one.value for one in one_by_one]),
            np.array([one.bound for one in one_by_one]),
        )


def _values(bridge: Bridge, arrays: Mapping[str, NDArray[np.float64]], head: frozenset[str]) -> NDArray[np.float64]:
    """Return what one placement costs at every length."""
    placement = bridge.placement(head)
    return np.array(
        [
            solvers.evaluate(
                bridge.latency.with_costs(**{name: array[row] for name, array in arrays.items()}), placement
            )
            for row, _ in enumerate(arrays["compute"])
        ]
    )


def _merged(rows: NDArray[Any], least: int) -> tuple[tuple[LengthRange, ...], list[NDArray[Any]]]:
    """Merge equal neighbours; return the ranges and the different placements in order of appearance."""
    starts = [0, *(np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1).tolist(), len(rows)]
    placements: dict[bytes, int] = {}
    different: list[NDArray[Any]] = []
    ranges = []
    for first, end in pairwise(starts):
        key = rows[first].tobytes()
        if key not in placements:
            placements[key] = len(different)
            different.append(rows[first])
        ranges.append(LengthRange(least + first, least + end - 1, placements[key]))
    return tuple(ranges), different


def _segments(
    bridge: Bridge, placements: Sequence[NDArray[Any]]
) -> tuple[tuple[tuple[str, ...], ...], tuple[LengthChoice, ...]]:
    """Cut the model wherever one of the placements cuts it; return the segments, and each placement as stages."""
    n_layers = len(bridge.layers)
    stages = np.array([solvers.stages(bridge.latency, placement)[:n_layers] for placement in placements])
    groups: dict[tuple[int, ...], list[str]] = {}
    for layer, signature in zip(bridge.layers, stages.T.tolist(), strict=True):
        groups.setdefault(tuple(signature), []).append(layer)
    # What a layer reads is nowhere in a later stage than the layer: the sum of the stages sorts topologically.
    ordered = sorted(groups, key=sum)
    choices = []
    for number, placement in enumerate(placements):
        plain = schedule(bridge, placement)
        choices.append(
            LengthChoice(
                tuple(
                    LengthStage(
                        stage.machine,
                        tuple(at for at, signature in enumerate(ordered) if signature[number] == stage.stage),
                        len(stage.layers),
                    )
                    for stage in plain.stages
                ),
                tuple(message.tensors for message in plain.messages),
            )
        )
    return tuple(tuple(groups[one]) for one in ordered), tuple(choices)
