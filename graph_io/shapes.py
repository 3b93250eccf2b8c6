"""A concrete shape and type for every tensor: ONNX shape inference first, one run where it fails."""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorShapeProto, TypeProto, ValueInfoProto

from graph_io.dataflow import Dataflow
from graph_io.dtypes import dtype_name, dtype_of_runtime
from graph_io.errors import ModelError, runtime_reason
from graph_io.model import Model
from graph_io.skeleton import skeleton

# Names by which exporters call the batch: alone among the unknown dimensions it gets a value without being asked.
_BATCH_NAMES = frozenset({"", "n", "batch", "batch_size"})
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
        A dimension that is neither given nor a batch, a given one that the model does not have, a value below 1.
    """
    if not isinstance(dims, Mapping):
        raise ModelError(f"dims is {dims!r}; give values by name, such as {{'seq': 128}}")
    for name, value in dims.items():
        if isinstance(value, bool) or not isinstance(value, SupportsIndex) or not 1 <= index(value) < 2**31:
            raise ModelError(f"dimension '{name}' got {value!r}; a dimension is a whole number from 1 to 2147483647")
    known: set[str] = set()
    notes: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for declared in model.proto.graph.input:
        if not declared.type.HasField("tensor_type"):
            kind = declared.type.WhichOneof("value") or "untyped value"
            raise ModelError(f"input '{declared.name}' is a {kind}, not a tensor; such models are not supported yet")
        if not declared.type.tensor_type.HasField("shape"):
            raise ModelError(f"input '{declared.name}' has no shape, not even a rank; export the model with one")
        shape: list[int] = []
        for axis, dim in enumerate(declared.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value >= 0:
                shape.append(dim.dim_value)
                continue
            symbol = dim.dim_param
            own_name = f"{declared.name}.{axis}"
            known.update(name for name in (symbol, own_name) if name)
            given = dims.get(own_name, dims.get(symbol) if symbol else None)
            if given is None and axis == 0 and symbol.lower() in _BATCH_NAMES:
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


def concrete_shapes(
    model: Model, flow: Dataflow, inputs: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, ShapeAndType], tuple[str, ...]]:
    """Find type and shape of every tensor, constants included.

    Parameters
    ----------
    model : Model
    flow : Dataflow
        Of the same model.
    inputs : mapping
        Shape of every model input, from `fix_input_dims`.

    Returns
    -------
    shapes : dict
        Tensor name to its type and shape.
    notes : tuple of str
        Which of them were read off a run, and so may differ for other inputs.

    Raises
    ------
    ModelError
        A tensor whose type has no fixed size, or whose shape stays unknown even after running the model.
    """
    bare, _ = skeleton(model.proto)
    _set_input_shapes(bare, inputs)
    needed = [name for names in (flow.inputs, flow.producer, flow.constant_producer) for name in names]
    found: dict[str, ShapeAndType] = {}
    missing = needed
    # Following the values of small tensors takes up to a hundred times as long, and few models need it.
    for data_prop in (False, True):
        if missing:
            found = _infer(bare, model.name, data_prop=data_prop)
            missing = [name for name in needed if name not in found]
    notes: tuple[str, ...] = ()
    if missing:
        found |= _observe(model, inputs, missing)
        shown = ", ".join(f"'{name}'" for name in missing[:3]) + (" ..." if len(missing) > 3 else "")
        notes = (f"shapes read off one run on random inputs, so they may depend on the data: {len(missing)} ({shown})",)
        missing = [name for name in needed if name not in found and name not in flow.constant_producer]
    if missing:
        raise ModelError(
            f"tensor '{missing[0]}' has no fixed shape and numeric type, neither by shape inference nor by running the "
            "model; tensors of strings, sequences and optionals are not supported yet"
        )
    return found, notes


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


def _infer(bare: ModelProto, name: str, *, data_prop: bool) -> dict[str, ShapeAndType]:
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=data_prop).graph
    except Exception as error:  # onnx raises InferenceError, a bare RuntimeError or ValidationError here
        raise ModelError(f"model '{name}': shapes cannot be inferred: {runtime_reason(error)}") from error
    found = {tensor.name: _initializer(tensor.data_type, tensor.dims) for tensor in graph.initializer}
    # Inputs come last: an input that is handed through is also an output, whose declared shape was cleared.
    found |= {value.name: concrete_type(value.type) for value in (*graph.output, *graph.value_info, *graph.input)}
    return {name: shape for name, shape in found.items() if shape is not None}


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
    """Return the NumPy-style type name of every model input."""
    found = {value.name: dtype_name(value.type.tensor_type.elem_type) for value in model.proto.graph.input}
    unsized = next((name for name, dtype in found.items() if dtype is None), None)
    if unsized is not None:
        raise ModelError(f"input '{unsized}' has a type without a fixed size (string?); it is not supported yet")
    return {name: dtype for name, dtype in found.items() if dtype is not None}


def random_inputs(
    shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], *, seed: int = 0
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Make inputs for a run: standard normal floats, zeros and ones for the integers (legal as tokens and masks)."""
    generator = np.random.default_rng(seed)
    result: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for name, shape in shapes.items():
        try:
            dtype = np.dtype(dtypes[name])
        except TypeError as error:
            raise ModelError(
                f"input '{name}' is of type {dtypes[name]}, which NumPy cannot hold, so no input can be made for a run"
            ) from error
        if dtype.kind == "f":
            result[name] = generator.standard_normal(shape).astype(dtype)
        else:
            result[name] = generator.integers(0, 2, shape).astype(dtype)
    return result


def _observe(model: Model, inputs: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> dict[str, ShapeAndType]:
    """Run the model once, unoptimised, and read type and shape of the named tensors."""
    import onnxruntime

    feeds = random_inputs(inputs, input_dtypes(model))
    outputs = {value.name for value in model.proto.graph.output}
    asked = ModelProto(graph=GraphProto(output=[ValueInfoProto(name=name) for name in names if name not in outputs]))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        # Messages of protobuf merge when their bytes are joined: the named tensors become outputs without a copy.
        session = onnxruntime.InferenceSession(
            model.proto.SerializeToString() + asked.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        given = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        values = session.run_with_ort_values(list(names), given)
    except Exception as error:  # the runtime's exceptions share no public base class
        raise ModelError(
            f"model '{model.name}': some shapes can only be found by running it, and the run failed: "
            f"{runtime_reason(error)}"
        ) from error
    seen: dict[str, ShapeAndType] = {}
    for name, value in zip(names, values, strict=True):
        dtype = dtype_of_runtime(value.data_type()) if value.is_tensor() else None
        if dtype is not None:
            seen[name] = (dtype, tuple(value.shape()))
    return seen
