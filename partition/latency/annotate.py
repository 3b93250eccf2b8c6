"""Give every layer of a graph its latency on a machine: measured if a timings file says so, else predicted."""

from collections.abc import Mapping

from graph_io import LayerGraph
from partition.latency.machines import Machine
from partition.latency.predict import predict
from partition.latency.timings import Timings


def annotate(graph: LayerGraph, machines: Mapping[str, Machine | Timings]) -> None:
    """Set the attribute ``latency_s: {role: seconds}`` on every layer of a graph.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `graph_io.load_graph`; changed in place, other roles' latencies stay.
    machines : mapping of str to Machine or Timings
        By role, such as ``"device"`` and ``"server"``.

    Raises
    ------
    InputError
        Timings of another model or granularity.
    """
    layers = {layer: data["layer"] for layer, data in graph.nodes(data=True)}
    for role, machine in machines.items():
        if isinstance(machine, Timings):
            latencies = machine.latencies_for(graph.graph["structure_sha256"], graph.graph["granularity"], layers)
        else:
            latencies = predict(machine, layers)
        for layer, seconds in latencies.items():
            graph.nodes[layer].setdefault("latency_s", {})[role] = seconds
