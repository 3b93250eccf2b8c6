"""Small families of exits, and what a whole model answers."""

import numpy as np
import onnxruntime

from tests.models import model, node

INPUT_SIZE, CLASSES = 8, 3


def branchy(batch=1, *, seed=0, name="branchy", outputs=("early", "middle", "late")):
    """Three exits: the first off the trunk, the second read by later layers too, and skips over both."""
    draw = np.random.default_rng(seed)

    def weight(*shape):
        return (draw.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    weights = {key: weight(8, 8) for key in ("w0", "w1", "w2")} | {key: weight(8, 3) for key in ("h1", "h2", "h3")}
    nodes = [
        node("MatMul", "x w0", "m0"),
        node("Relu", "m0", "a0"),
        node("MatMul", "a0 h1", "early"),
        node("MatMul", "a0 w1", "m1"),
        node("Relu", "m1", "a1"),
        node("Add", "a1 a0", "s1"),
        node("MatMul", "s1 h2", "middle"),
        node("MatMul", "s1 w2", "m2"),
        node("Add", "m2 a0", "s2"),
        node("MatMul", "s2 h3", "logits"),
        node("Add", "logits middle", "late"),
    ]
    return model(nodes, {"x": [batch, INPUT_SIZE]}, list(outputs), weights, name=name)


def trunk_exits():
    """Exits that are values of the trunk itself; layers of the runtime's could join over them."""
    draw = np.random.default_rng(1)
    weights = {key: draw.standard_normal((4, 4)).astype(np.float32) for key in ("w1", "w2", "w3")}
    weights["scale"], weights["bias"] = np.ones(4, np.float32), np.zeros(4, np.float32)
    nodes = [
        node("MatMul", "x w1", "first"),
        node("Relu", "first", "r1"),
        node("MatMul", "r1 w2", "m2"),
        node("Add", "m2 x", "second"),
        node("LayerNormalization", "second scale bias", "third", axis=-1),
        node("MatMul", "third w3", "fourth"),
    ]
    return model(nodes, {"x": [1, 4]}, ["first", "second", "third", "fourth"], weights, name="trunk")


def apart():
    """Two exits that share nothing but the input, the first of which reads one input of two."""
    draw = np.random.default_rng(2)
    weights = {"w1": draw.standard_normal((4, 3)).astype(np.float32), "w2": draw.standard_normal((4, 3)).astype("f4")}
    nodes = [
        node("MatMul", "x w1", "small"),
        node("Add", "x extra", "sum"),
        node("MatMul", "sum w2", "large"),
    ]
    return model(nodes, {"x": [1, 4], "extra": [1, 4]}, ["small", "large"], weights, name="apart")


def single(seed, hidden, *, name, inputs=("x",)):
    """One model of a family of several; its answer is its first output."""
    draw = np.random.default_rng(seed)
    weights = {
        "w1": draw.standard_normal((INPUT_SIZE, hidden)).astype(np.float32),
        "w2": draw.standard_normal((hidden, CLASSES)).astype(np.float32),
    }
    nodes = [node("MatMul", f"{inputs[0]} w1", "h"), node("Relu", "h", "r"), node("MatMul", "r w2", "logits")]
    return model(nodes, {one: [1, INPUT_SIZE] for one in inputs}, ["logits", "r"], weights, name=name)


def rows(count, *, size=INPUT_SIZE, seed=3):
    """Return inputs and labels, as pairs."""
    draw = np.random.default_rng(seed)
    return [
        ({"x": draw.standard_normal((1, size)).astype(np.float32)}, int(draw.integers(CLASSES))) for _ in range(count)
    ]


def answers(proto, inputs):
    """Run a model and return all its outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    produced = session.run(names, {one.name: inputs[one.name] for one in session.get_inputs()})
    return dict(zip(names, produced, strict=True))
