"""Give every layer of a graph its latency on a machine: measured if a timings file says so, else predicted.

Another runtime or processor may group the nodes of the same model into other layers than those that were measured. The
measured times are then attributed anew by the names of the nodes, which every host shares.
"""

import importlib.metadata
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from partition.errors import InputError
from partition.latency.loaded import under_load
from partition.latency.machines import Machine, load_machine
from partition.latency.predict import LayerCosts, predict_layers
from partition.latency.regression import NAME
from partition.latency.roofline import roofline_s
from partition.latency.sharing import sharing_weights
from partition.latency.timings import LayerTiming, Timings, spread_notes
from partition.load.model import Load

if TYPE_CHECKING:
    from graph_io import LayerGraph

# An interquartile range over this is the standard deviation of a normal distribution.
_INTERQUARTILE_DEVIATIONS = 1.349


def annotate(
    graph: "LayerGraph",
    machines: Mapping[str, str | os.PathLike[str] | Machine | Timings],
    *,
    threads: Mapping[str, int] | None = None,
    loads: Mapping[str, Load] | None = None,
    regression: str = NAME,
) -> tuple[str, ...]:
    """Set ``latency_s: {role: seconds}`` and ``deviation_s: {role: {source: seconds}}`` on every layer of a graph.

    The graph itself gets ``conversion_s: {role: {tensor: (encode, decode)}}``: what a machine pays to hand out a tensor
    that its runtime keeps in a layout of its own, and to take it in.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `graph_io.load_graph`; changed in place, other roles' latencies stay.
    machines : mapping of str to str, path-like, Machine or Timings
        By role, such as ``"device"`` and ``"server"``; names and paths as `load_machine` takes them.
    threads : mapping of str to int, optional
        By role how many threads the runtime uses there; what the file is for if not given.
    loads : mapping of str to float or LoadReading, optional
        By role what others take of the machine; see `partition.load.model.parse_load`.
    regression : str
        By which calibrated machines predict, one of `partition.latency.calibration.REGRESSIONS`.

    Returns
    -------
    tuple of str
        What a reader should know of these latencies, each with its role in front.

    Raises
    ------
    InputError
        No such machine; timings of another model, granularity or input shape; a file of another number of threads. The
        graph is then as it was.
    """
    found: dict[str, LayerCosts] = {}
    for role, one in machines.items():
        machine = load_machine(one)
        count = (threads or {}).get(role)
        costs = _costs(machine, graph, role, count, regression)
        load = (loads or {}).get(role)
        if load is not None and load != 0:
            costs = under_load(costs, machine, load, threads=count or machine.runtime.threads)
        found[role] = costs
    for role, costs in found.items():
        for layer, seconds in costs.seconds.items():
            graph.nodes[layer].setdefault("latency_s", {})[role] = seconds
            graph.nodes[layer].setdefault("deviation_s", {})[role] = costs.deviations_s.get(layer, {})
    # Copies of the graph share the old table: a new one, never a change.
    graph.graph["conversion_s"] = graph.graph.get("conversion_s", {}) | {
        role: costs.conversions_s for role, costs in found.items()
    }
    return tuple(f"{role}: {note}" for role, costs in found.items() for note in costs.notes)


def _costs(
    machine: Machine | Timings, graph: "LayerGraph", role: str, threads: int | None, regression: str
) -> LayerCosts:
    if isinstance(machine, Timings):
        _check_threads(machine, role, threads, f"measure again: {profile_command(graph)} --threads {threads}")
        return _measured(machine, graph)
    if machine.calibration is not None:
        return _predicted(machine, graph, threads, regression)
    _check_threads(machine, role, threads, "give the machine file of that number, or calibrate the machine")
    return LayerCosts(roofline_s(machine, {layer: data["layer"] for layer, data in graph.nodes(data=True)}))


def _predicted(machine: Machine, graph: "LayerGraph", threads: int | None, regression: str) -> LayerCosts:
    from graph_io import ModelError

    try:
        costs = predict_layers(machine, graph, threads=threads, regression=regression)
    except ModelError as error:
        layers = {layer: data["layer"] for layer, data in graph.nodes(data=True)}
        note = f"estimated by the roofline of {machine.name}, since the kernels cannot be listed ({error})"
        return LayerCosts(roofline_s(machine, layers), notes=(note,))
    here = importlib.metadata.version("onnxruntime")
    if machine.runtime.version != here:
        note = f"{machine.name} was calibrated with onnxruntime {machine.runtime.version}, this host has {here}"
        return replace(costs, notes=(*costs.notes, note))
    return costs


def _check_threads(machine: Machine | Timings, role: str, threads: int | None, remedy: str) -> None:
    own = machine.runtime.threads
    if threads is not None and threads != own:
        raise InputError(
            f"the {role}'s file '{machine.name}' is for {own} threads, asked for is {threads}; ask for {own}, or "
            f"{remedy}"
        )


def _measured(timings: Timings, graph: "LayerGraph") -> LayerCosts:
    seconds, notes = latencies_for(timings, graph)
    if timings.shared_kernels:
        layers_shared = {layer for kernel in timings.shared_kernels for layer in kernel.layers}
        notes = (
            *notes,
            f"{len(layers_shared)} layers were measured in kernels that they share, each taken by its predicted part",
        )
    relative = timings.whole_model.spread_s / timings.whole_model.latency_s
    notes = (*notes, *spread_notes(relative))
    deviations_s = {layer: {"measured": one * relative / _INTERQUARTILE_DEVIATIONS} for layer, one in seconds.items()}
    conversions_s = {one.tensor: (one.encode_s, one.decode_s) for one in timings.conversions}
    return LayerCosts(seconds, deviations_s, {}, notes, conversions_s)


def latencies_for(timings: Timings, graph: "LayerGraph") -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the measured time of each layer of a graph, if this is the model that was measured.

    Parameters
    ----------
    timings : Timings
        Of the same structure, granularity, input shapes and nodes.
    graph : networkx.DiGraph
        From `graph_io.load_graph`.

    Returns
    -------
    latencies_s : dict of str to float
        Seconds by layer id, in the order of the graph; their sum is that of the measured layers. A layer of other
        nodes than any measured one gets the sum of those that lie in it; what lies in several layers is shared out
        among its nodes in proportion to their predicted times.
    notes : tuple of str
        Whether that had to be done; empty where the layers are those that were measured.

    Raises
    ------
    InputError
        The timings are of another model, granularity or input shape, lack a node of the model, or hold one that the
        model lacks.

    Notes
    -----
    Linear in the number of nodes; where a time has to be shared out, the model is loaded once more, node by node.
    """
    _check_same_model(timings, graph)
    layer_of = {node: layer for layer, data in graph.nodes(data=True) for node in data["layer"].nodes}
    _check_same_nodes(timings, graph, layer_of)
    latencies_s: dict[str, float] = dict.fromkeys(graph.nodes, 0.0)
    split: list[LayerTiming] = []
    for measured in timings.layers:
        owners = {layer_of[node] for node in measured.nodes}
        if len(owners) == 1:
            latencies_s[owners.pop()] += measured.latency_s
        else:
            split.append(measured)
    if split:
        weights = _node_weights(graph)
        for measured in split:
            per_weight = measured.latency_s / sum(weights[node] for node in measured.nodes)
            for node in measured.nodes:
                latencies_s[layer_of[node]] += per_weight * weights[node]
    groups = {frozenset(measured.nodes) for measured in timings.layers}
    regrouped = sum(frozenset(data["layer"].nodes) not in groups for _, data in graph.nodes(data=True))
    if not regrouped:
        return latencies_s, ()
    shared = f"; {len(split)} measured layers lie in several, by predicted time" if split else ""
    return latencies_s, (
        f"{timings.name} groups the nodes into other layers than this host: the times of {regrouped} of {len(graph)} "
        f"layers are put together from measured ones{shared}",
    )


def profile_command(graph: "LayerGraph") -> str:
    """Return the command that measures a model as a graph has it."""
    dims = "".join(f" --dim {shlex.quote(f'{name}={size}')}" for name, size in graph.graph["dims"].items())
    if graph.graph["given_inputs"] is not None:
        dims = " --input FILE.npz"
    granularity = "" if graph.graph["granularity"] == "layer" else f" --granularity {graph.graph['granularity']}"
    return f"dnn-partition profile MODEL{dims}{granularity} -o timings.json"


def _node_weights(graph: "LayerGraph") -> dict[str, float]:
    from graph_io import load_graph

    dims, inputs = graph.graph["dims"], graph.graph["given_inputs"]
    nodes = load_graph(graph.graph["model"], dims=dims, granularity="node", inputs=inputs)
    weights = sharing_weights({layer: data["layer"] for layer, data in nodes.nodes(data=True)})
    return {data["layer"].nodes[0]: weights[layer] for layer, data in nodes.nodes(data=True)}


def _check_same_model(timings: Timings, graph: "LayerGraph") -> None:
    model, mine, again = timings.model, _of(timings), f"measure again: {profile_command(graph)}"
    structure, granularity = graph.graph["structure_sha256"], graph.graph["granularity"]
    if structure != model.structure_sha256:
        raise InputError(
            f"{mine} are of another model: its structure is {model.structure_sha256[:12]}..., that of the model at "
            f"hand is {structure[:12]}...; measure that one on this machine: {profile_command(graph)}"
        )
    if granularity != model.granularity:
        raise InputError(
            f"{mine} have the granularity {model.granularity!r}, asked for is {granularity!r}; "
            f"ask for {model.granularity!r}, or {again}"
        )
    shapes: Mapping[str, tuple[int, ...]] = graph.graph["input_shapes"]
    odd = next((name for name in model.input_shapes if name not in shapes), None)
    if odd is not None:
        raise InputError(f"{mine} have a shape for {odd!r}, which is no input of the model at hand; {again}")
    for name, shape in shapes.items():
        measured = model.input_shapes.get(name)
        if measured is None:
            raise InputError(f"{mine} lack the shape of the input {name!r}; {again}")
        if measured != tuple(shape):
            raise InputError(
                f"{mine} were measured with the input {name!r} of shape {list(measured)}, the model at hand has it as "
                f"{list(shape)}; use the model with the shape that was measured, or {again}"
            )


def _check_same_nodes(timings: Timings, graph: "LayerGraph", layer_of: Mapping[str, str]) -> None:
    mine, again = _of(timings), f"measure again: {profile_command(graph)}"
    for measured in timings.layers:
        odd = next((node for node in measured.nodes if node not in layer_of), None)
        if odd is not None:
            raise InputError(f"{mine}: layer {measured.id!r} has the node {odd!r}, which the model lacks; {again}")
    known = {node for measured in timings.layers for node in measured.nodes}
    missing = [node for node in layer_of if node not in known]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{mine} lack the node {missing[0]!r}{more} of the model; {again}")


def _of(timings: Timings) -> str:
    return f"the timings of {timings.model.name!r} on {timings.name!r}"
