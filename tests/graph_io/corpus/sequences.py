"""Sequence models: an encoder with a mask, a decoder block with a cache, recurrent layers of open length."""

import numpy as np
from onnx import TensorProto

from tests.graph_io.corpus.case import Case, Network
from tests.models import value

WIDTH, HEADS, VOCABULARY, LONGEST, BLOCKS = 16, 2, 40, 32, 2
HEAD_WIDTH = WIDTH // HEADS


def heads_of(net, source, batch, length):
    """Reshape (batch, length, width) to (batch, heads, length, head width), by dimensions read at run time."""
    sizes = [batch, length, net.constant(np.array([HEADS])), net.constant(np.array([HEAD_WIDTH]))]
    shape = net.add("Concat", *sizes, axis=0)
    return net.add("Transpose", net.add("Reshape", source, shape), perm=[0, 2, 1, 3])


def attend(net, query, key, pad, batch, length, mixed):
    """Attend with an additive mask, and go back to (batch, length, width)."""
    scores = net.add("MatMul", query, net.add("Transpose", key, perm=[0, 1, 3, 2]))
    scaled = net.add("Div", scores, net.constant(np.float32(np.sqrt(HEAD_WIDTH))))
    weights = net.add("Softmax", net.add("Add", scaled, pad), axis=-1)
    together = net.add("Transpose", net.add("MatMul", weights, mixed), perm=[0, 2, 1, 3])
    shape = net.add("Concat", batch, length, net.constant(np.array([WIDTH])), axis=0)
    return net.add("Reshape", together, shape)


def feed_forward(net, source):
    inner = net.gelu(net.linear(source, WIDTH, 2 * WIDTH))
    return net.normalise(net.add("Add", source, net.linear(inner, 2 * WIDTH, WIDTH)), WIDTH)


def encoder():
    """BERT-like: tokens and positions looked up, a padding mask that every block shares."""
    net = Network(1)
    batch, length = net.dimension("tokens", 0), net.dimension("tokens", 1)
    start, step = net.constant(np.array(0)), net.constant(np.array(1))
    positions = net.add("Range", start, net.scalar(length), step)
    looked_up = net.add("Gather", net.weight(VOCABULARY, WIDTH, fan_in=1), "tokens")
    placed = net.add("Gather", net.weight(LONGEST, WIDTH, fan_in=1), positions)
    stream = net.normalise(net.add("Add", looked_up, placed), WIDTH)
    wide = net.add("Cast", net.add("Unsqueeze", "mask", net.constant(np.array([1, 2]))), to=TensorProto.FLOAT)
    pad = net.add("Mul", net.add("Sub", net.constant(np.float32(1)), wide), net.constant(np.float32(-1e4)), name="pad")
    for block in range(BLOCKS):
        query, key, mixed = (heads_of(net, net.linear(stream, WIDTH, WIDTH), batch, length) for _ in range(3))
        attended = net.linear(attend(net, query, key, pad, batch, length, mixed), WIDTH, WIDTH)
        stream = net.normalise(net.add("Add", stream, attended), WIDTH)
        stream = net.add("Identity", feed_forward(net, stream), name=f"block{block}")
    first = net.add("Gather", stream, net.constant(np.array(0)), axis=1)
    net.add("Tanh", net.linear(first, WIDTH, WIDTH), name="pooled")
    inputs = [value(name, ["batch", "seq"], TensorProto.INT64) for name in ("tokens", "mask")]
    outputs = [value(stream, ["batch", "seq", WIDTH]), value("pooled", ["batch", WIDTH])]
    return net.model(inputs, outputs, name="encoder")


def encoder_feeds(sizes, generator):
    shape = (sizes["batch"], sizes["seq"])
    lengths = generator.integers(1, sizes["seq"] + 1, sizes["batch"])
    return {
        "tokens": generator.integers(0, VOCABULARY, shape),
        "mask": (np.arange(sizes["seq"]) < lengths[:, None]).astype(np.int64),
    }


def decoder():
    """GPT-like: one causal block with a cache of keys and values that grows."""
    net = Network(2)
    batch, length, past = net.dimension("x", 0), net.dimension("x", 1), net.dimension("past_key", 2)
    query, key, mixed = (heads_of(net, net.linear("x", WIDTH, WIDTH), batch, length) for _ in range(3))
    net.add("Concat", "past_key", key, name="key", axis=2)
    net.add("Concat", "past_value", mixed, name="value", axis=2)
    total = net.add("Add", past, length)
    zero, one = net.constant(np.array(0)), net.constant(np.array(1))
    columns = net.add("Range", zero, net.scalar(total), one)
    rows = net.add("Range", net.scalar(past), net.scalar(total), one)
    later = net.add("Greater", columns, net.add("Unsqueeze", rows, net.constant(np.array([1]))))
    low, nothing = net.constant(np.float32(-1e9)), net.constant(np.float32(0))
    pad = net.add("Where", later, low, nothing, name="pad")
    attended = net.linear(attend(net, query, "key", pad, batch, length, "value"), WIDTH, WIDTH)
    stream = net.normalise(net.add("Add", "x", attended), WIDTH)
    net.add("MatMul", feed_forward(net, stream), net.weight(WIDTH, VOCABULARY), name="logits")
    cached = ["batch", HEADS, "past", HEAD_WIDTH]
    inputs = [value("x", ["batch", "seq", WIDTH]), value("past_key", cached), value("past_value", cached)]
    grown = ["batch", HEADS, "total", HEAD_WIDTH]
    outputs = [value("logits", ["batch", "seq", VOCABULARY]), value("key", grown), value("value", grown)]
    return net.model(inputs, outputs, name="decoder")


def decoder_feeds(sizes, generator):
    cached = (sizes["batch"], HEADS, sizes["past"], HEAD_WIDTH)
    shapes = {"x": (sizes["batch"], sizes["seq"], WIDTH), "past_key": cached, "past_value": cached}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def recurrent():
    """Read a sequence by a bidirectional LSTM, then by a GRU, both told how long each sequence really is."""
    net = Network(3)
    stream = net.add("Tanh", net.linear("x", 6, 8))
    w, r, b = net.weight(2, 4 * 5, 8), net.weight(2, 4 * 5, 5), net.weight(2, 8 * 5, fan_in=10)
    net.split("LSTM", stream, w, r, b, "lengths", outputs="both last cell", hidden_size=5, direction="bidirectional")
    joined = net.add("Transpose", "both", perm=[0, 2, 1, 3])
    flat = net.add("Reshape", joined, net.constant(np.array([0, 0, 10])), name="read")
    w, r, b = net.weight(1, 3 * 7, 10), net.weight(1, 3 * 7, 7), net.weight(1, 6 * 7, fan_in=10)
    net.split("GRU", flat, w, r, b, "lengths", outputs="again end", hidden_size=7)
    steps = net.add("Squeeze", "again", net.constant(np.array([1])), name="steps")
    ending = net.add("Squeeze", "end", net.constant(np.array([0])))
    mean = net.add("ReduceMean", steps, axes=[0], keepdims=0)
    net.add("Softmax", net.linear(net.add("Concat", mean, ending, axis=1), 14, 4), name="y", axis=-1)
    inputs = [value("x", ["seq", "batch", 6]), value("lengths", ["batch"], TensorProto.INT32)]
    outputs = [value("y", ["batch", 4]), value("cell", [2, "batch", 5])]
    return net.model(inputs, outputs, name="recurrent")


def recurrent_feeds(sizes, generator):
    return {
        "x": generator.standard_normal((sizes["seq"], sizes["batch"], 6)).astype(np.float32),
        "lengths": generator.integers(1, sizes["seq"] + 1, sizes["batch"]).astype(np.int32),
    }


_TEXTS = [{"batch": 1, "seq": 1}, {"batch": 3, "seq": 11}, {"batch": 2, "seq": 5}]
_CACHES = [
    {"batch": 1, "seq": 5, "past": 0},
    {"batch": 1, "seq": 1, "past": 7},
    {"batch": 3, "seq": 2, "past": 3},
]
SEQUENCES = [
    Case("encoder", encoder, encoder_feeds, {"batch": 2, "seq": 8}, _TEXTS),
    Case("decoder_later", decoder, decoder_feeds, {"batch": 2, "seq": 1, "past": 4}, _CACHES),
    Case("decoder_first", decoder, decoder_feeds, {"batch": 1, "seq": 4, "past": 0}, _CACHES),
    Case("recurrent", recurrent, recurrent_feeds, {"batch": 2, "seq": 6}, _TEXTS),
]
