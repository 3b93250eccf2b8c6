"""The one bridge from an annotated layer graph to `solvers.Problem`, and back from a placement to what happens when."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

import solvers
from graph_io import LayerGraph, Tensor
from graph_io.codecs import LOSSLESS
from partition.errors import InputError
from partition.latency.machines import Power
from partition.links import Link
from partition.plan_records import PlanMessage

OutputOn: TypeAlias = Literal["device", "server", "any"]
Objective: TypeAlias = Literal["latency", "energy"]
IntArray: TypeAlias = npt.NDArray[np.int64]

Direction: TypeAlias = Literal["uplink", "downlink"]

DEVICE, SERVER = 0, 1
_DIRECTIONS: tuple[Direction, Direction] = ("uplink", "downlink")


@dataclass(frozen=True, slots=True)
class CodedCrossing:
    """How one tensor crosses in one direction, where that is not as it is: bytes, and seconds on both machines."""

    codec: str
    size_bytes: int
    raw_bytes: int
    encode_s: float
    decode_s: float


Coded: TypeAlias = Mapping[tuple[str, Direction], CodedCrossing]
"""By tensor and direction."""


@dataclass(frozen=True, slots=True, eq=False)
class Bridge:
    """One layer graph as solver problems, with the way back.

    Attributes
    ----------
    latency, objective : solvers.Problem
        The same layers and tensors, priced in seconds and in the objective's unit; one object if that is seconds.
        Layers come first, then a pseudo-layer for each model input and for each model output wanted somewhere.
    layers : tuple of str
        Layer ids, in the order of the problem's first layers.
    tensors : tuple of str
        Names of the problem's tensors, in its order.
    coded : mapping
        Crossings with a codec. A problem has one size for a tensor: that of the direction in which it is smaller. The
        rest of the other direction's transfer is among what its sender pays to encode.
    """

    latency: solvers.Problem
    objective: solvers.Problem
    layers: tuple[str, ...]
    tensors: tuple[str, ...]
    coded: Coded = field(default_factory=dict)

    def sent_bytes(self, tensor: int, direction: Direction) -> float:
        """Return what a tensor of the problem takes on the wire in one direction."""
        name = self.tensors[tensor]
        one = self.coded.get((name, direction))
        if one is not None:
            return one.size_bytes
        other = self.coded.get((name, "downlink" if direction == "uplink" else "uplink"))
        return float(self.latency.tensor_size_bytes[tensor]) if other is None else other.raw_bytes

    def placement(self, head: frozenset[str]) -> IntArray:
        """Place a head on the device, all other layers on the server, and pseudo-layers where they are pinned."""
        chosen = [DEVICE if layer in head else SERVER for layer in self.layers]
        pinned = self.latency.compute[len(self.layers) :].argmin(axis=1)
        return np.concatenate([np.array(chosen, dtype=np.int64), pinned.astype(np.int64)])

    def pinned_to_device(self, layers: Collection[str]) -> solvers.Problem:
        """Return the objective with some layers allowed on the device only."""
        compute = self.objective.compute.copy()
        compute[[layer in layers for layer in self.layers] + [False] * (len(compute) - len(self.layers)), SERVER] = inf
        return self.objective.with_costs(compute=compute)


def build_bridge(
    graph: LayerGraph,
    latency_s: Mapping[str, tuple[float, float]],
    link: Link,
    *,
    objective: Objective,
    output_on: OutputOn,
    input_bytes: Mapping[str, int],
    power: Power | None,
    conversion_s: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    max_server_visits: int | None = 1,
    coded: Coded | None = None,
) -> Bridge:
    """Encode a layer graph for the solvers.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `graph_io.load_graph`.
    latency_s : mapping
        Layer id to seconds on the device and on the server.
    link : Link
    objective : {"latency", "energy"}
        Energy is the device's: computing, idling while the server computes and messages travel, sending, receiving.
    output_on : {"device", "server", "any"}
        Where the model's outputs are wanted.
    input_bytes : mapping
        Model input to its size on the wire, where that is not the tensor's.
    power : Power or None
        Of the device; needed for energy.
    conversion_s : mapping, optional
        ``{role: {tensor: (encode, decode)}}``: seconds that a machine pays to hand a tensor out, and to take it in.
    max_server_visits : int or None
        How often a placement may go to the server; None for no limit.
    coded : mapping, optional
        Tensors that cross by a codec; the objective has to be the latency.

    Returns
    -------
    Bridge
    """
    tensors: dict[str, Tensor] = graph.graph["tensors"]
    layers = tuple(graph.nodes)
    number = {layer: index for index, layer in enumerate(layers)}
    rows: list[tuple[float, float]] = [latency_s[layer] for layer in layers]
    names = list(layers)
    edges: list[tuple[int, float, list[int]]] = []
    edge_names: list[str] = []
    for tensor in tensors.values():
        consumers = [number[reader] for reader in tensor.consumers]
        if tensor.producer is None:
            producer = len(rows)
            rows.append((0.0, inf))
            names.append(f"input {tensor.name}")
        else:
            producer = number[tensor.producer]
        if tensor.name in graph.graph["outputs"] and output_on != "any":
            consumers.append(len(rows))
            rows.append((0.0, inf) if output_on == "device" else (inf, 0.0))
            names.append(f"output {tensor.name}")
        if consumers:
            edges.append((producer, float(input_bytes.get(tensor.name, tensor.size_bytes)), consumers))
            edge_names.append(tensor.name)

    if coded:
        if objective != "latency":
            raise InputError(f"codecs are priced in time, and the objective is {objective!r}; leave one of them out")
        sizes = {name: size for name, (_, size, _) in zip(edge_names, edges, strict=True)}
        smaller, conversion_s = _with_codecs(coded, sizes, link, conversion_s or {})
        edges = [(edge[0], smaller[name], edge[2]) for name, edge in zip(edge_names, edges, strict=True)]
    paid = [(conversion_s or {}).get(role, {}) for role in ("device", "server")]
    latency = solvers.Problem.build(
        np.array(rows, dtype=np.float64).reshape(-1, 2),
        edges,
        per_byte=[[0.0, link.upload_s_per_byte], [link.download_s_per_byte, 0.0]],
        delay=[[0.0, link.uplink_delay_s], [link.downlink_delay_s, 0.0]],
        max_server_visits=max_server_visits,
        layer_names=tuple(names),
        tensor_names=tuple(edge_names),
        encode=[[own.get(name, (0.0, 0.0))[0] for own in paid] for name in edge_names] if any(paid) else None,
        decode=[[own.get(name, (0.0, 0.0))[1] for own in paid] for name in edge_names] if any(paid) else None,
    )
    if objective == "latency":
        return Bridge(latency, latency, layers, tuple(edge_names), coded or {})
    if power is None:
        raise InputError("objective 'energy' needs the device's power, which this bridge was not given")
    watts = solvers.Power.of_device(
        compute=power.compute_watts, send=power.send_watts, receive=power.receive_watts, idle=power.idle_watts
    )
    energy = solvers.energy_problem(latency, watts)
    return Bridge(latency, energy, layers, tuple(edge_names))


def _with_codecs(
    coded: Coded, sizes: Mapping[str, float], link: Link, conversion_s: Mapping[str, Mapping[str, tuple[float, float]]]
) -> tuple[dict[str, float], dict[str, dict[str, tuple[float, float]]]]:
    """Return the smaller size of each tensor, and what both machines pay for it with codecs and the rest of sending."""
    smaller = dict(sizes)
    paid = {role: dict(conversion_s.get(role, {})) for role in ("device", "server")}
    for name in dict.fromkeys(name for name, _ in coded if name in sizes):
        crossings = [coded.get((name, direction)) for direction in _DIRECTIONS]
        sent = [sizes[name] if one is None else one.size_bytes for one in crossings]
        smaller[name] = min(sent)
        encoding = [0.0 if one is None else one.encode_s for one in crossings]
        decoding = [0.0 if one is None else one.decode_s for one in crossings]
        for number, (role, per_byte_s) in enumerate(
            (("device", link.upload_s_per_byte), ("server", link.download_s_per_byte))
        ):
            encode_s, decode_s = paid[role].get(name, (0.0, 0.0))
            rest_s = (sent[number] - smaller[name]) * per_byte_s
            # What this machine sends goes one way, and what it receives came the other way.
            paid[role][name] = (encode_s + encoding[number] + rest_s, decode_s + decoding[1 - number])
    return smaller, paid


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one machine runs between two messages, tensors put into and out of its runtime's layout included."""

    stage: int
    machine: Literal["device", "server"]
    layers: tuple[str, ...]
    compute_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """A placement as stages and the messages between them, in the order of time.

    Attributes
    ----------
    stages : tuple of StageCost
        Those that hold layers, or that only receive the outputs, are all listed; stage 0 is the device's.
    messages : tuple of PlanMessage
        One less than the stages.
    latency_s : float
        The sum of all compute, transfer and delay.
    objective_value : float
        In the objective's unit: seconds or joules.
    """

    stages: tuple[StageCost, ...]
    messages: tuple[PlanMessage, ...]
    latency_s: float
    objective_value: float


def schedule(bridge: Bridge, placement: Any) -> Schedule:
    """Lay a placement out in time.

    Notes
    -----
    A tensor for the other machine rides the first message after its producer's stage: later consumers find it there.
    """
    problem = bridge.latency
    stage_of = solvers.stages(problem, placement)
    cost = solvers.breakdown(problem, placement)
    last = cost.n_messages
    n_layers = len(bridge.layers)
    carried: list[list[int]] = [[] for _ in range(last)]
    for tensor, _, _ in cost.sent_tensors:
        carried[int(stage_of[problem.tensor_producer[tensor]])].append(tensor)
    stages = []
    for stage in range(last + 1):
        machine = stage % 2
        members = [index for index in range(n_layers) if stage_of[index] == stage]
        seconds = float(sum(problem.compute[index, machine] for index in members))
        if stage < last:
            seconds += float(problem.encode[carried[stage], machine].sum())
            seconds -= sum(_rest_s(bridge, tensor, _DIRECTIONS[machine]) for tensor in carried[stage])
        if stage > 0:
            seconds += float(problem.decode[carried[stage - 1], machine].sum())
        stages.append(StageCost(stage, _role(machine), tuple(bridge.layers[index] for index in members), seconds))
    messages = []
    for after, sent in enumerate(carried):
        here, there = after % 2, (after + 1) % 2
        direction = _DIRECTIONS[here]
        size = float(sum(bridge.sent_bytes(tensor, direction) for tensor in sent))
        codecs, raw_bytes = _codecs(bridge, sent, direction)
        messages.append(
            PlanMessage(
                after_stage=after,
                direction=direction,
                tensors=tuple(bridge.tensors[tensor] for tensor in sent),
                size_bytes=int(size),
                transfer_s=float(size * problem.per_byte[here, there]),
                delay_s=float(problem.delay[here, there]),
                codecs=codecs,
                raw_bytes=raw_bytes,
            )
        )
    value = solvers.evaluate(bridge.objective, placement)
    return Schedule(tuple(stages), tuple(messages), cost.value, value)


def _rest_s(bridge: Bridge, tensor: int, direction: Direction) -> float:
    """Return what of a tensor's transfer the problem holds as encoding."""
    here, there = (DEVICE, SERVER) if direction == "uplink" else (SERVER, DEVICE)
    rest = bridge.sent_bytes(tensor, direction) - float(bridge.latency.tensor_size_bytes[tensor])
    return rest * float(bridge.latency.per_byte[here, there])


def _codecs(bridge: Bridge, sent: Sequence[int], direction: Direction) -> tuple[tuple[str, ...], int | None]:
    """Return the codecs of a message and what it would be without; neither where all goes as it is."""
    found = [bridge.coded.get((bridge.tensors[tensor], direction)) for tensor in sent]
    if not any(found):
        return (), None
    raw = sum(
        bridge.sent_bytes(tensor, direction) if one is None else one.raw_bytes
        for tensor, one in zip(sent, found, strict=True)
    )
    return tuple(LOSSLESS if one is None else one.codec for one in found), int(raw)


def _role(machine: int) -> Literal["device", "server"]:
    return "device" if machine == DEVICE else "server"
