"""The test cases that onnx ships: models with inputs and expected outputs, and how the runtime runs them."""

import ctypes
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from tests.graph_io.running import session

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
# Types of tensors that the runtime has and NumPy has not: they stay in the runtime's own containers.
EXOTIC = {
    "tensor(bfloat16)": TensorProto.BFLOAT16,
    "tensor(float8e4m3fn)": TensorProto.FLOAT8E4M3FN,
    "tensor(float8e4m3fnuz)": TensorProto.FLOAT8E4M3FNUZ,
    "tensor(float8e5m2)": TensorProto.FLOAT8E5M2,
    "tensor(float8e5m2fnuz)": TensorProto.FLOAT8E5M2FNUZ,
    "tensor(int4)": TensorProto.INT4,
    "tensor(uint4)": TensorProto.UINT4,
    "tensor(int2)": TensorProto.INT2,
    "tensor(uint2)": TensorProto.UINT2,
}
_BITS = {TensorProto.BFLOAT16: 16, TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.INT2: 2, TensorProto.UINT2: 2}


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    model: ModelProto
    feeds: dict
    expected: dict
    rtol: float
    atol: float


def backend_cases():
    """Return kind and case of all of them; `build` makes one ready."""
    with warnings.catch_warnings(action="ignore"):  # of onnx's own reference computations
        return [(kind, case) for kind in KINDS for case in load_model_tests(kind=kind)]


def build(kind, case):
    if case.model is not None:
        model, (inputs, outputs) = case.model, case.data_sets[0]
    else:
        model = onnx.load(Path(case.model_dir) / "model.onnx")
        data = Path(case.model_dir) / "test_data_set_0"
        inputs = [_read(data / f"input_{index}.pb", value) for index, value in enumerate(model.graph.input)]
        outputs = [_read(data / f"output_{index}.pb", value) for index, value in enumerate(model.graph.output)]
        # Old files list weights among the inputs; data comes for the first ones only.
        inputs = [value for value in inputs if value is not _ABSENT]
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input]
    if len(inputs) < len(names):
        names = [name for name in names if name not in weights]
    feeds = {name: _array(value) for name, value in zip(names, inputs, strict=False) if value is not None and name}
    expected = {value.name: _array(array) for value, array in zip(model.graph.output, outputs, strict=True)}
    return Case(case.name, kind, model, feeds, expected, case.rtol, case.atol)


_ABSENT = object()


def _array(value):
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _read(path, value):
    if not path.exists():
        return _ABSENT
    content = path.read_bytes()
    if value.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if value.type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(TensorProto.FromString(content))


def run(proto, feeds, names):
    """Run a model in the runtime, and return arrays, lists, and OrtValues of what NumPy cannot hold."""
    opened = session(proto)
    wanted = {value.name for value in opened.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in wanted}
    edges = [value.type for value in (*opened.get_inputs(), *opened.get_outputs())]
    if EXOTIC.keys().isdisjoint(edges):
        values = opened.run(list(names), given)
    else:
        values = opened.run_with_ort_values(list(names), {name: _wrapped(value) for name, value in given.items()})
        values = [value if value.data_type() in EXOTIC else value.numpy() for value in values]
    return dict(zip(names, values, strict=True))


def _wrapped(value):
    if isinstance(value, onnxruntime.OrtValue):
        return value
    if value.dtype.name.startswith(("bfloat16", "float8", "int4", "uint4", "int2", "uint2")):
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        content = numpy_helper.from_array(value).raw_data
        made = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(value.shape), kind)
        ctypes.memmove(made.data_ptr(), content, len(content))
        return made
    return onnxruntime.OrtValue.ortvalue_from_numpy(value)


def plain(value):
    """Return a value of the runtime or of a case as arrays that can be compared."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, onnxruntime.OrtValue):
        kind = EXOTIC[value.data_type()]
        shape = value.shape()
        n_bytes = -(-int(np.prod(shape)) * _BITS.get(kind, 8) // 8)
        content = ctypes.string_at(value.data_ptr(), n_bytes) if n_bytes else b""
        value = numpy_helper.to_array(TensorProto(data_type=kind, dims=shape, raw_data=content))
    if value is None or isinstance(value, dict):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        return array.astype(str)
    if array.dtype.kind == "V" or array.dtype.name.startswith("float8"):
        return array.astype(np.float32)
    return array
