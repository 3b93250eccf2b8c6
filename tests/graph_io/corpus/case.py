"""One network of the corpus, and a short way to write it down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tests.models import model, node

Sizes = Mapping[str, int]
Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network.

    Attributes
    ----------
    name : str
    build : callable
        Makes the model.
    feeds : callable
        Makes inputs from sizes of the open dimensions and a random generator.
    planned : mapping
        The sizes that it is loaded with.
    sizes : sequence of mappings
        Others that its parts have to run at.
    """

    name: str
    build: Callable[[], ModelProto]
    feeds: Callable[[Sizes, np.random.Generator], Feeds]
    planned: Sizes
    sizes: Sequence[Sizes]


class Network:
    """Collects nodes and weights; every tensor gets a name of its own."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list = []
        self.weights: dict[str, np.ndarray] = {}
        self._generator = np.random.default_rng(seed)
        self._count = 0

    def weight(self, *shape: int, fan_in: int | None = None) -> str:
        """Draw a weight that keeps the size of what it is multiplied with."""
        columns = fan_in or (int(np.prod(shape[1:])) if len(shape) > 2 else shape[0])
        return self.constant((self._generator.standard_normal(shape) / np.sqrt(columns)).astype(np.float32))

    def constant(self, array: object) -> str:
        """Store a constant as it is."""
        name = f"c{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def add(self, op_type: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        """Add a node of one output and return the output's name."""
        self._count += 1
        output = name or f"{op_type.lower()}{self._count}"
        self.nodes.append(node(op_type, " ".join(inputs), output, f"n{self._count}", **attributes))
        return output

    def split(self, op_type: str, *inputs: str, outputs: str, **attributes: object) -> list[str]:
        """Add a node of several outputs, named by the caller."""
        self._count += 1
        self.nodes.append(node(op_type, " ".join(inputs), outputs, f"n{self._count}", **attributes))
        return outputs.split()

    def linear(self, source: str, rows: int, columns: int) -> str:
        """Multiply with a matrix and add a bias, as exporters write it."""
        product = self.add("MatMul", source, self.weight(rows, columns))
        return self.add("Add", product, self.weight(columns))

    def normalise(self, source: str, width: int) -> str:
        """Add a layer normalisation."""
        ones, zeros = self.constant(np.ones(width, np.float32)), self.constant(np.zeros(width, np.float32))
        return self.add("LayerNormalization", source, ones, zeros, axis=-1)

    def gelu(self, source: str) -> str:
        """Add the exact Gelu in five nodes, as exporters write it."""
        scaled = self.add("Div", source, self.constant(np.float32(np.sqrt(2))))
        shifted = self.add("Add", self.add("Erf", scaled), self.constant(np.float32(1)))
        return self.add("Mul", self.add("Mul", source, shifted), self.constant(np.float32(0.5)))

    def dimension(self, source: str, axis: int) -> str:
        """Read one dimension at run time, as a vector of length 1."""
        return self.add("Gather", self.add("Shape", source), self.constant(np.array([axis])), axis=0)

    def scalar(self, vector: str) -> str:
        """Turn a vector of length 1 into a scalar."""
        return self.add("Squeeze", vector, self.constant(np.array([0])))

    def model(self, inputs: Sequence, outputs: Sequence, **more: object) -> ModelProto:
        """Put everything together."""
        return model(self.nodes, inputs, outputs, self.weights, **more)
