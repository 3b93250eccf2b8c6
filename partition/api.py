"""The function that a user calls: a model, two machines and a link in; the best cut out."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Literal

import solvers
from graph_io import Granularity, LayerGraph, head_of_cut, load_graph
from partition.errors import InputError
from partition.latency.annotate import annotate
from partition.latency.machines import Machine, Power, load_machine
from partition.latency.timings import Timings
from partition.links import Link
from partition.memory import part_memory_bytes, part_weight_bytes
from partition.plan import (
    Estimate,
    MachineInfo,
    ModelInfo,
    Plan,
    PlanMessage,
    PlanPart,
    PlanStage,
    TensorInfo,
)
from partition.problem import Bridge, IntArray, Objective, OutputOn, Schedule, build_bridge, schedule
from partition.units import parse_size

if TYPE_CHECKING:
    from onnx import ModelProto

MachineLike = str | PathLike[str] | Machine | Timings
Method = Literal["auto", "chain", "dp", "min-cut"]
DEFAULT_DEVICE, DEFAULT_SERVER = "raspberry-pi-4", "xeon-server"


def partition(
    model: "str | PathLike[str] | ModelProto | LayerGraph",
    bandwidth: str | float | Link,
    *,
    rtt: str | float | None = None,
    downlink: str | float | None = None,
    device: MachineLike = DEFAULT_DEVICE,
    server: MachineLike = DEFAULT_SERVER,
    objective: Objective = "latency",
    output_on: OutputOn = "device",
    dims: Mapping[str, int] | None = None,
    granularity: Granularity = "layer",
    input_bytes: Mapping[str, int | str] | None = None,
    cut: Iterable[str] | None = None,
    method: Method = "auto",
) -> Plan:
    """Find the best cut of a model between a device and a server.

    Parameters
    ----------
    model : path, onnx.ModelProto or networkx.DiGraph
        An ONNX file, a model in memory, or a graph from `graph_io.load_graph`, which saves loading it again and brings
        its own ``dims`` and ``granularity``.
    bandwidth : str, float or Link
        The uplink: a string with its unit (``"8.8Mbps"``, ``"2MB/s"``), a number in bit/s, or a preset ("3g", "4g",
        "wifi").
    rtt, downlink : str or float, optional
        Round trip (``"40ms"``, or seconds) and downlink rate. What is left out comes from the preset, or is 40 ms and
        the uplink's rate; the plan lists it.
    device, server : str, path, Machine or Timings
        A shipped machine's name, or a machine or timings file.
    objective : {"latency", "energy"}
        Energy is the device's and needs a machine file with power figures.
    output_on : {"device", "server", "any"}
        Where the outputs are wanted.
    dims : mapping of str to int, optional
        Values of symbolic dimensions: ``{"seq": 128}``.
    granularity : {"layer", "node"}
        Cut between what the runtime fuses, or between any two nodes.
    input_bytes : mapping, optional
        Size on the wire of inputs that travel encoded: ``{"data": "152kB"}``.
    cut : iterable of str, optional
        Tensors to cut at. The plan is then this cut, compared with the optimum.
    method : {"auto", "chain", "dp", "min-cut"}
        Which solver; "auto" picks the first that takes the problem.

    Returns
    -------
    Plan

    Raises
    ------
    InputError, graph_io.ModelError, solvers.SolverError
        All are ValueError; see `partition.errors`.

    Notes
    -----
    The latency is the sum of computing and sending: within one inference the machines do not overlap.

    Examples
    --------
    >>> plan = partition("resnet50.onnx", bandwidth="8.8Mbps")      # doctest: +SKIP
    >>> print(plan)                                                  # doctest: +SKIP
    """
    _check_choice("objective", objective, ("latency", "energy"))
    _check_choice("output_on", output_on, ("device", "server", "any"))
    link = Link.parse(bandwidth, downlink=downlink, rtt=rtt)
    machines = {"device": load_machine(device), "server": load_machine(server)}
    power = _power(machines["device"], objective)
    graph = _graph(model, dims, granularity)
    annotate(graph, machines)
    encoded = _encoded_inputs(graph, input_bytes or {})
    latencies = {layer: (seconds["device"], seconds["server"]) for layer, seconds in graph.nodes(data="latency_s")}
    bridge = build_bridge(
        graph, latencies, link, objective=objective, output_on=output_on, input_bytes=encoded, power=power
    )
    solution = solvers.solve(bridge.objective, method)
    assumptions = _assumptions(graph, link, machines, objective, encoded)
    placement: IntArray = solution.placement
    compared = []
    if cut is not None:
        placement = bridge.placement(head_of_cut(graph, [cut] if isinstance(cut, str) else cut))
        compared.append(_estimate("the optimum", bridge, schedule(bridge, solution.placement)))
    chosen = schedule(bridge, placement)
    everything = frozenset(bridge.layers)
    compared += [
        _estimate("all on the device", bridge, schedule(bridge, bridge.placement(everything))),
        _estimate("all on the server", bridge, schedule(bridge, bridge.placement(frozenset()))),
    ]
    parts, stages = _parts_and_stages(graph, chosen)
    value = chosen.objective_value
    return Plan(
        model=_model_info(graph),
        objective=objective,
        output_on=output_on,
        link=link,
        device=_machine_info(machines["device"]),
        server=_machine_info(machines["server"]),
        stages=stages,
        messages=tuple(
            PlanMessage(one.after_stage, one.direction, one.tensors, one.size_bytes, one.transfer_s, one.delay_s)
            for one in chosen.messages
        ),
        parts=parts,
        estimates=(_estimate("this plan", bridge, chosen), *compared),
        method="given" if cut is not None else solution.method,
        value=value,
        bound=min(value, solution.bound),
        optimal=solution.optimal and value <= solution.value + 1e-12 * abs(solution.value),
        assumptions=assumptions,
        encoded_inputs=encoded,
        source=graph,
    )


def _check_choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InputError(f"{name} {value!r} is unknown; use {', '.join(repr(one) for one in legal)}")


def _power(device: Machine | Timings, objective: str) -> Power | None:
    power = device.power if isinstance(device, Machine) else None
    if objective == "energy" and power is None:
        raise InputError(
            f"objective 'energy' needs the power of the device '{device.name}', and its file has none; "
            "fill in 'power' (compute_watts, idle_watts, send_watts, receive_watts) in a machine file and pass that"
        )
    return power


def _graph(
    model: "str | PathLike[str] | ModelProto | LayerGraph", dims: Mapping[str, int] | None, granularity: Granularity
) -> LayerGraph:
    import networkx as nx

    if not isinstance(model, nx.DiGraph):
        return load_graph(model, dims=dims, granularity=granularity)
    if granularity not in ("layer", model.graph["granularity"]):
        raise InputError(f"granularity {granularity!r} belongs to loading; pass it to load_graph, not beside its graph")
    if dims:
        raise InputError("dims belong to loading; pass them to load_graph, not beside a graph that is already loaded")
    # A copy of the attributes: the caller's graph stays without our latencies, so it can be planned again elsewhere.
    copy: LayerGraph = model.copy()
    for _, data in copy.nodes(data=True):
        data["latency_s"] = dict(data.get("latency_s", {}))
    return copy


def _encoded_inputs(graph: LayerGraph, input_bytes: Mapping[str, int | str]) -> dict[str, int]:
    inputs = graph.graph["inputs"]
    unknown = next((name for name in input_bytes if name not in inputs), None)
    if unknown is not None:
        raise InputError(f"input_bytes: '{unknown}' is not an input of the model; its inputs are {', '.join(inputs)}")
    return {name: parse_size(size, what=f"input_bytes of '{name}'") for name, size in input_bytes.items()}


def _assumptions(
    graph: LayerGraph,
    link: Link,
    machines: Mapping[str, Machine | Timings],
    objective: str,
    encoded: Mapping[str, int],
) -> tuple[str, ...]:
    found = [*graph.graph["notes"], *(f"link: {one}" for one in link.assumptions)]
    if graph.graph["granularity"] == "node":
        found.append("every node is priced by itself, so a cut may lie inside what the runtime would fuse")
    for role, machine in machines.items():
        if isinstance(machine, Machine):
            found.append(f"{role} as predicted from a {machine.kind}, not measured: {machine.description}")
    tensors = graph.graph["tensors"]
    found += [
        f"input '{name}' travels encoded in {size} bytes instead of {tensors[name].size_bytes}"
        for name, size in encoded.items()
    ]
    if objective == "energy":
        found.append("energy is the device's: computing, idling while it waits, sending, receiving")
    return tuple(found)


def _model_info(graph: LayerGraph) -> ModelInfo:
    path = graph.graph["model"].path
    return ModelInfo(
        name=graph.graph["name"],
        path=None if path is None else str(path),
        structure_sha256=graph.graph["structure_sha256"],
        granularity=graph.graph["granularity"],
        dims=dict(graph.graph["dims"]),
        n_layers=len(graph),
        inputs=graph.graph["inputs"],
        outputs=graph.graph["outputs"],
    )


def _machine_info(machine: Machine | Timings) -> MachineInfo:
    if isinstance(machine, Machine):
        return MachineInfo(machine.name, machine.kind, machine.description)
    runtime = machine.runtime
    return MachineInfo(
        machine.name,
        "measured",
        f"{runtime.name} {runtime.version}, {runtime.provider}, {runtime.threads} threads, {machine.date}",
    )


def _estimate(name: str, bridge: Bridge, cost: Schedule) -> Estimate:
    device = sum(stage.compute_s for stage in cost.stages if stage.machine == "device")
    server = sum(stage.compute_s for stage in cost.stages if stage.machine == "server")
    up = [message for message in cost.messages if message.direction == "uplink"]
    down = [message for message in cost.messages if message.direction == "downlink"]
    return Estimate(
        name=name,
        cut=tuple(tensor for message in up for tensor in message.tensors),
        device_s=device,
        uplink_s=sum(message.transfer_s + message.delay_s for message in up),
        server_s=server,
        downlink_s=sum(message.transfer_s + message.delay_s for message in down),
        uplink_bytes=sum(message.size_bytes for message in up),
        downlink_bytes=sum(message.size_bytes for message in down),
        objective_value=cost.objective_value,
    )


def _parts_and_stages(graph: LayerGraph, chosen: Schedule) -> tuple[tuple[PlanPart, ...], tuple[PlanStage, ...]]:
    parts: list[PlanPart] = []
    stages = []
    for stage in chosen.stages:
        numbers: tuple[int, ...] = ()
        if stage.layers:
            numbers = (len(parts),)
            inputs, outputs = _edge_tensors(graph, stage.layers)
            parts.append(
                PlanPart(
                    file=f"part-{len(parts)}.{stage.machine}.onnx",
                    layers=stage.layers,
                    inputs=inputs,
                    outputs=outputs,
                    weight_bytes=part_weight_bytes(graph, stage.layers),
                    memory_bytes=part_memory_bytes(graph, stage.layers),
                )
            )
        stages.append(PlanStage(stage.machine, numbers, len(stage.layers), stage.compute_s))
    return tuple(parts), tuple(stages)


def _edge_tensors(graph: LayerGraph, layers: tuple[str, ...]) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    inside, outputs_of_model = set(layers), set(graph.graph["outputs"])
    inputs, outputs = [], []
    for tensor in graph.graph["tensors"].values():
        info = TensorInfo(tensor.name, tensor.dtype, tensor.shape, tensor.size_bytes)
        read_inside = any(reader in inside for reader in tensor.consumers)
        read_outside = any(reader not in inside for reader in tensor.consumers)
        if tensor.producer not in inside and read_inside:
            inputs.append(info)
        if tensor.producer in inside and (read_outside or tensor.name in outputs_of_model):
            outputs.append(info)
    return tuple(inputs), tuple(outputs)
