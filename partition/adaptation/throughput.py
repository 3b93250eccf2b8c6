"""Placements for streams: those whose busiest resource is least busy, under the conditions that a plan adapts to."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import solvers
from partition.adaptation.conditions import ConditionRange
from partition.links import Link
from partition.problem import DEVICE, SERVER, Bridge, IntArray

SLACK = 0.05
"""A placement is added where it is faster by more than this than those that a plan holds already."""
STEPS = 5
"""So many values of each range are looked at, in equal ratios, its ends included."""
MOST_HEADS = 5_000
"""Heads that are compared at most; of a graph with more, those that are prefixes of its topological order."""

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def stream_placements(
    bridge: Bridge, problem: solvers.Problem, link: Link, over: ConditionRange, *, held: Sequence[IntArray]
) -> list[IntArray]:
    """Return what placements have to be added so that streams are about as fast as they can be.

    Parameters
    ----------
    bridge : Bridge
    problem : solvers.Problem
        In seconds, as planned, perhaps with layers pinned.
    link : Link
        What is planned for: there the best placement is held.
    over : ConditionRange
        At `STEPS` values of each of its ranges, in all combinations, none is faster than those held by more than
        `SLACK`.
    held : sequence of (n_layers,) int64
        Placements that the plan holds anyway.

    Returns
    -------
    list of (n_layers,) int64

    Notes
    -----
    What is busy is the device, the server, the uplink or the downlink. Compared are all placements that start on the
    device, go to the server once and bring back nothing but outputs of the model. O(points * heads) time.
    """
    candidates = _candidates(bridge, problem)
    totals = _Totals.of(problem, candidates == DEVICE)
    own = _Totals.of(problem, np.array(held, dtype=np.int64).reshape(-1, problem.n_layers) == DEVICE)
    added: list[int] = []
    for number, point in enumerate(_points(link, over)):
        busiest = totals.busiest_s(point)
        least_s = float(busiest.min())
        known_s = min([float(own.busiest_s(point).min(initial=np.inf)), *(float(busiest[one]) for one in added)])
        # The first point is what is planned for.
        if known_s > least_s * (1 + (SLACK if number else 1e-9)):
            # Of those that are as fast, the one that is done soonest.
            fastest = np.flatnonzero(busiest <= least_s * (1 + 1e-9))
            added.append(int(fastest[totals.sum_s(point)[fastest].argmin()]))
    return [candidates[one] for one in added]


def _points(link: Link, over: ConditionRange) -> Iterator[Floats]:
    """Yield slow-downs of device and server and seconds per byte up and down; first what is planned for."""
    planned = (1.0, 1.0, 8.0 / link.uplink_bits_per_s, 8.0 / link.downlink_bits_per_s)
    yield np.array(planned)
    rates = over.uplink_bits_per_s, over.downlink_bits_per_s
    ranges = [
        over.device_slowdown,
        over.server_slowdown,
        *((8 / one[1], 8 / one[0]) for one in rates if one is not None),
    ]
    for device, server, up, *down in itertools.product(*map(_steps, ranges)):
        yield np.array([device, server, up, down[0] if down else up * planned[3] / planned[2]])


def _steps(bounds: tuple[float, float]) -> list[float]:
    low, high = bounds
    return [low] if low == high else [float(one) for one in np.geomspace(low, high, STEPS)]


@dataclass(frozen=True, slots=True)
class _Totals:
    """What placements take of each resource: (n_placements, 4) seconds of device and server, bytes up and down."""

    amounts: Floats

    @classmethod
    def of(cls, problem: solvers.Problem, on_device: Flags) -> "_Totals":
        compute = np.where(np.isfinite(problem.compute), problem.compute, 0.0)
        device_s = on_device @ compute[:, DEVICE]
        server_s = ~on_device @ compute[:, SERVER]
        up, down = np.zeros(len(on_device)), np.zeros(len(on_device))
        for tensor, producer in enumerate(problem.tensor_producer.tolist()):
            readers = problem.consumer_layers[problem.consumer_offsets[tensor] : problem.consumer_offsets[tensor + 1]]
            made, read = on_device[:, producer], on_device[:, readers]
            sent, returned = made & ~read.all(axis=1), ~made & read.any(axis=1)
            up += sent * problem.tensor_size_bytes[tensor]
            down += returned * problem.tensor_size_bytes[tensor]
            device_s += sent * problem.encode[tensor, DEVICE] + returned * problem.decode[tensor, DEVICE]
            server_s += sent * problem.decode[tensor, SERVER] + returned * problem.encode[tensor, SERVER]
        return cls(np.stack([device_s, server_s, up, down], axis=1))

    def busiest_s(self, point: Floats) -> Floats:
        found: Floats = (self.amounts * point).max(axis=1)
        return found

    def sum_s(self, point: Floats) -> Floats:
        found: Floats = self.amounts @ point
        return found


def _candidates(bridge: Bridge, problem: solvers.Problem) -> IntArray:
    """Return the placements that are compared, (n_candidates, n_layers)."""
    n_layers = len(bridge.layers)
    before = [0] * n_layers
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        if producer < n_layers:
            start, end = problem.consumer_offsets[tensor], problem.consumer_offsets[tensor + 1]
            for reader in problem.consumer_layers[start:end].tolist():
                if reader < n_layers:
                    before[reader] |= 1 << producer
    heads = _heads(before)
    pinned = sum(1 << layer for layer in range(n_layers) if not np.isfinite(problem.compute[layer, SERVER]))
    ends = problem.compute[n_layers:].argmin(axis=1)
    rows = [_bits(head, n_layers) for head in heads if head & pinned == pinned]
    on_device = np.array(rows, dtype=np.bool_).reshape(-1, n_layers)
    layers = np.where(on_device, DEVICE, SERVER).astype(np.int64)
    return np.hstack([layers, np.broadcast_to(ends, (len(layers), len(ends)))]).astype(np.int64)


def _heads(before: Sequence[int]) -> list[int]:
    """Return all sets of layers that hold, with each, all before it, as bits; prefixes if those are too many.

    A set without its highest layer is such a set, too, so each is made once: by adding a layer above the highest.
    """
    n_layers = len(before)
    found = [(0, 0)]
    for head, first in found:
        for layer in range(first, n_layers):
            if before[layer] & ~head == 0:
                found.append((head | 1 << layer, layer + 1))
        if len(found) > MOST_HEADS:
            return [(1 << count) - 1 for count in range(n_layers + 1)]
    return [head for head, _ in found]


def _bits(head: int, count: int) -> Any:
    content = np.frombuffer(head.to_bytes(count // 8 + 1, "little"), np.uint8)
    return np.unpackbits(content, bitorder="little")[:count].astype(np.bool_)
