"""A transformer whose weights lie in a file of their own, as large as asked: on disk it may be a hole without data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

_PAGE_BYTES = 4096
_FLOAT_BYTES = 4


class _Builder:
    """Collects nodes, and weights with their places in the file."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.nodes: list[NodeProto] = []
        self.weights: list[tuple[str, tuple[int, ...], int]] = []
        self.data_bytes = 0

    def weight(self, name: str, *shape: int) -> str:
        self.weights.append((name, shape, self.data_bytes))
        size = int(np.prod(shape)) * _FLOAT_BYTES
        self.data_bytes += -(-size // _PAGE_BYTES) * _PAGE_BYTES
        return name

    def node(self, op_type: str, reads: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, reads, [output], name=f"{output}_{op_type}", **attributes))
        return output

    def linear(self, read: str, name: str, rows: int, columns: int) -> str:
        product = self.node("MatMul", (read, self.weight(f"{name}_w", rows, columns)), f"{name}_product")
        return self.node("Add", (product, self.weight(f"{name}_b", columns)), name)

    def normalised(self, read: str, added: str, name: str) -> str:
        total = self.node("Add", (read, added), f"{name}_sum")
        scale, shift = self.weight(f"{name}_scale", self.width), self.weight(f"{name}_shift", self.width)
        return self.node("LayerNormalization", (total, scale, shift), name, axis=-1)

    def block(self, read: str, prefix: str) -> str:
        heads = {}
        for name, order in (("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))):
            full = self.linear(read, f"{prefix}_{name}", self.width, self.width)
            split = self.node("Reshape", (full, "split_shape"), f"{full}_split")
            heads[name] = self.node("Transpose", (split,), f"{full}_heads", perm=order)
        scores = self.node("MatMul", (heads["query"], heads["key"]), f"{prefix}_scores")
        scaled = self.node("Mul", (scores, "head_scale"), f"{prefix}_scaled")
        mixed = self.node(
            "MatMul", (self.node("Softmax", (scaled,), f"{prefix}_share", axis=-1), heads["value"]), f"{prefix}_mixed"
        )
        back = self.node("Transpose", (mixed,), f"{prefix}_back", perm=(0, 2, 1, 3))
        joined = self.node("Reshape", (back, "join_shape"), f"{prefix}_joined")
        attended = self.normalised(read, self.linear(joined, f"{prefix}_out", self.width, self.width), f"{prefix}_mid")
        wide = self.linear(attended, f"{prefix}_up", self.width, 4 * self.width)
        narrow = self.linear(self.node("Relu", (wide,), f"{prefix}_act"), f"{prefix}_down", 4 * self.width, self.width)
        return self.normalised(attended, narrow, f"{prefix}_end")


def write_big_model(folder: Path, *, width: int, n_blocks: int, n_heads: int, numbers: bool, name: str = "big") -> Path:
    """Write ``NAME.onnx`` and ``NAME.onnx_data`` and return the path of the first.

    Parameters
    ----------
    folder : pathlib.Path
    width : int
        Of the embedding; a block holds about 48 times its square in bytes.
    n_blocks, n_heads : int
    numbers : bool
        Write seeded random weights; else the data file is sparse and reads as zeros.
    name : str
    """
    builder = _Builder(width)
    read = "x"
    for number in range(n_blocks):
        read = builder.block(read, f"block{number}")
    builder.node("Identity", (read,), "y")
    small = {
        "split_shape": np.array([0, -1, n_heads, width // n_heads]),
        "join_shape": np.array([0, -1, width]),
        "head_scale": np.float32((width / n_heads) ** -0.5),
    }
    dims: list[int | str | None] = ["batch", "seq", width]
    graph = helper.make_graph(
        builder.nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in small.items()],
    )
    data = f"{name}.onnx_data"
    for weight, shape, offset in builder.weights:
        _add_reference(graph, weight, shape, data, offset)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    generator = np.random.default_rng(0)
    with open(folder / data, "wb") as file:
        for _, shape, offset in builder.weights if numbers else ():
            file.seek(offset)
            file.write((generator.standard_normal(shape, dtype=np.float32) * np.float32(0.05)).tobytes())
        file.truncate(builder.data_bytes)
    return path


def _add_reference(graph: GraphProto, name: str, shape: tuple[int, ...], data: str, offset: int) -> None:
    tensor = graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    length = int(np.prod(shape)) * _FLOAT_BYTES
    for key, value in (("location", data), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
