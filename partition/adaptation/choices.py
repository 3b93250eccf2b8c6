"""Which placements a plan chooses from while it runs, and the parts that all of them are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

import solvers
from partition.adaptation.conditions import ConditionRange
from partition.adaptation.throughput import stream_placements
from partition.links import Link
from partition.problem import Bridge, IntArray, Schedule, schedule

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """Placements, and the model cut wherever one of them cuts.

    Attributes
    ----------
    segments : tuple of tuples of str
        Layers of each part, in topological order. Every placement runs each part as a whole on one machine.
    schedules : tuple of Schedule
        One for each placement, on the link that is planned for. What the additional borders between parts cost is in.
    members : tuple of tuples of tuples of int
        For each placement and each of its stages the numbers of its segments.
    n_solves : int
        How many problems were solved to prove that no other placement is needed.
    """

    segments: tuple[tuple[str, ...], ...]
    schedules: tuple[Schedule, ...]
    members: tuple[tuple[tuple[int, ...], ...], ...]
    n_solves: int

    def best(self) -> int:
        """Return the number of the cheapest placement on the link that is planned for."""
        return min(range(len(self.schedules)), key=lambda number: self.schedules[number].latency_s)


def find_choices(
    bridge: Bridge, problem: solvers.Problem, link: Link, over: ConditionRange, *, simple: Sequence[IntArray]
) -> Choices:
    """Find every placement that is the best one under some conditions, some for streams, and the parts that they share.

    Parameters
    ----------
    bridge : Bridge
        With latency as its objective and at most one visit to the server.
    problem : solvers.Problem
        The same, perhaps with layers pinned.
    link : Link
        What is planned for; it keeps the downlink in proportion where `over` does not range over it.
    over : ConditionRange
    simple : sequence of placements
        Kept in any case, such as everything on the device.

    Raises
    ------
    solvers.SolverError
        More placements than anybody would want.

    Notes
    -----
    Exact: latency is affine in the seconds per byte, the round trip and the slow-downs; see `solvers.optimal_regions`.
    The rate of a stream is not: see `stream_placements`.
    """
    ratio = link.uplink_bits_per_s / link.downlink_bits_per_s
    rates = [over.uplink_bits_per_s, *([over.downlink_bits_per_s] if over.downlink_bits_per_s is not None else [])]
    per_byte = [(8.0 / high, 8.0 / low) for low, high in rates]
    box = [over.rtt_s, over.device_slowdown, over.server_slowdown, *per_byte]

    def problem_at(point: Point) -> solvers.Problem:
        rtt_s, device, server, uplink, *downlink = point
        slowdown = np.array([device, server])
        down = downlink[0] if downlink else uplink * ratio
        return problem.with_costs(
            compute=problem.compute * slowdown,
            encode=problem.encode * slowdown,
            decode=problem.decode * slowdown,
            per_byte=np.array([[0.0, uplink], [down, 0.0]]),
            delay=np.array([[0.0, rtt_s / 2], [rtt_s / 2, 0.0]]),
        )

    found = solvers.optimal_regions(problem_at, [one[0] for one in box], [one[1] for one in box])
    held = (*found.placements, *simple)
    streams = stream_placements(bridge, problem, link, over, held=held)
    placements = {placement.tobytes(): placement for placement in (*held, *streams)}
    return _shared_parts(bridge, list(placements.values()), found.n_solves)


def _shared_parts(bridge: Bridge, placements: list[IntArray], n_solves: int) -> Choices:
    n_layers = len(bridge.layers)
    stages = np.array([solvers.stages(bridge.latency, placement)[:n_layers] for placement in placements])
    groups: dict[tuple[int, ...], list[str]] = {}
    for layer, signature in zip(bridge.layers, stages.T.tolist(), strict=True):
        groups.setdefault(tuple(signature), []).append(layer)
    # What a layer reads is nowhere in a later stage than the layer: the sum of the stages sorts topologically.
    ordered = sorted(groups, key=sum)
    segment_of = {layer: number for number, one in enumerate(ordered) for layer in groups[one]}
    layer_s = dict(zip(bridge.layers, bridge.latency.compute[:n_layers], strict=True))
    schedules, members = [], []
    for row, placement in enumerate(placements):
        plain = schedule(bridge, placement)
        borders = _borders(bridge, segment_of, [one[row] for one in ordered], len(plain.stages))
        priced = tuple(
            replace(stage, compute_s=float(sum(layer_s[layer][stage.stage % 2] for layer in stage.layers)) + border_s)
            for stage, border_s in zip(plain.stages, borders, strict=True)
        )
        added = sum(one.compute_s for one in priced) - sum(one.compute_s for one in plain.stages)
        total = plain.latency_s + added
        schedules.append(replace(plain, stages=priced, latency_s=total, objective_value=total))
        members.append(
            tuple(
                tuple(number for number, one in enumerate(ordered) if one[row] == stage)
                for stage in range(len(plain.stages))
            )
        )
    segments = tuple(tuple(groups[one]) for one in ordered)
    return Choices(segments, tuple(schedules), tuple(members), n_solves)


def _borders(bridge: Bridge, segment_of: dict[str, int], stage_of: list[int], n_stages: int) -> list[float]:
    """Return what each stage pays to hand tensors out of parts and to take them into others."""
    problem = bridge.latency
    paid = [0.0] * n_stages
    n_layers = len(bridge.layers)
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        if producer >= n_layers:
            continue  # an input, which comes as it is
        own = segment_of[bridge.layers[producer]]
        readers = problem.consumer_layers[problem.consumer_offsets[tensor] : problem.consumer_offsets[tensor + 1]]
        others = {segment_of[bridge.layers[reader]] for reader in readers.tolist() if reader < n_layers} - {own}
        if others:
            paid[stage_of[own]] += float(problem.encode[tensor, stage_of[own] % 2])
        for other in others:
            paid[stage_of[other]] += float(problem.decode[tensor, stage_of[other] % 2])
    return paid
