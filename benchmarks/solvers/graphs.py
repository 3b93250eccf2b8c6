"""Frozen costs on frozen graphs: a `solvers.Problem` for every size, kind of cost and number of machines.

Both kinds number the layers v = 0 .. n - 1 in topological order; z and z' are independent standard normal numbers,
u independent uniform ones in [0, 1). Machines: device, (gateway,) server.

"realistic": what a real network looks like, and where a flow has far to go.

    device(v)  = 1 s / n * exp(0.5 z)
    gateway(v) = 0.25 device(v)
    server(v)  = 0.05 device(v)
    size(t)    = 1e6 bytes * 0.01 ** (v / (n - 1)) * exp(0.5 z'),  v = the producer of t
    links      = 1 us per byte device to server, half of it back; gateway: see `LINKS_S_PER_BYTE`

"hard": no order in the costs, so that the difference between the machines has either sign.

    device(v), gateway(v), server(v) = u;  size(t) = u;  every link = 1 per byte

Inputs and outputs are pinned to the device and cost nothing there. No delays and any number of visits, so that a plain
minimum cut solves the same problem.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from benchmarks.settings import SEED
from benchmarks.solvers import topologies
from benchmarks.solvers.topologies import Topology
from solvers import Problem

CostKind = Literal["realistic", "hard"]
COST_KINDS: tuple[CostKind, ...] = ("realistic", "hard")

SPEED = np.array([1.0, 0.25, 0.05])
LINKS_S_PER_BYTE = 1e-6 * np.array([[0.0, 0.4, 1.0], [0.3, 0.0, 0.7], [0.5, 0.4, 0.0]])
"""Between device, gateway and server."""

FOLDING: dict[str, Callable[[int], Topology]] = {
    "chain": topologies.chain,
    "inception-like": topologies.inception_like,
    "transformer-like": topologies.transformer_like,
}
"""By number of layers: what folds completely at two neighbours."""

WIDE: dict[str, Callable[[int], Topology]] = {
    "dense-12": partial(topologies.dense_blocks, growth=12),
    "random layered": topologies.random_layered,
}
"""By number of layers: what is too wide to fold."""

STRUCTURES: dict[str, Callable[[], Topology]] = {
    "encoder, shared mask": partial(topologies.encoder_with_mask, 12),
    "decoder, rotary tables and mask": partial(topologies.decoder_with_rotary, 12),
    "encoder-decoder": partial(topologies.encoder_decoder, 6),
    "relative position bias": partial(topologies.relative_position_bias, 12),
    "U-Net, time embedding": partial(topologies.unet_with_time, 12),
    "dense-4": partial(topologies.dense_blocks, 200, 4),
}
"""What real networks share between their blocks, at the depth of the small published ones."""


def with_costs(topology: Topology, kind: CostKind, *, n_machines: int = 2, seed: int = SEED) -> Problem:
    """Put costs of a kind on a graph.

    Parameters
    ----------
    topology : Topology
    kind : {"realistic", "hard"}
    n_machines : {2, 3}
        Device and server, or device, gateway and server.
    seed : int
        Of the costs.
    """
    chosen = [0, 2] if n_machines == 2 else [0, 1, 2]
    n_layers, producers = topology.n_layers, topology.tensor_producer
    random = np.random.default_rng([seed, n_layers, COST_KINDS.index(kind)])
    if kind == "realistic":
        device = np.exp(0.5 * random.standard_normal(n_layers)) / n_layers
        compute = device[:, None] * SPEED[chosen]
        depth = producers / (n_layers - 1)
        sizes = 1e6 * 0.01**depth * np.exp(0.5 * random.standard_normal(len(producers)))
        per_byte = LINKS_S_PER_BYTE[np.ix_(chosen, chosen)]
    else:
        compute = random.random((n_layers, 3))[:, chosen]
        sizes = random.random(len(producers))
        per_byte = np.ones((n_machines, n_machines)) - np.eye(n_machines)
    compute[topology.pinned] = np.inf
    compute[topology.pinned, 0] = 0.0
    nothing = np.zeros((n_machines, n_machines))
    return Problem(
        compute=compute,
        tensor_producer=producers,
        tensor_size_bytes=sizes,
        consumer_offsets=topology.consumer_offsets,
        consumer_layers=topology.consumer_layers,
        per_tensor=nothing,
        per_byte=per_byte,
        delay=nothing,
        max_server_visits=None,
    )
