"""Real network topologies without a download: the nine light models of the onnx package, with weights that matter.

The onnx package ships the graphs of nine published networks whose weights are constants: with those every output is
the same for any input, so a wrong split would pass any comparison. Here each weight becomes a seeded random
initializer, scaled after He et al. (2015), so that activations neither vanish nor explode and the output depends on
the input.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from graph_io.errors import ModelError

LIGHT_MODELS: tuple[str, ...] = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)

# A weight may pass through these on its way to the operator that gives it its meaning.
_RESHAPING = ("Reshape", "Unsqueeze")
# (operator, input slot) of values that multiply a whole channel; every other vector is added to one.
_CHANNEL_SCALES = {
    ("BatchNormalization", 1),
    ("BatchNormalization", 4),
    ("Mul", 0),
    ("Mul", 1),
    ("ResidualNormalization", 4),
}


def light_model(name: str, *, seed: int = 0) -> onnx.ModelProto:
    """Build one of the nine light topologies with seeded He-scaled random weights.

    Parameters
    ----------
    name : str
        One of `LIGHT_MODELS`.
    seed : int
        Seed of the weights; the same seed gives the same weights.

    Returns
    -------
    onnx.ModelProto
        IR version 4 or newer, weights as float32 initializers that are not graph inputs.

    Raises
    ------
    ModelError
        Unknown name, or an installed onnx package without its light models.
    """
    if name not in LIGHT_MODELS:
        raise ModelError(f"light model {name!r} does not exist; the names are {', '.join(LIGHT_MODELS)}")
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.is_file():
        raise ModelError(f"the installed onnx package {onnx.__version__} does not ship {path.name}; install onnx>=1.18")
    model = onnx.load(path)
    model.ir_version = max(model.ir_version, 4)
    graph = model.graph
    graph.name = name
    generator = np.random.default_rng(seed)

    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {
        node.output[0]: tuple(int(size) for size in numpy_helper.to_array(constants[node.input[0]]))
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    uses = _uses(graph)
    inputs = [value for value in graph.input if value.name not in constants]
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    read = {tensor for node in nodes for tensor in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read and tensor.name not in shapes]

    del graph.node[:], graph.input[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.initializer.extend(kept)
    for weight, shape in shapes.items():
        if weight in read:
            values = _random_weight(generator, shape, *uses[weight])
            graph.initializer.append(numpy_helper.from_array(values, weight))
    return model


def _uses(graph: onnx.GraphProto) -> dict[str, tuple[str, int]]:
    """Map each tensor to the operator and input slot that give it its meaning, looking through reshapes."""
    uses: dict[str, tuple[str, int]] = {}
    summed = {tensor for node in graph.node if node.op_type == "Sum" for tensor in node.input}
    for node in reversed(graph.node):
        for slot, tensor in enumerate(node.input):
            looks_through = node.op_type in _RESHAPING and slot == 0 and node.output[0] in uses
            closes_branch = node.op_type == "BatchNormalization" and node.output[0] in summed
            operator = "ResidualNormalization" if closes_branch else node.op_type
            uses[tensor] = uses[node.output[0]] if looks_through else (operator, slot)
    return uses


def _random_weight(
    generator: np.random.Generator, shape: tuple[int, ...], operator: str, slot: int
) -> npt.NDArray[np.float32]:
    if operator in ("Conv", "Gemm") and slot == 1:
        fan_in = int(np.prod(shape[1:])) if operator == "Conv" else shape[-1]
        deviation = np.float32(np.sqrt(2.0 / fan_in))
        return generator.standard_normal(shape, dtype=np.float32) * deviation
    if (operator, slot) == ("ResidualNormalization", 1):
        # Each residual sum would double the variance; damped branches keep the last softmax from saturating.
        return generator.random(shape, dtype=np.float32) * np.float32(0.2) + np.float32(0.2)
    if (operator, slot) in _CHANNEL_SCALES:
        return generator.random(shape, dtype=np.float32) * np.float32(0.5) + np.float32(0.75)
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
