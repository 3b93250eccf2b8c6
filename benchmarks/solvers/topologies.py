"""Frozen generators of layer graphs, without costs: what reads what. NumPy throughout, so that 1e6 layers are quick.

A graph is blocks of one pattern, one after the other. Layers are numbered in topological order. Inputs and outputs are
pseudo-layers pinned to the device. Whatever a generator promises about its number of layers is "about": it makes
whole blocks, and at least one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.settings import SEED

IntArray = NDArray[np.int64]
Pattern = list[tuple[int, int]]
"""Edges of a block, (tail, head); -1 is the last layer of the block before, other negatives see `_blocks`."""

LAYERED_WIDTH = 16
LAYERED_READS = 3

_INCEPTION: Pattern = [
    *((-1, 0), (-1, 1), (1, 2), (-1, 3), (3, 4), (4, 5), (-1, 6), (6, 7)),
    *((0, 8), (2, 8), (5, 8), (7, 8)),
]
# norm 0, query 1, key 2, value 3, scores 4, context 5, projection 6, sum 7, norm 8, wide 9, activation 10, narrow 11,
# sum 12
_TRANSFORMER: Pattern = [
    *((-1, 0), (0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (4, 5), (3, 5), (5, 6), (6, 7), (-1, 7)),
    *((7, 8), (8, 9), (9, 10), (10, 11), (11, 12), (7, 12)),
]


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Layers and who reads whose output: each layer that is read produces one tensor.

    Attributes
    ----------
    name : str
    n_layers : int
        Pseudo-layers included.
    pinned : (n_pinned,) int64
        Pseudo-layers for inputs and outputs: on the device.
    tensor_producer : (n_tensors,) int64, rising
    consumer_offsets : (n_tensors + 1,) int64
    consumer_layers : (n_consumers,) int64
    """

    name: str
    n_layers: int
    pinned: IntArray
    tensor_producer: IntArray
    consumer_offsets: IntArray
    consumer_layers: IntArray

    @classmethod
    def of(cls, name: str, n_layers: int, pinned: list[int] | IntArray, tails: IntArray, heads: IntArray) -> "Topology":
        """Make a topology from edges in any order; an edge given twice counts once."""
        keys = np.unique(tails * n_layers + heads)
        tails, heads = keys // n_layers, keys % n_layers
        producers, counts = np.unique(tails, return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        arrays = (np.asarray(pinned), producers, offsets, heads)
        return cls(name, n_layers, *(array.astype(np.int64) for array in arrays))


def chain(n_layers: int) -> Topology:
    """Make one path of layers."""
    layers = np.arange(max(n_layers, 3))
    return Topology.of("chain", len(layers), [0, len(layers) - 1], layers[:-1], layers[1:])


def inception_like(n_layers: int) -> Topology:
    """Make modules of four branches (1, 2, 3 and 2 layers) that read one tensor and end in one concatenation."""
    return _repeated("inception-like", n_layers, _INCEPTION, 9)


def transformer_like(n_layers: int) -> Topology:
    """Make blocks with query, key and value branches and two residual sums; nothing is shared between blocks."""
    return _repeated("transformer-like", n_layers, _TRANSFORMER, 13)


def dense_blocks(n_layers: int, growth: int) -> Topology:
    """Make blocks of `growth` layers that each read the block's input and all earlier outputs of the block.

    A transition layer reads all of them and ends the block.
    """
    members = range(-1, growth)
    pattern = [(tail, head) for head in range(growth + 1) for tail in members if tail < head]
    return _repeated(f"dense-{growth}", n_layers, pattern, growth + 1)


def random_layered(n_layers: int) -> Topology:
    """Make levels of 16 layers; each reads the one before it in its column and two random ones of the level before.

    The random two may coincide with each other or with the first. All inputs are one pseudo-layer, each output has
    its own.
    """
    width = LAYERED_WIDTH
    n_levels = max((n_layers - 1) // width - 1, 2)
    random = np.random.default_rng([SEED, n_levels])
    picks = random.integers(width, size=(n_levels - 1, width, LAYERED_READS))
    picks[:, :, 0] = np.arange(width)
    first = 1 + width * np.arange(n_levels - 1)
    tails = first[:, None, None] + picks
    heads = np.broadcast_to((first + width)[:, None, None] + np.arange(width)[None, :, None], tails.shape)
    n_inner = 1 + width * n_levels
    last, outputs = np.arange(n_inner - width, n_inner), np.arange(n_inner, n_inner + width)
    return Topology.of(
        "random layered",
        n_inner + width,
        np.concatenate([[0], outputs]),
        np.concatenate([np.zeros(width, dtype=np.int64), tails.ravel(), last]),
        np.concatenate([np.arange(1, 1 + width), heads.ravel(), outputs]),
    )


def encoder_with_mask(n_blocks: int) -> Topology:
    """Make transformer blocks whose scores all read one mask, which two layers compute from an input."""
    # tokens 0, mask 1 (inputs), mask's two layers 2 and 3, embedding 4
    before = [(1, 2), (2, 3), (0, 4)]
    return _network("encoder, shared mask", before, 5, [0, 1], [*_TRANSFORMER, (-2, 4)], 13, n_blocks, hubs={-2: 3})


def decoder_with_rotary(n_blocks: int) -> Topology:
    """Make blocks that rotate queries and keys by two tables, cosine and sine, and add one mask: three hubs."""
    # tokens 0, positions 1, mask 2 (inputs), angles 3, cosine 4, sine 5, mask's layer 6, embedding 7
    before = [(1, 3), (3, 4), (3, 5), (2, 6), (0, 7)]
    # norm 0, query 1, key 2, value 3, rotated query 4 and key 5, scores 6, context 7, projection 8, sum 9, norm 10,
    # gate 11, up 12, product 13, down 14, sum 15
    block = [
        *((-1, 0), (0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (-2, 4), (-3, 4), (-2, 5), (-3, 5)),
        *((4, 6), (5, 6), (-4, 6), (6, 7), (3, 7), (7, 8), (8, 9), (-1, 9)),
        *((9, 10), (10, 11), (10, 12), (11, 13), (12, 13), (13, 14), (14, 15), (9, 15)),
    ]
    hubs = {-2: 4, -3: 5, -4: 6}
    return _network("decoder, rotary tables and mask", before, 8, [0, 1, 2], block, 16, n_blocks, hubs=hubs)


def encoder_decoder(n_blocks: int) -> Topology:
    """Make an encoder, and a decoder of as many blocks whose cross attention reads the encoder's output twice each."""
    tails, heads = [np.array([0])], [np.array([2])]  # source 0, target 1 (inputs), embedding 2
    encoder = _blocks(_TRANSFORMER, 13, n_blocks, first=3, before=2, hubs={})
    memory = 2 + 13 * n_blocks
    # embedding of the target, then: norm 0, query 1, key 2, value 3, scores 4, context 5, projection 6, sum 7, norm 8,
    # cross query 9, key 10, value 11, scores 12, context 13, projection 14, sum 15, norm 16, wide 17, activation 18,
    # narrow 19, sum 20
    block = [
        *_TRANSFORMER[:11],
        *((7, 8), (8, 9), (-2, 10), (-2, 11), (9, 12), (10, 12), (12, 13), (11, 13), (13, 14), (14, 15), (7, 15)),
        *((15, 16), (16, 17), (17, 18), (18, 19), (19, 20), (15, 20)),
    ]
    start = memory + 2
    decoder = _blocks(block, 21, n_blocks, first=start, before=start - 1, hubs={-2: memory})
    last = start + 21 * n_blocks - 1
    ends = (np.array([1, last]), np.array([start - 1, last + 1]))
    tails += [encoder[0], decoder[0], ends[0]]
    heads += [encoder[1], decoder[1], ends[1]]
    pinned = [0, 1, last + 1]
    return Topology.of("encoder-decoder", last + 2, pinned, np.concatenate(tails), np.concatenate(heads))


def relative_position_bias(n_blocks: int) -> Topology:
    """Make blocks that each project one table of relative positions twice, for queries and for keys."""
    # tokens 0, positions 1 (inputs), table 2, embedding 3
    before = [(1, 2), (0, 3)]
    # the transformer's 13 layers with two projections 13 and 14, two products 15 and 16 in front of the scores;
    # renumbered so that the order stays topological
    block = [
        *((-1, 0), (0, 1), (0, 2), (0, 3), (-2, 4), (-2, 5), (1, 6), (4, 6), (2, 7), (5, 7)),
        *((1, 8), (2, 8), (6, 8), (7, 8), (8, 9), (3, 9), (9, 10), (10, 11), (-1, 11)),
        *((11, 12), (12, 13), (13, 14), (14, 15), (15, 16), (11, 16)),
    ]
    return _network("relative position bias", before, 4, [0, 1], block, 17, n_blocks, hubs={-2: 2})


def unet_with_time(n_blocks: int) -> Topology:
    """Make a U-Net: `n_blocks` residual blocks down, one in the middle, as many up that each read a skip connection.

    Every block reads the time embedding, which two layers compute from an input. A block is a first half, a projection
    of the time, their sum, a second half and a residual sum; on the way up behind the concatenation with the skip.
    """
    # image 0, time 1 (inputs), time's two layers 2 and 3, stem 4
    size = 5
    halves: Pattern = [(-1, 0), (-2, 1), (0, 2), (1, 2), (2, 3), (3, 4), (-1, 4)]
    n_down = n_blocks + 1
    down = _blocks(halves, size, n_down, first=5, before=4, hubs={-2: 3})
    start = 5 + size * n_down
    up_halves: Pattern = [(-1, 0), (0, 1), (-2, 2), (1, 3), (2, 3), (3, 4), (4, 5), (0, 5)]
    up = _blocks(up_halves, 6, n_blocks, first=start, before=start - 1, hubs={-2: 3})
    skips = 5 + size * np.arange(n_blocks) + size - 1
    joins = start + 6 * np.arange(n_blocks)[::-1]
    last = start + 6 * n_blocks
    tails = [np.array([1, 2, 0]), down[0], up[0], skips, np.array([last - 1])]
    heads = [np.array([2, 3, 4]), down[1], up[1], joins, np.array([last])]
    return Topology.of("U-Net, time embedding", last + 1, [0, 1, last], np.concatenate(tails), np.concatenate(heads))


def _repeated(name: str, n_layers: int, pattern: Pattern, size: int) -> Topology:
    """Put an input in front of blocks and an output behind."""
    return _network(name, [], 1, [0], pattern, size, max(round((n_layers - 2) / size), 1), hubs={})


def _network(
    name: str,
    before: Pattern,
    n_before: int,
    inputs: list[int],
    pattern: Pattern,
    size: int,
    n_blocks: int,
    *,
    hubs: dict[int, int],
) -> Topology:
    """Put layers 0 .. `n_before` - 1 with the edges `before` in front of blocks, and an output behind.

    The first block reads the last of those layers.
    """
    tails, heads = _blocks(pattern, size, n_blocks, first=n_before, before=n_before - 1, hubs=hubs)
    output = n_before + size * n_blocks
    edges = np.array([*before, (output - 1, output)], dtype=np.int64)
    return Topology.of(
        name,
        output + 1,
        [*inputs, output],
        np.concatenate([edges[:, 0], tails]),
        np.concatenate([edges[:, 1], heads]),
    )


def _blocks(
    pattern: Pattern, size: int, n_blocks: int, *, first: int, before: int, hubs: dict[int, int]
) -> tuple[IntArray, IntArray]:
    """Repeat a pattern of `size` layers from layer `first` on.

    A tail of -1 is the last layer of the block before, or `before`; another negative tail is the layer that `hubs`
    names, for every block.
    """
    tails, heads = np.array(pattern, dtype=np.int64).T
    starts = first + size * np.arange(n_blocks)[:, None]
    all_tails = starts + tails
    all_tails[:, tails == -1] = starts - 1
    all_tails[0, tails == -1] = before
    for mark, hub in hubs.items():
        all_tails[:, tails == mark] = hub
    return all_tails.ravel(), (starts + heads).ravel()
