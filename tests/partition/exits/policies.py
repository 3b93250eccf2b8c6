"""Policies that decide exits on the device: real models and confidences, with scores and times of our own choosing."""

from dataclasses import replace

import numpy as np

from graph_io import load_graph
from partition import Link
from partition.exits.calibrate import calibrate_exits
from partition.exits.choice import choose_exit
from partition.exits.family import ExitFamily
from partition.exits.segments import segments
from tests.partition.costs import timings_of
from tests.partition.exits.families import rows

LINK = Link(1e6, 1e6, 20e-3)
HEAD_S, SLOW_S, FAST_S = 1e-4, 0.1, 1e-3


def machines(family, *, remote):
    """Return timings of all segments: heads are cheap, the rest is cheap on the server, or on the device."""
    device, server = {}, {}
    cuts = [segments(family, way) for way in family.ways()]
    for cut in cuts:
        for graph in map(load_graph, cut.heads):
            device.setdefault(graph.graph["structure_sha256"], timings_of(graph, HEAD_S, "device"))
            server.setdefault(graph.graph["structure_sha256"], timings_of(graph, FAST_S, "server"))
    for cut in cuts:
        graph = load_graph(cut.rest)
        key = graph.graph["structure_sha256"]
        device.setdefault(key, timings_of(graph, SLOW_S if remote else FAST_S, "device"))
        server.setdefault(key, timings_of(graph, FAST_S if remote else SLOW_S, "server"))
    return {"device": list(device.values()), "server": list(server.values())}


def table_with_good_exits(models, data=None):
    """Measure confidences; let each exit be right where it is among its surer half, and the last one always."""
    table = calibrate_exits(models, rows(60) if data is None else data)
    records = []
    for number, one in enumerate(table.exits):
        middle = np.quantile(one.confidences, 0.6 - 0.2 * number)
        scores = np.ones(table.n_inputs) if one is table.exits[-1] else (one.confidences > middle).astype(float)
        records.append(replace(one, scores=scores, accuracy=float(scores.mean())))
    return replace(table, exits=tuple(records), inputs=(), labels=())


def deciding_policy(models, *, remote=True, data=None, **more):
    """Choose a policy that is always right and stops about every second input on the device."""
    table = table_with_good_exits(models, data)
    family = ExitFamily.parse(models)
    policy = choose_exit(family, LINK, exits=table, accuracy=1.0, **machines(family, remote=remote), **more)
    assert policy.heads
    assert 0.1 < policy.rest_share < 0.9
    assert bool(policy.plan.cut) == remote
    return policy
