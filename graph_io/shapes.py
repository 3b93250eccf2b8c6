"""A concrete shape and type for every tensor: ONNX shape inference first, one run where it fails."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, SupportsIndex

import onnx
from onnx import ModelProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto

from graph_io.dataflow import Dataflow
from graph_io.dtypes import dtype_name
from graph_io.errors import ModelError, runtime_reason
from graph_io.inputs import Array
from graph_io.model import Model
from graph_io.observed import observe
from graph_io.skeleton import skeleton

# Names by which exporters call the batch: alone among the unknown dimensions it gets a value without being asked.
BATCH_NAMES = frozenset({"", "n", "batch", "batch_size"})
_NO_TENSORS = frozenset({"sequence_type", "optional_type", "map_type"})
ShapeAndType = tuple[str, tuple[int, ...]]


def fix_input_dims(model: Model, dims: Mapping[str, int]) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Give every dimension of every model input a value.

    Parameters
    ----------
    model : Model
    dims : mapping of str to int
        Values of symbolic dimensions by their name; a dimension without a name is called ``"input.axis"``.

    Returns
    -------
    shapes : dict
        Input name to its shape.
    notes : tuple of str
        What was assumed.

    Raises
    ------
    ModelError
        A dimension that is neither given nor a batch, a given one that the model does not have, a value below 0.
    """
    if not isinstance(dims, Mapping):
        raise ModelError(f"dims is {dims!r}; give values by name, such as {{'seq': 128}}")
    for name, value in dims.items():
        if isinstance(value, bool) or not isinstance(value, SupportsIndex) or not 0 <= index(value) < 2**31:
            raise ModelError(f"dimension '{name}' got {value!r}; a dimension is a whole number from 0 to 2147483647")
    known: set[str] = set()
    notes: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for declared in model.proto.graph.input:
        _refuse_no_tensor(declared)
        if not declared.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"input '{declared.name}' has no shape, not even a rank; pass inputs={{'{declared.name}': array, ...}} "
                "or --input FILE.npz"
            )
        shape: list[int] = []
        for axis, dim in enumerate(declared.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value >= 0:
                shape.append(dim.dim_value)
                continue
            symbol = dim.dim_param
            own_name = f"{declared.name}.{axis}"
            known.update(name for name in (symbol, own_name) if name)
            given = dims.get(own_name, dims.get(symbol) if symbol else None)
            if given is None and axis == 0 and symbol.lower() in BATCH_NAMES:
                given = 1
                notes.append(f"batch of input '{declared.name}'{f' ({symbol})' if symbol else ''} taken as 1")
            if given is None:
                key = symbol or own_name
                raise ModelError(
                    f"input '{declared.name}' has the unknown dimension '{key}'; "
                    f"pass dims={{'{key}': 128}} or --dim {key}=128"
                )
            shape.append(index(given))
        shapes[declared.name] = tuple(shape)
    unknown = next((name for name in dims if name not in known), None)
    if unknown is not None:
        names = ", ".join(f"'{name}'" for name in sorted(known)) or "none: every shape is fixed"
        raise ModelError(f"dimension '{unknown}' is not in the model; its open dimensions are {names}")
    return shapes, tuple(dict.fromkeys(notes))


def _refuse_no_tensor(declared: ValueInfoProto) -> None:
    if not declared.type.HasField("tensor_type"):
        kind = (declared.type.WhichOneof("value") or "untyped value").removesuffix("_type").replace("_", " ")
        article = "an" if kind[0] in "aeiou" else "a"
        raise ModelError(
            f"input '{declared.name}' is {article} {kind}, not a tensor; only tensors can be sent to a model in parts, "
            "so export it with tensors as inputs"
        )


@dataclass(frozen=True, slots=True)
class ValueTypes:
    """What is known of every value of a model.

    Attributes
    ----------
    shapes : dict
        Tensor name to its type and shape, constants included.
    text_bytes : dict
        Tensors of strings to their size in the run that showed it; see `observe`.
    no_tensors : frozenset of str
        Values that are sequences, optionals or maps.
    notes : tuple of str
        What was read off a run, and so may differ for other inputs.
    """

    shapes: dict[str, ShapeAndType]
    text_bytes: dict[str, int]
    no_tensors: frozenset[str]
    notes: tuple[str, ...]


def value_types(
    model: Model,
    flow: Dataflow,
    inputs: Mapping[str, tuple[int, ...]],
    *,
    given: Mapping[str, Array] | None = None,
) -> ValueTypes:
    """Find type and shape of every value, constants included: by inference, and by one run where that fails.

    Parameters
    ----------
    model : Model
    flow : Dataflow
        Of the same model.
    inputs : mapping
        Shape of every model input, from `fix_input_dims` or `bind_inputs`.
    given : mapping of str to numpy.ndarray, optional
        A user's inputs of these shapes, for the run; random ones if not given.

    Raises
    ------
    ModelError
        See `observe`; a model output that is no tensor, or whose type or shape stays unknown even after the run.
    """
    bare, _ = skeleton(model.proto)
    _set_input_shapes(bare, inputs)
    needed = [name for names in (flow.inputs, flow.producer, flow.constant_producer) for name in names]
    found: dict[str, ShapeAndType] = {}
    no_tensors: frozenset[str] = frozenset()
    missing = needed
    # Following the values of small tensors takes up to a hundred times as long, and few models need it.
    for data_prop in (False, True):
        if missing:
            found, no_tensors = _infer(bare, model.name, data_prop=data_prop)
            missing = [name for name in needed if name not in found and name not in no_tensors]
    texts = {tensor.name: _text_bytes(tensor) for tensor in model.proto.graph.initializer if tensor.string_data}
    unseen = [name for name in needed if name in found and found[name][0] == "string" and flow.is_variable(name)]
    notes: tuple[str, ...] = ()
    if missing or unseen:
        seen = observe(model, [*missing, *unseen], inputs, input_dtypes(model), given)
        found |= seen.shapes
        texts |= seen.text_bytes
        no_tensors |= seen.no_tensors
        which = "random inputs" if given is None else "the given inputs"
        if missing:
            notes = (f"shapes read off one run on {which}, so they may depend on the data: {_shown(missing)}",)
        if seen.text_bytes:
            notes += (f"sizes of strings read off one run on {which}: {_shown(list(seen.text_bytes))}",)
    _check_outputs(model, flow, no_tensors)
    unknown = [name for name in missing if not (name in found or name in no_tensors or name in flow.constant_producer)]
    if unknown:
        raise ModelError(
            f"tensor '{unknown[0]}' has no known type and shape, neither by shape inference nor by running the model"
        )
    return ValueTypes(found, texts, no_tensors, notes)


def _shown(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{len(names)} ({listed})"


def _text_bytes(tensor: TensorProto) -> int:
    return sum(len(one) + 4 for one in tensor.string_data)


def _check_outputs(model: Model, flow: Dataflow, no_tensors: Collection[str]) -> None:
    odd = next((name for name in flow.outputs if name in no_tensors), None)
    if odd is not None:
        raise ModelError(
            f"output '{odd}' of model '{model.name}' is a sequence, an optional or a map, not a tensor; "
            "only tensors can be sent, so export it with tensors as outputs"
        )


def declared_dims(model: Model) -> dict[str, tuple[int | str | None, ...]]:
    """Find the dimensions that follow from the declared inputs; open ones, by symbol or None, stay open."""
    bare, _ = skeleton(model.proto)
    _clear_output_shapes(bare)
    graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    result: dict[str, tuple[int | str | None, ...]] = {}
    for value in (*graph.output, *graph.value_info, *graph.input):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            result[value.name] = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in dims)
    return result


def _set_input_shapes(proto: ModelProto, inputs: Mapping[str, tuple[int, ...]]) -> None:
    for value in proto.graph.input:
        value.type.tensor_type.shape.CopyFrom(
            TensorShapeProto(dim=[TensorShapeProto.Dimension(dim_value=size) for size in inputs[value.name]])
        )
    _clear_output_shapes(proto)


def _clear_output_shapes(proto: ModelProto) -> None:
    # What exporters write on outputs may contradict the dimensions of the inputs.
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")


def _infer(bare: ModelProto, name: str, *, data_prop: bool) -> tuple[dict[str, ShapeAndType], frozenset[str]]:
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=data_prop).graph
    except Exception as error:  # onnx raises InferenceError, a bare RuntimeError or ValidationError here
        raise ModelError(f"model '{name}': shapes cannot be inferred: {runtime_reason(error)}") from error
    found = {tensor.name: _initializer(tensor.data_type, tensor.dims) for tensor in graph.initializer}
    # Inputs come last: an input that is handed through is also an output, whose declared shape was cleared.
    values = (*graph.output, *graph.value_info, *graph.input)
    # An output that is an initializer has no shape left either, and keeps the initializer's.
    found |= {value.name: shape for value in values if (shape := concrete_type(value.type)) is not None}
    kinds = {value.name: value.type.WhichOneof("value") for value in values}
    no_tensors = frozenset(name for name, kind in kinds.items() if kind in _NO_TENSORS)
    return {name: shape for name, shape in found.items() if shape is not None}, no_tensors


def _initializer(element_type: int, dims: Any) -> ShapeAndType | None:
    dtype = dtype_name(element_type)
    return None if dtype is None else (dtype, tuple(dims))


def concrete_type(kind: TypeProto) -> ShapeAndType | None:
    """Return type and shape of a tensor as inferred; None where a dimension is open or the type has no fixed size."""
    tensor = kind.tensor_type
    dtype = dtype_name(tensor.elem_type)
    if dtype is None or not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return dtype, tuple(dim.dim_value for dim in tensor.shape.dim)


def input_dtypes(model: Model) -> dict[str, str]:
    """Return the NumPy-style type name of every model input; refuse one that is no tensor."""
    for declared in model.proto.graph.input:
        _refuse_no_tensor(declared)
    found = {value.name: dtype_name(value.type.tensor_type.elem_type) for value in model.proto.graph.input}
    unsized = next((name for name, dtype in found.items() if dtype is None), None)
    if unsized is not None:
        raise ModelError(f"input '{unsized}' has no element type that the runtime has; export the model with one")
    return {name: dtype for name, dtype in found.items() if dtype is not None}
