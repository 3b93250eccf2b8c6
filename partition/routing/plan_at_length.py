"""The plan of one length, from what a cut by length was made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import solvers
from graph_io import Granularity, LayerGraph, Model, load_graph
from partition.assembly import assemble_plan
from partition.errors import InputError
from partition.latency.machines import Machine
from partition.latency.timings import Timings
from partition.links import Link
from partition.problem import Bridge, OutputOn, build_bridge
from partition.routing.length_costs import LengthCosts, LengthMachine, check_layers, layers_by_nodes

if TYPE_CHECKING:
    from partition.plan import Plan
    from partition.routing.length_plan import LengthPlan

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LengthBasis:
    """What a cut by length was made from.

    Attributes
    ----------
    model : Model
    dims : dict of str to int
        Values of the other open dimensions.
    granularity : str
    lengths : (n,) int64
        Consecutive.
    nodes : tuple of tuples of str
        The nodes of each layer, by which it is known at every length.
    machines : dict of str to LengthTimings or Machine
        By role.
    costs : dict of str to LengthCosts
        By role.
    placements : (n, n_layers) int8
        The machine of each layer at each length.
    """

    model: Model
    dims: Mapping[str, int]
    granularity: Granularity
    lengths: NDArray[np.int64]
    nodes: tuple[tuple[str, ...], ...]
    machines: Mapping[str, LengthMachine]
    costs: Mapping[str, LengthCosts]
    placements: NDArray[np.int8]

    def prices(self, row: int) -> tuple[dict[tuple[str, ...], Pair], dict[str, dict[str, Pair]]]:
        """Return the seconds of each layer by its nodes, and the conversions by role and tensor, at one length."""
        device, server = (self.costs[role].seconds[row].tolist() for role in ("device", "server"))
        seconds = dict(zip(self.nodes, zip(device, server, strict=True), strict=True))
        conversions = {
            role: {tensor: (float(own[row, 0]), float(own[row, 1])) for tensor, own in costs.conversions.items()}
            for role, costs in self.costs.items()
        }
        return seconds, conversions


def plan_at_length(plan: "LengthPlan", length: int) -> "Plan":
    """Return the plan of one length; see `LengthPlan.plan_for`."""
    basis = plan.basis
    plan.range_of(length)
    if basis is None:
        raise InputError(
            "this was loaded from a folder, which holds no costs of layers; plan again with partition_by_length, or "
            "take choice_for(length)"
        )
    row = int(length) - plan.least
    graph = load_graph(basis.model, dims={**basis.dims, plan.dim: int(length)}, granularity=basis.granularity)
    known = {nodes: nodes[0] for nodes in basis.nodes}
    check_layers(layers_by_nodes(graph), int(length), known, plan.most, plan.dim)
    seconds, conversions = basis.prices(row)
    bridge = length_bridge(graph, seconds, conversions, plan.link, _output_on(plan.output_on))
    solution = solvers.solve(bridge.objective)
    placed = dict(zip(basis.nodes, basis.placements[row].tolist(), strict=True))
    head = frozenset(layer for layer, data in graph.nodes(data=True) if placed[data["layer"].nodes] == 0)
    machines: dict[str, Machine | Timings] = {
        role: one if isinstance(one, Machine) else one.at(int(length), extrapolate=True)
        for role, one in basis.machines.items()
    }
    return assemble_plan(
        graph,
        bridge,
        solution,
        placement=bridge.placement(head),
        named_cut=None,
        objective="latency",
        output_on=_output_on(plan.output_on),
        keep_inputs=False,
        link=plan.link,
        machines=machines,
        threads={},
        encoded_inputs={},
        notes=plan.notes,
    )


def _output_on(text: str) -> OutputOn:
    return "server" if text == "server" else "any" if text == "any" else "device"


def length_bridge(
    graph: LayerGraph,
    seconds: Mapping[tuple[str, ...], Pair],
    conversions: Mapping[str, Mapping[str, Pair]],
    link: Link,
    output_on: OutputOn,
) -> Bridge:
    """Encode a graph at one length for the solvers, its layers priced by their nodes; sets ``latency_s`` on them."""
    latency_s = {layer: seconds[data["layer"].nodes] for layer, data in graph.nodes(data=True)}
    for layer, (device_s, server_s) in latency_s.items():
        graph.nodes[layer]["latency_s"] = {"device": device_s, "server": server_s}
        graph.nodes[layer]["deviation_s"] = {"device": {}, "server": {}}
    graph.graph["conversion_s"] = {role: dict(own) for role, own in conversions.items()}
    return build_bridge(
        graph,
        latency_s,
        link,
        objective="latency",
        output_on=output_on,
        input_bytes={},
        power=None,
        conversion_s=conversions,
        max_server_visits=1,
    )
