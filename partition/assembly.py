"""From a solved problem to the plan that a user sees: legs, parts, stages, comparisons, assumptions."""

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import graph_io
import solvers
from graph_io import LayerGraph, Tensor, part_interfaces
from partition.adaptation.choices import Choices
from partition.adaptation.conditions import ConditionRange
from partition.basis import PlanBasis
from partition.latency.machines import Machine
from partition.latency.predict import total_deviation_s
from partition.latency.timings import Timings
from partition.links import Link
from partition.memory import part_memory_bytes, part_weight_bytes
from partition.plan import Plan
from partition.plan_records import (
    Estimate,
    MachineInfo,
    ModelInfo,
    PlanChoice,
    PlanLoss,
    PlanPart,
    PlanStage,
    TensorInfo,
)
from partition.problem import Bridge, IntArray, Objective, OutputOn, Schedule, schedule
from solvers.solution import PROOF_TOLERANCE


def assemble_plan(
    graph: LayerGraph,
    bridge: Bridge,
    solution: solvers.Solution,
    *,
    placement: IntArray,
    named_cut: frozenset[str] | None,
    objective: Objective,
    output_on: OutputOn,
    keep_inputs: bool,
    link: Link,
    machines: Mapping[str, Machine | Timings],
    threads: Mapping[str, int],
    encoded_inputs: dict[str, int],
    notes: tuple[str, ...],
    choices: Choices | None = None,
    adapts_to: ConditionRange | None = None,
    basis: PlanBasis | None = None,
    loss: PlanLoss | None = None,
    uncoded: Bridge | None = None,
    optimum: Schedule | None = None,
) -> Plan:
    """Put a placement into the form of a plan and compare it with the simple ones.

    Parameters
    ----------
    graph, bridge, solution
        The annotated graph, the problem made from it, and its solution.
    placement : (n_layers,) int64
        The solution's, or the user's.
    named_cut : frozenset of str or None
        The tensors at which the user cuts; None if the solver chose.
    objective, output_on, keep_inputs, link, machines, threads, encoded_inputs
        As given to `partition`, parsed.
    notes : tuple of str
        What pricing the layers took for granted.
    choices, adapts_to
        For a plan that adapts: the placements that it switches between, the cheapest of which it starts with.
    basis
        What it was chosen from, for its report.
    loss, uncoded
        For a plan with codecs: what they lose, and the problem without them, for what the plan is compared with.
    optimum
        What a cut of the user's is compared with, if not the solution of `bridge`.
    """
    chosen = schedule(bridge, placement) if choices is None else choices.schedules[choices.best()]
    compared = []
    if named_cut is not None:
        best = schedule(bridge, solution.placement) if optimum is None else optimum
        compared.append(_estimate("the optimum", graph, bridge, best))
    simple = {"all on the device": frozenset(bridge.layers)}
    if not keep_inputs:
        simple["all on the server"] = frozenset()
    plain = bridge if uncoded is None else uncoded
    for name, head in simple.items():
        compared.append(_estimate(name, graph, plain, schedule(plain, plain.placement(head))))
    if uncoded is not None and any(message.coded for message in chosen.messages):
        compared.append(_estimate("the same cut without codecs", graph, plain, schedule(plain, placement)))
    if choices is None:
        parts, stages = parts_and_stages(graph, chosen)
        routes: tuple[PlanChoice, ...] = ()
    else:
        parts, routes = _shared_parts(graph, choices)
        stages = routes[choices.best()].stages
    value = chosen.objective_value
    slack = PROOF_TOLERANCE * abs(solution.value)
    return Plan(
        model=model_info(graph),
        objective=objective,
        output_on=output_on,
        keep_inputs=keep_inputs,
        link=link,
        device=_machine_info(machines["device"], threads.get("device")),
        server=_machine_info(machines["server"], threads.get("server")),
        stages=stages,
        messages=chosen.messages,
        parts=parts,
        estimates=(_estimate("this plan", graph, bridge, chosen), *compared),
        chosen_by="solver" if named_cut is None else "user",
        method=solution.method,
        max_server_visits=bridge.latency.max_server_visits,
        value=value,
        bound=min(value, solution.bound),
        optimal=solution.optimal and value <= solution.value + slack,
        **versions(),
        assumptions=_assumptions(graph, link, machines, objective, encoded_inputs, notes, chosen, named_cut),
        encoded_inputs=encoded_inputs,
        source=graph,
        choices=routes,
        adapts_to=adapts_to,
        loss=loss,
    ).with_basis(basis)


def _assumptions(
    graph: LayerGraph,
    link: Link,
    machines: Mapping[str, Machine | Timings],
    objective: str,
    encoded: Mapping[str, int],
    notes: tuple[str, ...],
    chosen: Schedule,
    named_cut: frozenset[str] | None,
) -> tuple[str, ...]:
    found = [*graph.graph["notes"], *notes, *(f"link: {one}" for one in link.assumptions)]
    if graph.graph["granularity"] == "node":
        found.append("a cut may lie inside what the runtime would fuse; nodes of one fusion are priced by parts")
    for role, machine in machines.items():
        if isinstance(machine, Machine):
            how = "a calibration" if machine.calibration is not None else f"a {machine.kind}"
            found.append(f"{role} as predicted from {how}, not measured: {machine.description}")
    tensors = graph.graph["tensors"]
    found += [
        f"input '{name}' travels encoded in {size} bytes instead of {tensors[name].size_bytes}"
        for name, size in encoded.items()
    ]
    sent = {name for message in chosen.messages if message.direction == "uplink" for name in message.tensors}
    if named_cut is not None and sent - named_cut:
        found.append(f"the cut also sends {', '.join(sorted(sent - named_cut))}, which no input reaches")
    if objective == "energy":
        found.append("energy is the device's: computing, idling while it waits, sending, receiving")
    return tuple(found)


def versions() -> dict[str, str]:
    """Return the versions of this library and of the runtime, under the names that plans and parts store them by."""
    return {"library_version": graph_io.__version__, "runtime_version": version("onnxruntime")}


def model_info(graph: LayerGraph) -> ModelInfo:
    """Describe the model of a layer graph."""
    path = graph.graph["model"].path
    tensors: dict[str, Tensor] = graph.graph["tensors"] | graph.graph["constant_outputs"]
    return ModelInfo(
        name=graph.graph["name"],
        # Links are not followed: in a download cache the weights lie where the link is.
        path=None if path is None else os.path.abspath(path),
        structure_sha256=graph.graph["structure_sha256"],
        granularity=graph.graph["granularity"],
        dims=dict(graph.graph["dims"]),
        n_layers=len(graph),
        inputs=tuple(_info(tensors[name]) for name in graph.graph["inputs"]),
        outputs=tuple(_info(tensors[name]) for name in graph.graph["outputs"]),
    )


def _machine_info(machine: Machine | Timings, threads: int | None) -> MachineInfo:
    runtime, used = machine.runtime, threads or machine.runtime.threads
    if isinstance(machine, Machine):
        return MachineInfo(machine.name, machine.kind, machine.description, used)
    description = f"{runtime.name} {runtime.version}, {runtime.provider}, {used} threads, {machine.date}"
    return MachineInfo(machine.name, "measured", description, used)


def _estimate(name: str, graph: LayerGraph, bridge: Bridge, cost: Schedule) -> Estimate:
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
        device_memory_bytes=_memory_bytes(graph, cost, "device"),
        server_memory_bytes=_memory_bytes(graph, cost, "server"),
        objective_value=cost.objective_value,
        deviation_s=_deviation_s(graph, cost),
    )


def _deviation_s(graph: LayerGraph, cost: Schedule) -> float | None:
    """Add up the errors of the layers, those of the two machines independent of each other."""
    found: list[dict[str, float]] = []
    for stage in cost.stages:
        for layer in stage.layers:
            data = graph.nodes[layer]
            sources = data.get("deviation_s", {}).get(stage.machine, {})
            if not sources and data["latency_s"][stage.machine] > 0:
                return None
            found.append({f"{stage.machine} {source}": seconds for source, seconds in sources.items()})
    return total_deviation_s(found)


def _memory_bytes(graph: LayerGraph, cost: Schedule, machine: str) -> int:
    """Add up the parts of one machine: all of them stay open."""
    return sum(part_memory_bytes(graph, stage.layers) for stage in cost.stages if stage.machine == machine)


def parts_and_stages(graph: LayerGraph, chosen: Schedule) -> tuple[tuple[PlanPart, ...], tuple[PlanStage, ...]]:
    """Describe the parts of a placement, with the codecs of its messages, and the stages that run them."""
    # A device that runs no layer may still encode an input.
    encoding = [stage for stage in chosen.stages[:1] if any(message.coded for message in chosen.messages[:1])]
    computing = [stage for stage in chosen.stages if stage.layers or stage in encoding]
    files = [f"part-{number}.{stage.machine}.onnx" for number, stage in enumerate(computing)]
    parts = describe_parts(graph, [stage.layers for stage in computing], files)
    stages = []
    for stage in chosen.stages:
        numbers = (computing.index(stage),) if stage in computing else ()
        stages.append(PlanStage(stage.machine, numbers, len(stage.layers), stage.compute_s))
    if any(message.coded for message in chosen.messages):
        from partition.codecs.parts import coded_parts

        parts = coded_parts(graph, parts, stages, chosen.messages)
    return parts, tuple(stages)


def _shared_parts(graph: LayerGraph, choices: Choices) -> tuple[tuple[PlanPart, ...], tuple[PlanChoice, ...]]:
    files = [f"part-{number}.onnx" for number in range(len(choices.segments))]
    parts = describe_parts(graph, choices.segments, files)
    routes = []
    for cost, members in zip(choices.schedules, choices.members, strict=True):
        stages = tuple(
            PlanStage(stage.machine, numbers, len(stage.layers), stage.compute_s)
            for stage, numbers in zip(cost.stages, members, strict=True)
        )
        routes.append(PlanChoice(stages, cost.messages))
    return parts, tuple(routes)


def describe_parts(graph: LayerGraph, layers: Sequence[tuple[str, ...]], files: Sequence[str]) -> tuple[PlanPart, ...]:
    """Describe parts before they are written: what each reads and puts out, its weights and its memory.

    Parameters
    ----------
    graph : networkx.DiGraph
    layers : sequence of tuples of str
        Of each part, in topological order; the parts in the order of running.
    files : sequence of str
        The name of each part's file.
    """
    tensors: dict[str, Tensor] = graph.graph["tensors"] | graph.graph["constant_outputs"]
    # A part without layers, which encodes alone, puts out no constant either.
    computing = iter(part_interfaces(graph, [own for own in layers if own]))
    interfaces = [next(computing) if own else ((), ()) for own in layers]
    return tuple(
        PlanPart(
            file=file,
            layers=own,
            inputs=tuple(_info(tensors[name]) for name in inputs),
            outputs=tuple(_info(tensors[name]) for name in outputs),
            weight_bytes=part_weight_bytes(graph, own),
            memory_bytes=part_memory_bytes(graph, own),
        )
        for file, own, (inputs, outputs) in zip(files, layers, interfaces, strict=True)
    )


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.dtype, tensor.shape, tensor.size_bytes)
