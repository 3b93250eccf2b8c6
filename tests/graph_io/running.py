"""Run whole models and parts in the real runtime, and compare them."""

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto

TOLERANCE = 1e-5


def session(proto):
    """Open a model the way it is deployed: every optimisation, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def inputs_of(proto, *, seed=0, dims=None):
    """Draw inputs: normal floats, zeros and ones for the rest; a dimension without a size is looked up in ``dims``."""
    generator = np.random.default_rng(seed)
    feeds = {}
    initializers = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name in initializers:
            continue
        shape = [
            dim.dim_value if dim.HasField("dim_value") else (dims or {}).get(dim.dim_param, 1)
            for dim in value.type.tensor_type.shape.dim
        ]
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            feeds[value.name] = generator.standard_normal(shape).astype(np.float32)
        else:
            dtype = {TensorProto.BOOL: np.bool_, TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}
            feeds[value.name] = generator.integers(0, 2, shape).astype(dtype[value.type.tensor_type.elem_type])
    return feeds


def run_whole(proto, feeds):
    """Run a model as it came, but for the names of its nodes: the runtime refuses two equal ones, ONNX does not."""
    nameless = ModelProto.FromString(proto.SerializeToString())
    for node in nameless.graph.node:
        node.name = ""
    names = [value.name for value in proto.graph.output]
    return dict(zip(names, session(nameless).run(names, feeds), strict=True))


def run_parts(protos, feeds, outputs):
    """Run parts one after the other, each on what the user and the parts before it gave."""
    known = dict(feeds)
    for proto in protos:
        asked = [value.name for value in proto.graph.output]
        given = {value.name: known[value.name] for value in proto.graph.input}
        if asked:
            known.update(zip(asked, session(proto).run(asked, given), strict=True))
    return {name: known[name] for name in outputs}


def worst_error(got, reference):
    """Return the largest error over the largest magnitude, over all outputs; infinite where shape or type differ."""
    assert set(got) == set(reference)
    worst = 0.0
    for name, expected in reference.items():
        found = got[name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return float("inf")
        if not expected.size:
            continue
        magnitude = float(np.max(np.abs(expected.astype(np.float64)))) or 1.0
        error = float(np.max(np.abs(found.astype(np.float64) - expected.astype(np.float64))))
        worst = max(worst, error / magnitude if np.isfinite(error) else float("inf"))
    return worst


def identical(got, reference):
    """Say whether all outputs agree in every bit."""
    return all(got[name].tobytes() == reference[name].tobytes() for name in reference)


def computes_the_same(protos, feeds, reference):
    """Say whether parts compute what the whole does: the comparison that every test here relies on."""
    return worst_error(run_parts(protos, feeds, list(reference)), reference) <= TOLERANCE
