"""Constants as they are stored: a quantised weight counts with its own bytes, not with those of its float value."""

from collections.abc import Mapping

from onnx import AttributeProto, NodeProto

from graph_io.dataflow import GRAPH_KINDS, Dataflow
from graph_io.dtypes import dtype_name, size_bytes
from graph_io.shapes import ShapeAndType

# They hold the same values in another form, so what is stored and read is what lies behind them.
_REPACKING = frozenset(
    {"Cast", "DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


def stored_constants(flow: Dataflow, name: str) -> tuple[str, ...]:
    """Return the constants that stand behind one: itself, or what it was dequantised or reshaped from."""
    maker = flow.constant_producer.get(name)
    if maker is None or maker.op_type not in _REPACKING:
        return (name,)
    behind = (source for read in maker.input if read for source in stored_constants(flow, read))
    return tuple(dict.fromkeys(behind))


def constant_bytes(flow: Dataflow, shapes: Mapping[str, ShapeAndType]) -> dict[str, int]:
    """Return the size of every stored constant that some node reads.

    A computed constant whose shape no rule knows counts as 0: the runtime folds it, and what it is made from is counted
    where that is read.
    """
    read = dict.fromkeys(name for names in flow.constants_read for name in names)
    stored = dict.fromkeys(source for name in read for source in stored_constants(flow, name))
    found = {name: size_bytes(*shapes[name]) if name in shapes else 0 for name in stored}
    for node in flow.nodes:
        found |= body_constants(node)
    return found


def body_constants(node: NodeProto) -> dict[str, int]:
    """Return the sizes of the weights that the bodies of a control-flow node hold themselves, however deep.

    Their names say where they are, as in ``"If_3/then_branch/w"``: in each body a name may mean another tensor.
    """
    found: dict[str, int] = {}
    for attribute in node.attribute:
        kind = attribute.type
        if kind not in GRAPH_KINDS:
            continue
        bodies = [attribute.g] if kind == AttributeProto.GRAPH else attribute.graphs
        for number, body in enumerate(bodies):
            place = f"{node.name}/{attribute.name}" + (f".{number}" if number else "")
            tensors = {tensor.name: tensor for tensor in body.initializer}
            for inner in body.node:
                if inner.op_type == "Constant":
                    tensors.update((inner.output[0], one.t) for one in inner.attribute if one.name == "value")
                found |= {f"{place}/{name}": size for name, size in body_constants(inner).items()}
            for name, tensor in tensors.items():
                dtype = dtype_name(tensor.data_type)
                if dtype is not None:
                    found[f"{place}/{name}"] = size_bytes(dtype, tuple(tensor.dims))
    return found
